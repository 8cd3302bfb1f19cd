//! Running a verb on other hosts: `--remote` is taken off the command line and everything else is sent as typed.
//!
//! Who is meant is `select.rs`, what runs there `far.rs`, how it runs `session.rs` on a `connection.rs`; several hosts are
//! `group.rs`. Sending the working tree is `sync.rs`. Nothing here knows what a verb does.

pub mod connection;
pub mod destination;
pub mod far;
mod fetch;
mod filter;
pub mod group;
mod guard;
mod lines;
mod paced;
pub mod script;
pub mod select;
pub mod session;
pub mod snapshot;
mod ssh_config;
mod streams;
pub mod sync;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use far::{Place, Verb};
use group::{Printer, Stream};
use select::Host;
use session::Task;
use snapshot::{Pending, Snapshot};
use streams::{Sink, Source};
use sync::Synced;

use self::connection::{Connection, Ssh};
use crate::cli::Globals;
use crate::configuration::{Configuration, Profile};
use crate::failure::Failure;
use crate::output::{Output, size_words};
use crate::process::print_plan;
use crate::{interrupt, question, terminal, workspace};

/// Of an answer that is looked at here.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// What a plan calls the folder that only the host can name.
const SYNCED: &str = "~/.cache/llorch/trees/…";

/// A verb that is to run elsewhere.
#[derive(Debug, Clone)]
pub struct Forwarding {
    /// What stood behind `--remote`.
    pub selection: Vec<String>,
    /// Send the working tree first.
    pub sync: bool,
    /// The arguments as typed, without those that are for this side.
    pub arguments: Vec<OsString>,
    /// Whether the verb works in a checkout only.
    pub needs_checkout: bool,
    /// Whether the verb asks before it does something that cannot be undone.
    pub asks: bool,
    /// Whether the verb reads standard input: what others leave is for whoever comes after them.
    pub reads_input: bool,
    /// Whether the programs it builds are brought back.
    pub fetches: bool,
}

/// What all hosts of a run share.
struct Run<'a> {
    remote: &'a Remote,
    forwarding: &'a Forwarding,
    /// The working tree, if it is sent.
    snapshot: Option<Pending>,
    /// Width of the terminal, if one host has it for itself.
    columns: Option<u16>,
    /// Says whose line is whose, if there are several.
    printer: Option<Printer>,
}

/// Knows every host that may be meant, and how to get there.
pub struct Remote {
    /// What is set.
    pub configuration: Configuration,
    /// How ssh is called.
    pub ssh: Ssh,
}

impl Remote {
    /// Reads the configuration.
    ///
    /// # Errors
    /// A configuration that cannot be understood.
    pub fn read() -> Result<Self, Failure> {
        let configuration = Configuration::load()?;
        let ssh = Ssh::new(configuration.remote);
        Ok(Self { configuration, ssh })
    }

    /// The same, and a word about what in it is open to others.
    ///
    /// # Errors
    /// As [`Remote::read`].
    pub fn load(output: Output) -> Result<Self, Failure> {
        let remote = Self::read()?;
        remote.configuration.exposed_files().iter().for_each(|file| {
            output.warning(format_args!(
                "`{0}` holds variables and others may read it: `chmod 600 '{0}'`",
                file.display()
            ));
        });
        Ok(remote)
    }

    /// The hosts that are meant.
    ///
    /// # Errors
    /// Exit code 2 for a host that is not known; nothing was contacted.
    pub fn select(&self, selection: &[String]) -> Result<Vec<Host>, Failure> {
        select::select(selection, &self.configuration, &self.aliases())
    }

    /// Every word that stands for hosts here: profiles, tags, `all`, aliases of ssh.
    pub fn names(&self) -> Vec<String> {
        let hosts = &self.configuration.hosts;
        let tags = hosts.values().flat_map(|profile| profile.tags.iter().map(|tag| format!("tag:{tag}")));
        let all = (!hosts.is_empty()).then(|| String::from("all"));
        let mut names: Vec<String> = hosts.keys().cloned().chain(self.aliases()).chain(tags).chain(all).collect();
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names
    }

    fn aliases(&self) -> Vec<String> {
        self.ssh.config_files().iter().flat_map(|file| ssh_config::hosts(file)).collect()
    }

    /// The one host that is meant.
    ///
    /// # Errors
    /// As [`Remote::select`], or several.
    pub fn one(&self, name: &str) -> Result<Host, Failure> {
        let mut hosts = self.select(&[name.to_owned()])?;
        match (hosts.pop(), hosts.is_empty()) {
            (Some(host), true) => Ok(host),
            _ => Err(Failure::usage(format!("`{name}` means several hosts, and this verb takes one"))),
        }
    }
}

