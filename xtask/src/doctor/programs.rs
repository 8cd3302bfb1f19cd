//! Programs that building and running call: whether they run, and whether they are the ones that are meant.

use std::path::Path;

use super::ask::{NoAnswer, ask};
use super::{Check, Scene};
use crate::process::{Call, Ended};
use crate::scratch::Scratch;

const RUSTUP: &str = "curl --proto '=https' -sSf https://sh.rustup.rs | sh";
const SETUP: &str = "cargo xtask dev setup";
/// Gets pip where the system has a Python without it.
const ENSURE_PIP: &str = "python3 -m ensurepip --user";

/// rustc, and whether it is the one of `rust-toolchain.toml`.
pub fn rust(scene: &Scene) -> Vec<Check> {
    let call = Call::new("rustc").args(["--version"]).dir(&scene.folder);
    let check = match first_line(&call) {
        Ok(found) => match scene.root.as_deref().and_then(wanted_toolchain) {
            Some(wanted) => toolchain(&wanted, &found),
            None => Check::ok("rust", found),
        },
        Err(why) => {
            let hint = match scene.root.as_deref().and_then(wanted_toolchain) {
                Some(wanted) if why.is_there() => format!("rustup toolchain install {wanted}"),
                Some(_) | None => String::from(RUSTUP),
            };
            Check::failed("rust", why.of("rustc --version"), hint)
        }
    };
    vec![check.optional_unless(scene.root.is_some())]
}

/// The version that the checkout asks for.
fn wanted_toolchain(root: &Path) -> Option<String> {
    let text = std::fs::read_to_string(root.join("rust-toolchain.toml")).ok()?;
    let table: toml::Table = text.parse().ok()?;
    Some(table.get("toolchain")?.get("channel")?.as_str()?.to_owned())
}

/// Compares `1.95.0` with `rustc 1.95.0 (…)`.
fn toolchain(wanted: &str, found: &str) -> Check {
    let number = found.split(' ').nth(1).unwrap_or_default();
    let version = |text: &str| -> Option<Vec<u32>> {
        text.split(['-', ' ']).next()?.split('.').map(|part| part.parse().ok()).collect()
    };
    let hint = format!("rustup toolchain install {wanted}");
    match (version(wanted), version(number)) {
        (Some(wanted_parts), Some(parts)) if parts < wanted_parts => {
            Check::failed("rust", format!("`{found}` is older than {wanted} of `rust-toolchain.toml`"), hint)
        }
        (Some(wanted_parts), Some(parts)) if parts > wanted_parts => {
            Check::warning("rust", format!("`{found}` is not {wanted} of `rust-toolchain.toml`"), hint)
        }
        _ => Check::ok("rust", found),
    }
}

/// cargo.
pub fn cargo(scene: &Scene) -> Vec<Check> {
    let check = program("cargo", &Call::new("cargo").args(["--version"]).dir(&scene.folder), RUSTUP);
    vec![check.optional_unless(scene.root.is_some())]
}

/// cargo-nextest; tests run without it, more slowly.
pub fn nextest(scene: &Scene) -> Vec<Check> {
    let call = Call::new("cargo").args(["nextest", "--version"]).dir(&scene.folder);
    vec![program("nextest", &call, "cargo install --locked cargo-nextest").optional_unless(false)]
}

/// What build scripts compile C with (SQLite, ring): `$CC`, else `cc`.
fn compiler() -> Call {
    let compiler = std::env::var("CC").unwrap_or_default();
    let mut words = compiler.split_whitespace();
    Call::new(words.next().unwrap_or("cc")).args(words)
}

/// The C compiler.
pub fn c_compiler(scene: &Scene) -> Vec<Check> {
    let call = compiler().args(["--version"]);
    vec![program("c compiler", &call, SETUP).optional_unless(scene.root.is_some())]
}

/// rustc links through `cc`: a compiler without the C library's files runs and links nothing.
pub fn linker(scene: &Scene) -> Vec<Check> {
    let check = link().unwrap_or_else(|why| Check::failed("linker", why, SETUP));
    vec![check.optional_unless(scene.root.is_some())]
}

fn link() -> Result<Check, String> {
    let scratch = Scratch::new("doctor").map_err(|failure| failure.message)?;
    let (source, program) = (scratch.path().join("empty.c"), scratch.path().join("empty"));
    std::fs::write(&source, "int main(void) { return 0; }\n").map_err(|error| error.to_string())?;
    let ended = ask(&Call::new("cc").args(["-o".as_ref(), program.as_os_str(), source.as_os_str()]));
    let ended = ended.map_err(|why| Why::NoAnswer(why).of("cc"))?;
    if ended.code == 0 {
        return Ok(Check::ok("linker", "`cc` links an empty program"));
    }
    let said = ended.complaints().pop().unwrap_or_default();
    Err(format!("`cc` cannot link an empty program: {said}"))
}

/// git.
pub fn git(_scene: &Scene) -> Vec<Check> {
    vec![program("git", &Call::new("git").args(["--version"]), SETUP)]
}

