//! The bill of materials: every crate that is linked into the programs, with licence, checksum and what it needs, as CycloneDX
//! 1.5 (ECMA-424) in JSON. What cargo says becomes the list here; the list becomes the document without asking anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use protocol::identifiers::{Backend, Digest};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::archive::fingerprint_of;
use crate::cargo;
use crate::failure::Failure;
use crate::process::{Call, Group};

/// Packages whose programs are packed, by cargo's names.
const ROOTS: [&str; 4] = ["convert", "pool", "worker", "xtask"];

/// A crate that is linked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Material {
    key: Key,
    /// An SPDX expression.
    licence: String,
    repository: Option<String>,
    /// Of the file in the registry; absent for what is of this workspace.
    sha256: Option<Digest>,
    needs: BTreeSet<Key>,
}

/// Name and version: `Cargo.lock` has each pair once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    name: String,
    version: String,
}

/// Everything that is linked, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Materials {
    crates: Vec<Material>,
}

/// What the document is about.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Of the workspace.
    pub version: &'a str,
    /// Triple the programs run on.
    pub target: &'a str,
    /// Of the worker.
    pub backend: Backend,
    /// What was built.
    pub commit: &'a str,
}

#[derive(Deserialize)]
struct RawMetadata {
    packages: Vec<RawPackage>,
    resolve: RawResolve,
}

#[derive(Deserialize)]
struct RawPackage {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    repository: Option<String>,
}

#[derive(Deserialize)]
struct RawResolve {
    nodes: Vec<RawNode>,
}

#[derive(Deserialize)]
struct RawNode {
    id: String,
    deps: Vec<RawDependency>,
}

#[derive(Deserialize)]
struct RawDependency {
    pkg: String,
    dep_kinds: Vec<RawKind>,
}

#[derive(Deserialize)]
struct RawKind {
    /// Absent for what is linked, `build` or `dev` otherwise.
    kind: Option<String>,
}

#[derive(Deserialize)]
struct RawLock {
    package: Vec<RawLocked>,
}

#[derive(Deserialize)]
struct RawLocked {
    name: String,
    version: String,
    checksum: Option<String>,
}

impl Key {
    fn reference(&self) -> String {
        // What a version may have beyond the characters of a URL is `+`.
        format!("pkg:cargo/{}@{}", self.name, self.version.replace('+', "%2B"))
    }
}

impl Materials {
    /// Asks cargo, without a network where the crates are here.
    ///
    /// # Errors
    /// Cargo fails, or says something unexpected.
    pub fn read(root: &Path, target: &str, backend: Backend) -> Result<Self, Failure> {
        let features: Vec<String> = match backend {
            Backend::Cpu => Vec::new(),
            Backend::Cuda | Backend::Metal => vec![String::from("--features"), format!("worker/{backend}")],
        };
        let answer = |call: Call| -> Result<Vec<u8>, Failure> {
            let ended = call.capture(Group::Own)?;
            if ended.code == 0 { Ok(ended.stdout) } else { Err(call.failed(ended.code)) }
        };
        // The tree knows which features are on in a build, the metadata what each crate is.
        let tree = cargo::call(root).args(["tree", "--locked", "--prefix", "none", "--format", "{p}"]);
        let tree = tree.args(["--edges", "normal,no-proc-macro", "--target", target]).args(&features);
        let tree = ROOTS.into_iter().fold(tree, |call, name| call.args(["--package", name]));
        let metadata = cargo::call(root).args(["metadata", "--locked", "--format-version", "1"]);
        let metadata = metadata.args(["--filter-platform", target]).args(&features);
        let (tree, metadata) = (answer(tree)?, answer(metadata)?);
        let lock = fs_err::read_to_string(root.join("Cargo.lock"))?;
        let materials = Self::parse(&String::from_utf8_lossy(&tree), &metadata, &lock);
        materials.map_err(|why| Failure::new(format!("what cargo says of its crates cannot be used: {why}")))
    }

