//! What is said to a far shell: quoting, and a start that reads the same in every login shell.
//!
//! A login shell may be bash, dash, zsh, fish, tcsh or busybox, and each reads quotes, `!`, newlines and backslashes in
//! its own way. So it is given one constant line of plain characters, which starts `/bin/sh`; that reads everything else
//! from standard input as one line of printable ASCII. Running it is `session.rs`'s.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use crate::failure::Failure;

/// Linux gives one argument this many bytes, its terminating NUL included (execve(2): MAX_ARG_STRLEN).
const ARGUMENT_BYTES_MAX: usize = 128 * 1024 - 1;
/// Of the 1 MiB that macOS has for arguments and environment together, the smaller of the two; half of it is ours.
const ARGUMENTS_BYTES_MAX: usize = 512 * 1024;

/// A POSIX shell script. Words from outside enter it through [`Script::word`] only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Script(Vec<u8>);

impl Script {
    /// A script of fixed text.
    pub fn new(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }

    /// The same script and more fixed text.
    #[must_use]
    pub fn then(mut self, text: &str) -> Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// The same script and one word, quoted.
    #[must_use]
    pub fn word(mut self, word: impl AsRef<OsStr>) -> Self {
        quote(word.as_ref().as_bytes(), &mut self.0);
        self
    }

    /// The same script and words, each behind a blank.
    #[must_use]
    pub fn words<T: AsRef<OsStr>>(self, words: impl IntoIterator<Item = T>) -> Self {
        words.into_iter().fold(self, |script, word| script.then(" ").word(word))
    }

    /// The same script and a path: `~/` is the far home folder, and a relative path begins there.
    #[must_use]
    pub fn path(self, path: &str) -> Self {
        match path.strip_prefix("~/") {
            Some(below) => self.then("\"$HOME\"/").word(below),
            None if path == "~" => self.then("\"$HOME\""),
            None if path.starts_with('/') => self.word(path),
            None => self.then("\"$HOME\"/").word(path),
        }
    }

    /// The same script, then another.
    #[must_use]
    pub fn append(mut self, other: &Script) -> Self {
        self.0.extend_from_slice(&other.0);
        self
    }

    /// The text, for people.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// One line for `printf %b`, its newline included: printable ASCII, everything else as `\0ooo`.
    pub fn line(&self) -> Vec<u8> {
        let mut line = Vec::with_capacity(self.0.len() + 64);
        for byte in &self.0 {
            match byte {
                b' '..=b'~' if *byte != b'\\' => line.push(*byte),
                _ => line.extend_from_slice(format!("\\0{byte:03o}").as_bytes()),
            }
        }
        line.push(b'\n');
        line
    }
}

/// The word in single quotes, whatever it holds: no byte is special there but the quote itself.
fn quote(word: &[u8], script: &mut Vec<u8>) {
    script.push(b'\'');
    for byte in word {
        match byte {
            b'\'' => script.extend_from_slice(br"'\''"),
            _ => script.push(*byte),
        }
    }
    script.push(b'\'');
}