/// Python and pip, for the mirrors of models. One start of the interpreter answers for both: it may be a slow wrapper, and
/// `pip --version` loads all of pip.
pub fn python(_scene: &Scene) -> Vec<Check> {
    const QUESTION: &str =
        "import sys; print('Python', sys.version.split()[0], flush=True); import pip; print('pip', pip.__version__)";
    let answer = ask(&Call::new("python3").args(["-c", QUESTION]));
    let text = answer.as_ref().map(Ended::text).unwrap_or_default();
    let mut lines = text.lines();
    let (python, pip) = (lines.next(), lines.next());
    let why = match answer {
        Ok(_) => Why::Refused,
        Err(no_answer) => Why::NoAnswer(no_answer),
    };
    let python = match python {
        Some(line) => Check::ok("python3", line),
        None => Check::failed("python3", why.of("python3"), SETUP),
    };
    let pip = match pip {
        Some(line) => Check::ok("pip", line),
        None => {
            let hint = format!("{SETUP}, or `{ENSURE_PIP}`");
            Check::failed("pip", why.of("python3 -m pip"), hint)
        }
    };
    vec![python, pip]
}

/// ssh, which `--remote` calls.
pub fn ssh(scene: &Scene) -> Vec<Check> {
    let call = Call::new("ssh").args(["-V"]);
    let check = match ask(&call) {
        // The one program that answers on the other stream.
        Ok(ended) if ended.code == 0 => Check::ok("ssh", ended.complaints().pop().unwrap_or_default()),
        Ok(_) => Check::failed("ssh", Why::Refused.of("ssh -V"), SETUP),
        Err(why) => Check::failed("ssh", Why::NoAnswer(why).of("ssh -V"), SETUP),
    };
    vec![check.optional_unless(scene.has_hosts())]
}

/// The agent. `--remote` asks for no passphrase, so that a key with one needs it.
pub fn agent(scene: &Scene) -> Vec<Check> {
    let code = ask(&Call::new("ssh-add").args(["-l"])).map(|ended| (ended.code, ended.text().lines().count()));
    let (message, hint) = match code {
        Ok((0, count)) => return vec![Check::ok("ssh agent", format!("holds {count} keys"))],
        Ok((1, _)) => ("holds no key", "ssh-add"),
        Ok(_) => ("does not run: keys with a passphrase cannot be used", "eval \"$(ssh-agent)\" && ssh-add"),
        Err(NoAnswer::Missing) => ("`ssh-add` does not run", SETUP),
        Err(NoAnswer::Silent) => ("`ssh-add -l` gives no answer", "unset SSH_AUTH_SOCK"),
    };
    if scene.has_hosts() {
        return vec![Check::warning("ssh agent", message, hint)];
    }
    vec![Check::ok("ssh agent", format!("{message}; no host in the configuration needs it"))]
}

/// Why a program did not say what it is.
enum Why {
    NoAnswer(NoAnswer),
    Refused,
}

impl Why {
    fn is_there(&self) -> bool {
        !matches!(self, Why::NoAnswer(NoAnswer::Missing))
    }

    fn of(&self, command: &str) -> String {
        match self {
            Why::NoAnswer(NoAnswer::Silent) => format!("`{command}` gives no answer"),
            Why::NoAnswer(NoAnswer::Missing) | Why::Refused => format!("`{command}` does not run"),
        }
    }
}

fn first_line(call: &Call) -> Result<String, Why> {
    // rustup names a toolchain that is not here, and does not fetch it behind a question.
    match ask(&call.clone().env("RUSTUP_AUTO_INSTALL", "0")) {
        Ok(ended) if ended.code == 0 => Ok(ended.text().lines().next().unwrap_or_default().to_owned()),
        Ok(_) => Err(Why::Refused),
        Err(why) => Err(Why::NoAnswer(why)),
    }
}

fn program(name: &'static str, call: &Call, hint: &str) -> Check {
    match first_line(call) {
        Ok(line) => Check::ok(name, line),
        Err(why) => Check::failed(name, why.of(&call.to_string()), hint),
    }
}

#[cfg(test)]
mod tests {
    use super::toolchain;
    use crate::doctor::Status;

    #[test]
    fn an_older_toolchain_fails_and_a_newer_one_warns() {
        for (found, status) in [
            ("rustc 1.95.0 (abc 2026-01-01)", Status::Ok),
            ("rustc 1.94.1 (abc 2025-11-01)", Status::Failed),
            ("rustc 1.9.0", Status::Failed),
            ("rustc 1.96.0-nightly (abc 2026-03-01)", Status::Warning),
            ("rustc of somebody's own", Status::Ok),
        ] {
            let check = toolchain("1.95.0", found);
            assert_eq!(check.status, status, "{found}");
            let has_hint = check.hint.as_deref() == Some("rustup toolchain install 1.95.0");
            assert_eq!(has_hint, status != Status::Ok, "{found}");
        }
        assert_eq!(toolchain("stable", "rustc 1.9.0").status, Status::Ok);
    }
}