/// Runs the verb on every host that is meant.
///
/// # Errors
/// See [`Remote::select`]; of one host also its connection's failure. Of several, each tells its own.
pub fn forward(globals: &Globals, forwarding: &Forwarding) -> Result<u8, Failure> {
    let remote = Remote::load(globals.output)?;
    let hosts = remote.select(&forwarding.selection)?;
    script::check_arguments(&forwarding.arguments)?;
    check_places(&hosts, forwarding)?;
    if globals.dry_run {
        return plan(globals, &remote, &hosts, forwarding);
    }
    interrupt::watch()?;
    if forwarding.asks && !globals.yes {
        return ask_first(globals, &remote, &hosts, forwarding);
    }
    run(globals, &remote, &hosts, forwarding)
}

/// Refuses what is known not to work on one of them, before anything runs on any.
fn check_places(hosts: &[Host], forwarding: &Forwarding) -> Result<(), Failure> {
    let synced = || forwarding.sync.then(|| String::from(SYNCED));
    hosts.iter().try_for_each(|host| Place::on(host, synced(), forwarding.needs_checkout).map(drop))
}

fn plan(globals: &Globals, remote: &Remote, hosts: &[Host], forwarding: &Forwarding) -> Result<u8, Failure> {
    let mut steps = Vec::new();
    for host in hosts {
        steps.push(remote.ssh.session(host, "CONNECTION", "/bin/sh").to_string());
        let synced = forwarding.sync.then(|| {
            steps.push(format!("  bring {SYNCED} to this working tree"));
            String::from(SYNCED)
        });
        let place = Place::on(host, synced, forwarding.needs_checkout)?;
        // A variable may be a secret, and a plan may be kept.
        let profile = host.profile.as_ref().map(Profile::masked);
        let script = Verb { arguments: &forwarding.arguments, place, columns: None }.script(profile.as_ref());
        steps.extend(script.text().lines().map(|line| format!("  {line}")));
    }
    print_plan(globals.output, &steps)
}

/// Shows what the verb would do on each host, asks once, here, and then lets it do that.
fn ask_first(globals: &Globals, remote: &Remote, hosts: &[Host], forwarding: &Forwarding) -> Result<u8, Failure> {
    let with = |option: &str| {
        let arguments = [OsString::from(option)].into_iter().chain(forwarding.arguments.iter().cloned()).collect();
        Forwarding { arguments, ..forwarding.clone() }
    };
    question::require(globals.output)?;
    let shown = run(globals, remote, hosts, &with("--dry-run"))?;
    if shown != 0 {
        return Ok(shown);
    }
    let names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
    if !question::ask(globals.output, &format!("do that on {}?", names.join(", ")))? {
        globals.output.note("nothing was done");
        return Ok(1);
    }
    run(globals, remote, hosts, &with("--yes"))
}

fn run(globals: &Globals, remote: &Remote, hosts: &[Host], forwarding: &Forwarding) -> Result<u8, Failure> {
    let output = globals.output;
    let snapshot = if forwarding.sync { Some(Pending::start(&workspace::require()?)) } else { None };
    let mut run = Run { remote, forwarding, snapshot, columns: None, printer: None };
    if let [host] = hosts {
        run.columns = terminal::columns().filter(|_| !output.is_quiet());
        return run.on(globals, host);
    }
    run.printer = Some(Printer::new(output, hosts));
    let outcomes = group::side_by_side(hosts, |host| host, |host| run.on(globals, host));
    group::summarise(output, &outcomes)
}