    fn parse(tree: &str, metadata: &[u8], lock: &str) -> Result<Self, String> {
        let linked: BTreeSet<Key> =
            tree.lines().filter(|line| !line.is_empty()).map(key_of_line).collect::<Result<_, _>>()?;
        let metadata: RawMetadata = serde_json::from_slice(metadata).map_err(|error| error.to_string())?;
        let lock: RawLock = toml::from_str(lock).map_err(|error| format!("`Cargo.lock`: {error}"))?;
        let checksums = lock.package.into_iter().filter_map(|locked| {
            let checksum = locked.checksum?;
            Some((Key { name: locked.name, version: locked.version }, checksum))
        });
        let checksums: BTreeMap<Key, String> = checksums.collect();
        let keys: BTreeMap<&str, Key> = metadata
            .packages
            .iter()
            .map(|package| (package.id.as_str(), Key { name: package.name.clone(), version: package.version.clone() }))
            .collect();
        let is_linked = |dependency: &&RawDependency| dependency.dep_kinds.iter().any(|kind| kind.kind.is_none());
        let needs_of = |node: &RawNode| -> BTreeSet<Key> {
            let needed = node.deps.iter().filter(is_linked).filter_map(|dependency| keys.get(dependency.pkg.as_str()));
            needed.filter(|key| linked.contains(key)).cloned().collect()
        };
        let mut needs: BTreeMap<&str, BTreeSet<Key>> =
            metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), needs_of(node))).collect();
        let mut crates = Vec::new();
        for package in &metadata.packages {
            let Some(key) = keys.get(package.id.as_str()).filter(|key| linked.contains(key)) else { continue };
            let licence = package.license.as_deref().ok_or_else(|| format!("`{}` names no licence", key.name))?;
            let sha256 = checksums.get(key).map(|hex| hex.parse::<Digest>().map_err(|error| error.to_string()));
            crates.push(Material {
                key: key.clone(),
                // The older way to write it.
                licence: licence.split('/').map(str::trim).collect::<Vec<_>>().join(" OR "),
                repository: package.repository.clone(),
                sha256: sha256.transpose()?,
                needs: needs.remove(package.id.as_str()).unwrap_or_default(),
            });
        }
        crates.sort_by(|one, other| one.key.cmp(&other.key));
        if crates.len() != linked.len() {
            return Err(format!("{} crates are linked, {} are described", linked.len(), crates.len()));
        }
        Ok(Self { crates })
    }

    /// The document. The same crates and subject are the same bytes: even its serial number is made of them.
    pub fn document(&self, subject: Subject<'_>) -> Result<String, Failure> {
        let whole = format!("pkg:generic/llorch@{}", subject.version);
        let property = |name: &str, value: &str| json!({ "name": format!("llorch:{name}"), "value": value });
        let roots = self.crates.iter().filter(|material| ROOTS.contains(&material.key.name.as_str()));
        let roots: Vec<String> = roots.map(|material| material.key.reference()).collect();
        let needed = self.crates.iter().map(|material| {
            let needs: Vec<String> = material.needs.iter().map(Key::reference).collect();
            json!({ "ref": material.key.reference(), "dependsOn": needs })
        });
        let dependencies: Vec<Value> =
            [json!({ "ref": whole, "dependsOn": roots })].into_iter().chain(needed).collect();
        let mut document = json!({
            "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "version": 1,
            "metadata": {
                "component": {
                    "type": "application",
                    "bom-ref": whole,
                    "name": "llorch",
                    "version": subject.version,
                    "purl": whole,
                    "licenses": [{ "expression": "Apache-2.0" }],
                },
                "properties": [
                    property("backend", &subject.backend.to_string()),
                    property("commit", subject.commit),
                    property("target", subject.target),
                ],
            },
            "components": self.crates.iter().map(Material::component).collect::<Vec<_>>(),
            "dependencies": dependencies,
        });
        let text = serde_json::to_string(&document).map_err(anyhow::Error::from)?;
        document["serialNumber"] = json!(serial_number(&fingerprint_of(text.as_bytes()).sha256.hex()));
        Ok(serde_json::to_string_pretty(&document).map_err(anyhow::Error::from)? + "\n")
    }
}

#[derive(Serialize)]
struct Component {
    r#type: &'static str,
    #[serde(rename = "bom-ref")]
    reference: String,
    name: String,
    version: String,
    purl: String,
    licenses: [Value; 1],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Value>,
    #[serde(rename = "externalReferences", skip_serializing_if = "Vec::is_empty")]
    external_references: Vec<Value>,
}

impl Material {
    fn component(&self) -> Component {
        let hash = self.sha256.iter().map(|sha256| json!({ "alg": "SHA-256", "content": sha256.hex() }));
        let repository = self.repository.iter().map(|url| json!({ "type": "vcs", "url": url }));
        Component {
            r#type: "library",
            reference: self.key.reference(),
            name: self.key.name.clone(),
            version: self.key.version.clone(),
            purl: self.key.reference(),
            licenses: [json!({ "expression": self.licence })],
            hashes: hash.collect(),
            external_references: repository.collect(),
        }
    }
}

