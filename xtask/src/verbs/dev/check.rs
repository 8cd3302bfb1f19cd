//! `dev check`: every setting, its value, and what decided it.

use std::path::Path;

use models::catalog::Catalog;
use models::environment as variables;
use models::fetch::settings::SourceSettings;
use models::places::{Place, Places, Provenance};
use serde::Serialize;

use crate::cli::Globals;
use crate::configuration::{Explained, Origin, Setting, explain};
use crate::failure::Failure;
use crate::output::neutralise;

/// Variables of ours that are read elsewhere: by the pool, the worker, remote connections, builds. None is a secret but one.
const OTHER_VARIABLES: [&str; 9] = [
    "LLORCH_API_KEY",
    "LLORCH_BUILD_COMMIT",
    "LLORCH_BUILD_TARGET",
    "LLORCH_LOG",
    "LLORCH_LOG_BYTES",
    "LLORCH_LOG_FILES",
    "LLORCH_LOG_FORMAT",
    "LLORCH_SSH_CONFIG",
    "LLORCH_WORKER_BINARY",
];
/// What only the programs of this project tell each other.
const INTERNAL: [&str; 3] = ["LLORCH_TERMINAL_COLUMNS", "LLORCH_TEST_", "LLORCH_WORKER_NONCE"];
/// Variables whose value is nobody's business.
const SECRET: &str = "LLORCH_API_KEY";

/// Print every setting with its value and where it came from
///
/// An option wins over a variable, a variable over the user's file, that over the system's, and that over the default. Exit
/// code 2 if a file cannot be understood, with the line and the key; secrets are not shown.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask dev check
  cargo xtask dev check --json")]
pub struct Args {}

#[derive(Serialize)]
struct Document {
    files: Vec<File>,
    settings: Vec<Row>,
    errors: Vec<Mistake>,
    /// Names that begin as ours do and are not.
    unknown_variables: Vec<String>,
}

#[derive(Serialize)]
struct File {
    path: String,
    exists: bool,
}

#[derive(Serialize)]
struct Row {
    name: String,
    value: String,
    source: &'static str,
    /// What can set it: a variable, or `config.toml`.
    set_by: &'static str,
    /// The option or variable that did.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
}

#[derive(Serialize)]
struct Mistake {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    /// Written with dots.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// What is wrong there.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Args {
    /// Prints what can be told, then fails with what cannot.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let output = globals.output;
        let places = Places::from_environment()?;
        let explained = explain()?;
        let mut wrong = Vec::new();
        let hub = of_hub(&places).unwrap_or_else(|failure| {
            wrong.push(failure);
            Vec::new()
        });
        wrong.extend(globals.catalog.as_deref().and_then(|path| Catalog::load(path).err()).map(Failure::from));
        let settings: Vec<Setting> = of_places(&places)
            .into_iter()
            .chain([of_catalog(globals)])
            .chain(hub)
            .chain(of_variables())
            .chain(explained.settings.iter().cloned())
            .collect();
        let unknown = unknown_variables(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()));
        if output.json {
            output.value(&document(&explained, settings, (&wrong, unknown)))?;
        } else {
            for (file, exists) in &explained.files {
                output.note(format_args!("{} {}", file.display(), if *exists { "is read" } else { "is not there" }));
            }
            output.table(&settings.iter().map(words).collect::<Vec<_>>())?;
            unknown.iter().for_each(|name| output.warning(format_args!("`{name}` is no setting of llorch")));
        }
        let failures: Vec<Failure> =
            explained.mistakes.into_iter().map(|mistake| mistake.failure).chain(wrong).collect();
        // The document has said it for programs.
        failures.iter().for_each(|failure| output.without_events().failure(failure));
        Ok(failures.iter().map(|failure| failure.exit_code).max().unwrap_or(0))
    }
}