/// The command for the login shell. Both streams begin with `mark`, so that what a start-up file prints can be told from
/// what the task prints; the pid is the far session's and process group's (sshd makes both).
pub fn start_command(mark: &str) -> String {
    format!(r#"exec /bin/sh -c 'echo {mark}; echo {mark} $$ >&2; IFS= read -r p && eval "$(printf %b "$p")"'"#)
}

/// Refuses what no far side could be given as arguments.
pub fn check_arguments<T: AsRef<OsStr>>(arguments: &[T]) -> Result<(), Failure> {
    let mut total: usize = 0;
    for (index, argument) in arguments.iter().map(AsRef::as_ref).enumerate() {
        if argument.as_bytes().contains(&0) {
            return Err(Failure::usage(format!("argument {index} contains a NUL, which no command line can")));
        }
        if argument.len() > ARGUMENT_BYTES_MAX {
            let message = format!("argument {index} has {} bytes, the most is {ARGUMENT_BYTES_MAX}", argument.len());
            return Err(Failure::usage(message).hint("send it on standard input"));
        }
        total = total.saturating_add(argument.len() + 1);
    }
    if total > ARGUMENTS_BYTES_MAX {
        let message = format!("the arguments have {total} bytes, the most is {ARGUMENTS_BYTES_MAX}");
        return Err(Failure::usage(message).hint("send them on standard input"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ffi::{OsStr, OsString};
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

    use super::{ARGUMENT_BYTES_MAX, Script, check_arguments, start_command};

    #[test]
    fn words_are_quoted_and_paths_begin_at_home() {
        let script = Script::new("cd ").path("~/a b").then("; cd ").path("src").then("; cd ").path("/x").then("; y");
        assert_eq!(
            script.words(["-n", "", "it's"]).text(),
            r#"cd "$HOME"/'a b'; cd "$HOME"/'src'; cd '/x'; y '-n' '' 'it'\''s'"#
        );
    }

    #[test]
    fn the_line_is_printable_ascii() {
        let line = Script::new("a\\\n\u{a0}\u{1b}é").line();
        assert_eq!(String::from_utf8_lossy(&line), "a\\0134\\0012\\0302\\0240\\0033\\0303\\0251\n");
    }

    #[test]
    fn the_start_reads_the_same_in_every_shell() {
        let command = start_command("m4rk");
        let inside = command.strip_prefix("exec /bin/sh -c '").and_then(|rest| rest.strip_suffix('\''));
        let inside = inside.expect("one single-quoted word");
        assert!(!inside.contains(['\'', '!', '\\', '\n']), "{inside}");
    }

    #[test]
    fn what_cannot_be_an_argument_is_refused_here() {
        assert!(check_arguments(&["a\0b"]).is_err());
        assert!(check_arguments(&["x".repeat(ARGUMENT_BYTES_MAX + 1)]).is_err());
        assert!(check_arguments(&vec!["x".repeat(100_000); 6]).is_err());
        assert!(check_arguments(&["x".repeat(100_000), String::new()]).is_ok());
    }

    /// Numbers that look random and are the same every time (xorshift64*).
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, limit: usize) -> usize {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
            usize::try_from(high).expect("31 bits") % limit
        }

        fn argument(&mut self) -> OsString {
            const NASTY: [&[u8]; 34] = [
                b"",
                b"-",
                b"--",
                b"-n",
                b"-e",
                b" ",
                b"'",
                b"\"",
                b"\\",
                b"$()",
                b"$(touch x)",
                b"`id`",
                b"*",
                b"~",
                b"!",
                b"!!",
                b"\n",
                b"\r",
                b"\x1b[2J",
                b"\xc2\xa0",
                b"{a,b}",
                b"%s",
                b"\\0101",
                b"\\c",
                b";",
                b"&",
                b"|",
                b"<x",
                b"#",
                b"$HOME",
                b"\x81\x82\x88",
                b"\xff",
                b"\t",
                b"=",
            ];
            let mut argument = Vec::new();
            for _ in 0..self.below(4) {
                if self.below(2) == 0 {
                    argument.extend_from_slice(NASTY[self.below(NASTY.len())]);
                } else {
                    let byte = 1 + u8::try_from(self.below(255)).expect("a byte");
                    argument.extend(std::iter::repeat_n(byte, self.below(3)));
                }
            }
            OsString::from_vec(argument)
        }
    }

    /// Gives `shell` the start as a login shell gets it, and the vectors as arguments of a program that prints them.
    fn through(shell: &[&str], vectors: &[Vec<OsString>]) -> Vec<u8> {
        // The far side's `printf` is another program's in turn: it is the vectors that are compared.
        let printed = |script: Script, vector: &Vec<OsString>| {
            script.then("printf '%s\\0' x").words(vector).then("\nprintf '<end>\\0'\n")
        };
        let script = vectors.iter().fold(Script::default(), printed);
        let command = start_command("m4rk");
        let (program, options) = shell.split_first().expect("a shell");
        let arguments = options.iter().copied().chain(["-c", &command]).map(str::to_owned);
        let output = duct::cmd(*program, arguments).stdin_bytes(script.line()).stdout_capture().stderr_null().run();
        let output = output.unwrap_or_else(|error| panic!("{program}: {error}")).stdout;
        let start = b"m4rk\n";
        let at = output.windows(start.len()).position(|window| window == start).expect("a start");
        output[at + start.len()..].to_vec()
    }

    fn check(shell: &[&str], count: usize) {
        if std::env::var("LLORCH_TEST_MISSING").is_ok_and(|missing| missing.contains(shell[0])) {
            println!("skipped: {} is not here", shell[0]);
            return;
        }
        let mut numbers = Numbers(0x11ac_e5ee_d000_0001);
        let mut left = count;
        while left > 0 {
            let batch = left.min(500);
            let vector = |numbers: &mut Numbers| (0..numbers.below(6)).map(|_| numbers.argument()).collect::<Vec<_>>();
            let vectors: Vec<Vec<OsString>> = (0..batch).map(|_| vector(&mut numbers)).collect();
            let mut expected = Vec::new();
            for vector in &vectors {
                for word in [OsStr::new("x")].into_iter().chain(vector.iter().map(OsString::as_os_str)) {
                    expected.extend_from_slice(word.as_bytes());
                    expected.push(0);
                }
                expected.extend_from_slice(b"<end>\0");
            }
            assert!(through(shell, &vectors) == expected, "{shell:?} changed an argument of {vectors:?}");
            left -= batch;
        }
    }

    #[test]
    fn bash_changes_no_argument() {
        check(&["bash"], 5_000);
    }

    #[test]
    fn dash_changes_no_argument() {
        check(&["dash"], 5_000);
    }

    #[test]
    fn zsh_changes_no_argument() {
        check(&["zsh"], 5_000);
    }

    #[test]
    fn fish_changes_no_argument() {
        check(&["fish"], 5_000);
    }

    #[test]
    fn tcsh_changes_no_argument() {
        check(&["tcsh"], 5_000);
    }

    #[test]
    fn busybox_changes_no_argument() {
        check(&["busybox", "sh"], 5_000);
    }

    #[test]
    fn long_and_many_arguments_arrive() {
        let long = vec![OsString::from("x'\\".repeat(33_000))];
        let many: Vec<OsString> = (0..500).map(|index| OsString::from(format!("${index}"))).collect();
        let output = through(&["bash"], &[long.clone(), many]);
        assert!(output.windows(99_000).any(|window| window == long[0].as_bytes()));
        assert!(output.ends_with(b"\0$499\0<end>\0"));
    }
}
