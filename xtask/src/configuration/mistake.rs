//! What is wrong with a configuration file, and where. What it may say is in `configuration.rs`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::lines::{Lines, Position};
use crate::failure::Failure;
use crate::process::quoted;

/// What is wrong with a file, and where.
#[derive(Debug)]
pub struct Mistake {
    /// The file.
    pub file: PathBuf,
    /// Where in it; `None` for the whole file.
    pub position: Option<Position>,
    /// The key that is wrong, written with dots; `None` where the file is no TOML.
    pub key: Option<String>,
    /// What is wrong there, without the file's name and the place.
    pub reason: String,
    /// The whole of it.
    pub failure: Failure,
}

impl Mistake {
    /// What the parser says of a text.
    pub fn of_toml(file: &Path, (text, lines): (&str, &Lines), error: &toml::de::Error) -> Box<Self> {
        let offset = error.span().map(|span| span.start);
        Box::new(Self {
            file: file.to_owned(),
            position: offset.map(|offset| Position::of(text.as_bytes(), offset)),
            key: offset.and_then(|offset| lines.key_at(offset)).map(str::to_owned),
            reason: on_one_line(error.message()),
            failure: broken_toml(file, &error.to_string(), error.message()),
        })
    }

    /// A key that holds what it cannot.
    pub fn of_key(file: &Path, (key, position): (String, Option<Position>), reason: String) -> Box<Self> {
        let place = position.map(|position| format!("at line {}: ", position.line)).unwrap_or_default();
        let failure = broken(file, &format!("{place}{reason}"));
        Box::new(Self { file: file.to_owned(), position, key: Some(key), reason, failure })
    }
}

/// What a file holds; `None` if it is not there.
pub fn text_of(file: &Path) -> Result<Option<String>, Box<Mistake>> {
    let mistake = |position, reason: String, failure| {
        Err(Box::new(Mistake { file: file.to_owned(), position, key: None, reason, failure }))
    };
    let unreadable = |reason: String, hint: String| {
        let failure = Failure::new(format!("cannot read `{}`: {reason}", file.display())).hint(hint);
        mistake(None, reason, failure)
    };
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            let in_the_way = file.ancestors().skip(1).find(|above| above.symlink_metadata().is_ok()).unwrap_or(file);
            let hint = "set `HOME` to a folder, or `XDG_CONFIG_HOME`";
            return unreadable(format!("`{}` is no folder", in_the_way.display()), hint.to_owned());
        }
        Err(error) => return unreadable(error.to_string(), format!("ls -ld {}", quoted(file.as_os_str()))),
    };
    String::from_utf8(bytes).map(Some).or_else(|error| {
        let position = Position::of(error.as_bytes(), error.utf8_error().valid_up_to());
        let reason = String::from("the text is not UTF-8");
        let failure = broken(file, &format!("at line {}, column {}: {reason}", position.line, position.column));
        mistake(Some(position), reason, failure)
    })
}

/// The failure of a file that says what it cannot.
pub fn broken(file: &Path, why: &str) -> Failure {
    let failure = Failure::usage(format!("`{}` is no configuration: {why}", file.display()));
    failure.hint(format!("edit `{}`", file.display()))
}

/// The same from a parser's error, `shown` with an excerpt of the file between its place and its message.
pub fn broken_toml(file: &Path, shown: &str, message: &str) -> Failure {
    let mut lines = shown.trim_end().strip_suffix(message.trim_end()).unwrap_or(shown).lines();
    let place = lines.next().unwrap_or_default().trim_start_matches("TOML parse error ");
    let failure = broken(file, &format!("{place}: {}", on_one_line(message)));
    failure.known(lines.map(str::to_owned).collect())
}

fn on_one_line(message: &str) -> String {
    message.trim_end().replace('\n', ", ")
}