fn setting((name, set_by): (&str, &'static str), value: impl Into<String>, origin: Origin) -> Setting {
    Setting { name: name.to_owned(), value: value.into(), origin, set_by }
}

fn of_places(places: &Places) -> Vec<Setting> {
    let place = |name, place: &Place| {
        let origin = match place.provenance {
            Provenance::Variable(name) => Origin::Variable(name),
            Provenance::Home => Origin::Default,
        };
        setting(name, place.path.display().to_string(), origin)
    };
    vec![
        place(("config", variables::XDG_CONFIG_HOME), &places.config),
        place(("data", variables::DATA_DIRECTORY), &places.data),
        place(("state", variables::STATE_DIRECTORY), &places.state),
        place(("cache", variables::CACHE_DIRECTORY), &places.cache),
    ]
}

fn of_catalog(globals: &Globals) -> Setting {
    let name = ("catalog", variables::CATALOG);
    let Some(path) = &globals.catalog else { return setting(name, "built in", Origin::Default) };
    // clap has merged the two: the option wins where it was typed.
    let is_typed = |argument: std::ffi::OsString| {
        argument == "--catalog" || argument.to_str().is_some_and(|text| text.starts_with("--catalog="))
    };
    let is_typed = std::env::args_os().any(is_typed);
    let origin = if is_typed { Origin::Flag("--catalog") } else { Origin::Variable(variables::CATALOG) };
    setting(name, path.display().to_string(), origin)
}

fn of_hub(places: &Places) -> Result<Vec<Setting>, Failure> {
    let settings = SourceSettings::from_environment(&places.cache.path)?;
    let first = |names: &[&'static str]| {
        let is_set = |name: &&&str| variables::process(name).is_some_and(|value| !value.is_empty());
        names.iter().find(is_set).map_or(Origin::Default, |name| Origin::Variable(name))
    };
    let of_token = [variables::HUB_TOKEN, variables::HUB_TOKEN_PATH, variables::HUB_HOME, variables::XDG_CACHE_HOME];
    let (token, token_origin) = match &settings.token {
        Some(_) => ("(set)", first(&of_token)),
        None => ("(none)", first(&[variables::HUB_DISABLE_IMPLICIT_TOKEN])),
    };
    let cache = settings.hub_cache.as_deref().map(Path::display).map(|path| path.to_string());
    let of_cache = [variables::HUB_CACHE, variables::HUB_CACHE_OLD, variables::HUB_HOME, variables::XDG_CACHE_HOME];
    let offline = settings.switched_off_by.map_or(Origin::Default, Origin::Variable);
    Ok(vec![
        setting(
            ("hub.endpoint", variables::HUB_ENDPOINT),
            settings.endpoint.as_str(),
            first(&[variables::HUB_ENDPOINT]),
        ),
        setting(("hub.token", variables::HUB_TOKEN), token, token_origin),
        setting(("hub.cache", variables::HUB_CACHE), cache.unwrap_or_default(), first(&of_cache)),
        setting(("hub.offline", variables::HUB_OFFLINE), settings.switched_off_by.is_some().to_string(), offline),
    ])
}

/// Those that are set and no setting above is made of.
fn of_variables() -> Vec<Setting> {
    let value = |name: &'static str| {
        let value = variables::process(name)?;
        let shown = if name == SECRET { String::from("(set)") } else { value.to_string_lossy().into_owned() };
        Some(setting((name, name), shown, Origin::Variable(name)))
    };
    OTHER_VARIABLES.into_iter().filter_map(value).collect()
}

/// Names that begin as ours do and that nothing reads: a slip of the fingers sets nothing and says nothing.
fn unknown_variables(names: impl Iterator<Item = String>) -> Vec<String> {
    let places =
        [variables::CATALOG, variables::DATA_DIRECTORY, variables::STATE_DIRECTORY, variables::CACHE_DIRECTORY];
    let is_known = |name: &String| {
        let name = name.as_str();
        places.contains(&name) || OTHER_VARIABLES.contains(&name) || INTERNAL.iter().any(|one| name.starts_with(one))
    };
    let mut unknown: Vec<String> = names.filter(|name| name.starts_with("LLORCH_") && !is_known(name)).collect();
    unknown.sort();
    unknown
}

fn words(setting: &Setting) -> Vec<String> {
    vec![setting.name.clone(), neutralise(&setting.value), setting.source_words()]
}

fn document(
    explained: &Explained,
    settings: Vec<Setting>,
    (wrong, unknown_variables): (&[Failure], Vec<String>),
) -> Document {
    let file = |(path, exists): &(std::path::PathBuf, bool)| File { path: path.display().to_string(), exists: *exists };
    let other = |failure: &Failure| Mistake {
        file: None,
        line: None,
        column: None,
        key: None,
        reason: None,
        message: failure.message.clone(),
        hint: failure.hint.clone(),
    };
    let mistake = |mistake: &crate::configuration::Mistake| Mistake {
        file: Some(mistake.file.display().to_string()),
        line: mistake.position.map(|position| position.line),
        column: mistake.position.map(|position| position.column),
        key: mistake.key.clone(),
        reason: Some(mistake.reason.clone()),
        ..other(&mistake.failure)
    };
    Document {
        files: explained.files.iter().map(file).collect(),
        settings: settings.into_iter().map(|setting| row(setting, explained)).collect(),
        errors: explained.mistakes.iter().map(mistake).chain(wrong.iter().map(other)).collect(),
        unknown_variables,
    }
}

fn row(setting: Setting, explained: &Explained) -> Row {
    let is_users = |file: &Path| explained.files.first().is_some_and(|(first, _)| first == file);
    let Setting { name, value, origin, set_by } = setting;
    let (source, by, file, line) = match origin {
        Origin::Flag(flag) => ("flag", Some(flag), None, None),
        Origin::Variable(variable) => ("environment", Some(variable), None, None),
        Origin::File(file, line) => {
            let source = if is_users(&file) { "user_file" } else { "system_file" };
            (source, None, Some(file.display().to_string()), line)
        }
        Origin::Default => ("default", None, None, None),
    };
    Row { name, value, source, set_by, by, file, line }
}

#[cfg(test)]
mod tests {
    use super::unknown_variables;

    #[test]
    fn a_slip_of_the_fingers_is_seen() {
        let names = ["LLORCH_DATA_DIRR", "LLORCH_DATA_DIR", "LLORCH_TEST_FAR", "LLORCH_LOG", "HOME", "LLORCH_"];
        let unknown = unknown_variables(names.into_iter().map(str::to_owned));
        assert_eq!(unknown, ["LLORCH_", "LLORCH_DATA_DIRR"]);
    }
}