impl Run<'_> {
    fn on(&self, globals: &Globals, host: &Host) -> Result<u8, Failure> {
        let output = if self.printer.is_some() { globals.output.without_progress() } else { globals.output };
        let connection = connect_shown(output, &self.remote.ssh, host)?;
        let synced =
            self.snapshot.as_ref().map(|snapshot| sync_shown(output, &connection, snapshot.wait()?)).transpose()?;
        let forwarding = self.forwarding;
        let place = Place::on(host, synced.map(|synced| synced.path), forwarding.needs_checkout)?;
        if forwarding.fetches {
            return self.build_and_fetch(globals, &connection, place);
        }
        let verb = Verb { arguments: &forwarding.arguments, place, columns: self.columns };
        let mut task = Task::new(verb.script(host.profile.as_ref()));
        match &self.printer {
            Some(printer) => {
                task.stdout = printer.sink(&host.name, Stream::Output);
                task.stderr = printer.sink(&host.name, Stream::Errors);
            }
            None => {
                task.input = if forwarding.reads_input { own_input(false) } else { None };
                (task.stdout, task.stderr) = own_streams();
            }
        }
        verb.ended(host, task.run(&connection)?)
    }

    /// What was built is read from the events of `build`, so they are asked for, and ours are printed instead.
    fn build_and_fetch(&self, globals: &Globals, connection: &Connection, place: Place) -> Result<u8, Failure> {
        let (root, host) = (workspace::require()?, connection.host());
        let is_json = |argument: &OsString| argument == "--json";
        let theirs = self.forwarding.arguments.iter().filter(|argument| !is_json(argument)).cloned();
        let arguments: Vec<OsString> = [OsString::from("--json")].into_iter().chain(theirs).collect();
        let verb = Verb { arguments: &arguments, place, columns: self.columns };
        let mut task = Task::new(verb.script(host.profile.as_ref()));
        let (stdout, events) = text_sink();
        task.stdout = stdout;
        task.stderr = match &self.printer {
            Some(printer) => printer.sink(&host.name, Stream::Errors),
            None => own_streams().1,
        };
        let code = verb.ended(host, task.run(connection)?)?;
        let events = text_of(&events);
        if let (true, Some(last)) = (code != 0 && globals.output.json, events.lines().next_back()) {
            // Why it failed was said in an event.
            let mut say = match &self.printer {
                Some(printer) => printer.sink(&host.name, Stream::Output),
                None => own_streams().0,
            };
            say(format!("{last}\n").as_bytes())?;
        }
        if code == 0 {
            fetch::fetch(globals, connection, &root, &events)?;
            if self.printer.is_none() {
                globals.output.event(&serde_json::json!({ "event": "done", "host": host.name }))?;
            }
        }
        Ok(code)
    }
}

/// Keeps what a task prints, up to a limit that no answer of ours reaches.
pub fn text_sink() -> (Sink, Arc<Mutex<Vec<u8>>>) {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keeping = Arc::clone(&kept);
    let sink = move |bytes: &[u8]| {
        let mut kept = keeping.lock().unwrap_or_else(PoisonError::into_inner);
        let room = ANSWER_BYTES_MAX.saturating_sub(kept.len());
        kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Ok(())
    };
    (Box::new(sink), kept)
}

/// What was kept.
pub fn text_of(kept: &Mutex<Vec<u8>>) -> String {
    String::from_utf8_lossy(&kept.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
}

/// What a short script prints.
///
/// # Errors
/// The connection's; what the script's exit code is does not matter.
pub fn ask(connection: &Connection, script: script::Script) -> Result<String, Failure> {
    let (stdout, text) = text_sink();
    let mut task = Task::new(script);
    task.stdout = stdout;
    task.run(connection)?;
    Ok(text_of(&text))
}

/// Connects in sight of the user: a host that is far away or asleep takes its time.
///
/// # Errors
/// See [`Connection::open`].
pub fn connect_shown(output: Output, ssh: &Ssh, host: &Host) -> Result<Connection, Failure> {
    let bar = output.progress();
    bar.set_message(format!("connecting to {}", host.name));
    let connection = Connection::open(ssh, host);
    bar.finish_and_clear();
    connection
}

/// Sends the working tree in sight of the user.
pub fn sync_shown(output: Output, connection: &Connection, snapshot: &Snapshot) -> Result<Synced, Failure> {
    let name = connection.host().name.clone();
    let bar = output.progress();
    bar.set_message(format!("{name}: sending the working tree"));
    let synced = sync::sync(connection, snapshot);
    bar.finish_and_clear();
    let synced = synced?;
    for name in &snapshot.left_out {
        output.warning(format_args!("`{name}` is a repository of its own and no submodule: its files are not sent"));
    }
    let words = match synced.sent_objects {
        0 => format!("{name}: `{}` is this working tree already", synced.path),
        count => format!(
            "{name}: `{}` is this working tree now ({count} objects, {} sent)",
            synced.path,
            size_words(synced.sent_bytes)
        ),
    };
    output.note(words);
    Ok(synced)
}

/// This process's own output, byte for byte.
pub fn own_streams() -> (Sink, Sink) {
    let stdout = |bytes: &[u8]| {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush())
    };
    // Nobody reading errors is no reason to stop.
    let stderr = |bytes: &[u8]| {
        let _nobody_reads = io::stderr().lock().write_all(bytes);
        Ok(())
    };
    (Box::new(stdout), Box::new(stderr))
}

/// This process's own input. What a person may type is left to this side unless the task was typed to read it.
pub fn own_input(with_terminal: bool) -> Option<Source> {
    if io::stdin().is_terminal() && !with_terminal {
        return None;
    }
    Some(Box::new(|mut writer| {
        // Unbuffered on both sides: what is typed arrives at once. Where nobody reads, nothing is to be done.
        let _ended = io::copy(&mut io::stdin().lock(), &mut writer);
    }))
}

/// Sixteen letters that nobody guesses: marks in streams, names of folders.
pub fn random_word() -> Result<String, Failure> {
    use std::io::Read as _;
    let mut bytes = [0_u8; 8];
    fs_err::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
