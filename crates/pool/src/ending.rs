//! How a process ended, in words. Pure.

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It called exit.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// Number of the signal.
        number: i32,
        /// Whether the kernel counted processes killed for lack of memory in the meantime.
        out_of_memory: bool,
    },
    /// It is gone and nobody saw how.
    Unknown,
}

impl Ending {
    /// Whether the program says that it ended well.
    #[must_use]
    pub fn is_clean(self) -> bool {
        self == Ending::Code(0)
    }

    /// The ending as the rest of a sentence that begins with "the worker".
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Ending::Code(code) => format!("exited with code {code}"),
            Ending::Signal { number, out_of_memory } => {
                let name = signal_name(number).map_or_else(|| format!("signal {number}"), str::to_owned);
                match signal_remark(number, out_of_memory) {
                    Some(remark) => format!("was killed by {name} ({remark})"),
                    None => format!("was killed by {name}"),
                }
            }
            Ending::Unknown => String::from("is gone"),
        }
    }
}

/// Names of the signals that end a process in practice; numbers are those of Linux and macOS alike, except SIGBUS (7 and 10).
fn signal_name(number: i32) -> Option<&'static str> {
    let name = match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 | 10 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return None,
    };
    Some(name)
}

fn signal_remark(number: i32, out_of_memory: bool) -> Option<&'static str> {
    match number {
        4 => Some("an instruction this processor does not have"),
        6 => Some("it gave up on an error of its own"),
        7 | 10 => Some("a mapped file became shorter or could not be read: the model file changed, or its disk failed"),
        9 if out_of_memory => Some("the kernel killed it for lack of memory"),
        9 => Some("not by this pool; the kernel does so when memory runs out"),
        11 => Some("an invalid memory access"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Ending;

    #[test]
    fn endings_are_named() {
        let signal = |number, out_of_memory| Ending::Signal { number, out_of_memory }.words();
        assert_eq!(Ending::Code(101).words(), "exited with code 101");
        assert!(signal(7, false).contains("SIGBUS (a mapped file"));
        assert!(signal(9, true).contains("SIGKILL (the kernel killed it for lack of memory)"));
        assert!(signal(9, false).contains("SIGKILL (not by this pool"));
        assert_eq!(signal(15, false), "was killed by SIGTERM");
        assert_eq!(signal(64, false), "was killed by signal 64");
        assert!(Ending::Code(0).is_clean() && !Ending::Unknown.is_clean());
    }
}
