//! Ctrl-C, `kill` and a closed terminal: counted on a thread of their own, looked at by whoever works or waits.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::failure::Failure;

/// The first asks, the second forces; whoever asks a third time does not want to wait for anything any more.
const GIVE_UP: usize = 3;

static COUNT: AtomicUsize = AtomicUsize::new(0);
static HAPPENED: AtomicBool = AtomicBool::new(false);
static SIGNAL: OnceLock<Arc<AtomicUsize>> = OnceLock::new();
static WATCH: OnceLock<()> = OnceLock::new();

/// From now on the three signals no longer end the process by themselves. Verbs that work in steps or own children call
/// this first; the others just die, which is as clean.
pub fn watch() -> Result<(), Failure> {
    if WATCH.set(()).is_err() {
        return Ok(());
    }
    let signal_seen = Arc::clone(SIGNAL.get_or_init(Arc::default));
    for (signal, value) in [(SIGINT, 2), (SIGTERM, 15), (SIGHUP, 1)] {
        signal_hook::flag::register_usize(signal, Arc::clone(&signal_seen), value).context("cannot watch signals")?;
    }
    let (mut receiver, sender) = UnixStream::pair().context("cannot watch signals")?;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let sender = sender.try_clone().context("cannot watch signals")?;
        signal_hook::low_level::pipe::register(signal, sender).context("cannot watch signals")?;
    }
    let count = move || {
        let mut byte = [0_u8; 1];
        while receiver.read_exact(&mut byte).is_ok() {
            HAPPENED.store(true, Ordering::SeqCst);
            if COUNT.fetch_add(1, Ordering::SeqCst) + 1 >= GIVE_UP {
                std::process::exit(i32::from(Failure::interrupted().exit_code));
            }
        }
    };
    std::thread::Builder::new().name(String::from("signals")).spawn(count).context("cannot watch signals")?;
    Ok(())
}

/// How many came so far.
pub fn count() -> usize {
    COUNT.load(Ordering::SeqCst)
}

/// Set once one came; what a download and a check look at.
pub fn flag() -> &'static AtomicBool {
    &HAPPENED
}

/// A failure if one came.
pub fn check() -> Result<(), Failure> {
    if HAPPENED.load(Ordering::SeqCst) { Err(Failure::interrupted()) } else { Ok(()) }
}

/// How many came before something is begun that later ones are passed on to.
///
/// # Errors
/// One came. Counted before it is looked for: one that comes meanwhile is a later one, and not lost between the two.
pub fn begin() -> Result<usize, Failure> {
    let before = count();
    check().map(|()| before)
}

/// The last of them, by number.
pub fn signal() -> Option<i32> {
    let seen = SIGNAL.get().map_or(0, |seen| seen.load(Ordering::SeqCst));
    i32::try_from(seen).ok().filter(|signal| *signal != 0)
}