/// `name vVERSION …`, as `cargo tree` prints a crate.
fn key_of_line(line: &str) -> Result<Key, String> {
    let mut words = line.split(' ');
    let (name, version) = (words.next(), words.next().and_then(|word| word.strip_prefix('v')));
    match (name, version) {
        (Some(name), Some(version)) => Ok(Key { name: name.to_owned(), version: version.to_owned() }),
        _ => Err(format!("`{line}` names no crate")),
    }
}

/// A UUID of version 8 (RFC 9562: bits of one's own choice) made of a hash.
fn serial_number(hex: &str) -> String {
    format!("urn:uuid:{}-{}-8{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}

#[cfg(test)]
mod tests {
    use protocol::identifiers::Backend;
    use serde_json::{Value, json};

    use super::{Materials, Subject, serial_number};

    const LOCK: &str = "version = 4\n[[package]]\nname = \"xtask\"\nversion = \"0.1.0\"\n[[package]]\nname = \"a\"\n\
        version = \"1.0.0+2\"\nchecksum = \"00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff\"\n";

    fn metadata(licence: &Value) -> Vec<u8> {
        let package = |id: &str, name: &str, version: &str, licence: &Value| {
            json!({
                "id": id, "name": name, "version": version, "license": licence, "repository": null,
            })
        };
        let needs = |id: &str, kind: &Value| json!({ "pkg": id, "dep_kinds": [{ "kind": kind, "target": null }] });
        let metadata = json!({
            "packages": [
                package("#x", "xtask", "0.1.0", &json!("Apache-2.0")),
                package("#a", "a", "1.0.0+2", licence),
                package("#t", "only-in-tests", "1.0.0", &Value::Null),
            ],
            "resolve": { "nodes": [
                { "id": "#x", "deps": [needs("#a", &Value::Null), needs("#t", &json!("dev"))] },
                { "id": "#a", "deps": [] },
            ] },
        });
        metadata.to_string().into_bytes()
    }

    fn document(materials: &Materials, commit: &str) -> String {
        let subject = Subject { version: "0.1.0", target: "t", backend: Backend::Cpu, commit };
        materials.document(subject).expect("a document")
    }

    #[test]
    fn what_is_linked_is_listed_with_licence_checksum_and_needs() {
        let tree = "xtask v0.1.0 (/somewhere)\na v1.0.0+2\n\na v1.0.0+2 (*)\n";
        let materials = Materials::parse(tree, &metadata(&json!("MIT/Apache-2.0")), LOCK).expect("materials");
        let text = document(&materials, "c");
        assert_eq!(text, document(&materials, "c"));
        assert!(!text.contains("only-in-tests") && !text.contains("somewhere"), "{text}");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        let listed = &value["components"][0];
        assert_eq!(listed["purl"], "pkg:cargo/a@1.0.0%2B2");
        assert_eq!(listed["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(listed["hashes"][0]["content"], "00ff".repeat(16));
        assert_eq!(value["dependencies"][0]["dependsOn"], json!(["pkg:cargo/xtask@0.1.0"]));
        assert_eq!(value["dependencies"][2]["dependsOn"], json!(["pkg:cargo/a@1.0.0%2B2"]));
        let other: Value = serde_json::from_str(&document(&materials, "d")).expect("JSON");
        assert_ne!(value["serialNumber"], other["serialNumber"]);
    }

    #[test]
    fn what_cannot_be_vouched_for_is_an_error() {
        let check = |tree: &str, licence: &Value, lock: &str, wanted: &str| {
            let why = Materials::parse(tree, &metadata(licence), lock).expect_err(wanted);
            assert!(why.contains(wanted), "{why}");
        };
        let mit = json!("MIT");
        check("a v1.0.0+2", &Value::Null, LOCK, "`a` names no licence");
        check("unknown v1.0.0", &mit, LOCK, "1 crates are linked, 0 are described");
        check("a", &mit, LOCK, "`a` names no crate");
        check("a v1.0.0+2", &mit, &LOCK.replace("00ff", "zz"), "SHA-256");
        check("a v1.0.0+2", &mit, "[", "`Cargo.lock`");
    }

    #[test]
    fn a_serial_number_is_a_uuid() {
        let number = serial_number(&"0123456789abcdef".repeat(4));
        assert_eq!(number, "urn:uuid:01234567-89ab-8def-8123-456789abcdef");
    }
}
