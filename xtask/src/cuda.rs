//! NVIDIA's toolkit, devices and driver, as a build for cuda needs them: looked at once, judged by a pure function.
//!
//! Stand-ins for machines that have none of it are below; they serve tests alone. What the command then is, is
//! `binaries.rs`'s; what doctor says about the same things, `doctor/hardware.rs`'s.

pub mod stand_ins;
pub mod wheels;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use protocol::stamp::{DriverTooOld, check_driver};

use crate::doctor::ask::{NoAnswer, ask};
use crate::failure::Failure;
use crate::process::{Call, find_on_path};

/// How the compiler is installed, by each package manager.
const TOOLKIT_COMMANDS: [(&str, &str); 3] = [
    ("apt-get", "sudo apt-get install nvidia-cuda-toolkit"),
    ("dnf", "sudo dnf install cuda-toolkit"),
    ("pacman", "sudo pacman -S cuda"),
];
const CAPABILITY_HINT: &str = "name the device's compute capability (8.6 is 86): \
    `CUDA_COMPUTE_CAP=86 cargo xtask build worker cuda`";
/// Releases of the toolkit that the bindings know (cudarc 0.19.10).
const RELEASES: [Release; 19] = [
    Release(11, 4),
    Release(11, 5),
    Release(11, 6),
    Release(11, 7),
    Release(11, 8),
    Release(12, 0),
    Release(12, 1),
    Release(12, 2),
    Release(12, 3),
    Release(12, 4),
    Release(12, 5),
    Release(12, 6),
    Release(12, 8),
    Release(12, 9),
    Release(13, 0),
    Release(13, 1),
    Release(13, 2),
    Release(13, 3),
    Release(13, 4),
];
/// The driver that came with a release, from NVIDIA's release notes. It is the oldest that takes the release's PTX, which
/// is what most kernels are shipped as: the compatibility within a major version is for machine code only. For a release
/// that is newer than this table the last row is a floor.
const DRIVERS: [(Release, u32); 16] = [
    (Release(11, 4), 470),
    (Release(11, 5), 495),
    (Release(11, 6), 510),
    (Release(11, 7), 515),
    (Release(11, 8), 520),
    (Release(12, 0), 525),
    (Release(12, 1), 530),
    (Release(12, 2), 535),
    (Release(12, 3), 545),
    (Release(12, 4), 550),
    (Release(12, 5), 555),
    (Release(12, 6), 560),
    (Release(12, 8), 570),
    (Release(12, 9), 575),
    (Release(13, 0), 580),
    (Release(13, 1), 590),
];

/// Major and minor version of a toolkit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release(pub u32, pub u32);

impl Release {
    /// From what `nvcc --version` prints: `…, release 13.0, V13.0.88`.
    pub fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once("release ")?;
        let (major, minor) = rest.split(',').next()?.trim().split_once('.')?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }

    /// The oldest driver, as a major version, that runs what this release compiles.
    pub fn minimum_driver(self) -> u32 {
        let known = DRIVERS.iter().rev().find(|(release, _)| *release <= self);
        known.map_or(DRIVERS[0].1, |(_, driver)| *driver)
    }

    /// The release whose bindings are used: this one, or the newest known one of the same major version.
    fn bindings(self) -> Option<Self> {
        RELEASES.into_iter().rev().find(|known| *known <= self && known.0 == self.0)
    }
}

impl std::fmt::Display for Release {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}.{}", self.0, self.1)
    }
}

/// A compiler, and what it is to compile for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolkit {
    /// The compiler.
    pub nvcc: PathBuf,
    /// The folder with `bin`, `include` and libraries.
    pub root: PathBuf,
    /// Its version.
    pub release: Release,
    /// Compute capability without its dot: `86`, `90a`.
    pub capability: String,
}

/// What there is on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    nvcc: Option<PathBuf>,
    /// What it answered to `--version`.
    version: String,
    /// `CUDA_HOME` or `CUDA_PATH`.
    root: Option<PathBuf>,
    /// `CUDA_COMPUTE_CAP`.
    named_capability: Option<String>,
    /// A `capability, driver` line a device; why there is none.
    devices: Result<String, NoDevice>,
}

impl Toolkit {
    /// The compiler and the device of this machine.
    ///
    /// # Errors
    /// What is missing, with the command that gets it.
    pub fn find() -> Result<Self, Failure> {
        let nvcc = find_named_nvcc()?.or_else(find_nvcc);
        let version = nvcc.as_ref().and_then(|nvcc| ask(&Call::new(nvcc).args(["--version"])).ok());
        let version = version.map(|ended| ended.text()).unwrap_or_default();
        let root = ["CUDA_HOME", "CUDA_PATH"].into_iter().find_map(folder);
        let named = std::env::var("CUDA_COMPUTE_CAP").ok().filter(|text| !text.is_empty());
        // Without a compiler nobody needs to know.
        let devices = if nvcc.is_some() { devices() } else { Ok(String::new()) };
        judge(Seen { nvcc, version, root, named_capability: named, devices })
    }

    /// What cargo's build scripts are told: the same compiler, device and version that were looked at here.
    pub fn variables(&self) -> Vec<(&'static str, OsString)> {
        let bindings = self.release.bindings().unwrap_or(self.release);
        vec![
            ("NVCC", self.nvcc.clone().into()),
            ("CUDA_HOME", self.root.clone().into()),
            ("CUDA_COMPUTE_CAP", self.capability.clone().into()),
            ("CUDARC_CUDA_VERSION", format!("{}0{}0", bindings.0, bindings.1).into()),
        ]
    }
}

/// The compiler that `NVCC` names. A wrong name is an error: another compiler is not what was asked for.
fn find_named_nvcc() -> Result<Option<PathBuf>, Failure> {
    let Some(named) = folder("NVCC") else { return Ok(None) };
    let found =
        if named.components().count() > 1 { Some(named.clone()) } else { find_on_path(&named.to_string_lossy(), &[]) };
    found.filter(|path| path.is_file()).map(Some).ok_or_else(|| {
        let failure = Failure::usage(format!("`NVCC` names `{}`, and there is no such compiler", named.display()));
        failure.hint("unset NVCC")
    })
}

/// The compiler that a build finds: `NVCC`, PATH, `CUDA_HOME`, `CUDA_PATH`, the usual place.
pub fn find_nvcc() -> Option<PathBuf> {
    let named = std::env::var_os("NVCC").map(PathBuf::from).filter(|path| path.is_file());
    let below = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(folder).chain([PathBuf::from("/usr/local/cuda")]);
    let below: Vec<PathBuf> = below.map(|root| root.join("bin/nvcc")).collect();
    named.or_else(|| find_on_path("nvcc", &[])).or_else(|| below.into_iter().find(|path| path.is_file()))
}

/// The version of NVIDIA's driver on this machine, if its kernel module says one.
pub fn driver() -> Option<String> {
    let text = std::fs::read_to_string("/sys/module/nvidia/version").ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// What is to be seen of NVIDIA's devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// There is one.
    Device,
    /// There is none.
    Nothing,
    /// There is a driver, and what it says is no answer.
    Unclear(String),
}

/// Looks for a device of NVIDIA's.
pub fn look() -> Sight {
    if std::fs::read_dir("/proc/driver/nvidia/gpus").is_ok_and(|mut entries| entries.next().is_some()) {
        return Sight::Device;
    }
    match devices() {
        Ok(_) => Sight::Device,
        Err(NoDevice::NoProgram) => Sight::Nothing,
        Err(NoDevice::Said(words)) if words.to_lowercase().contains("no devices were found") => Sight::Nothing,
        Err(why @ NoDevice::Said(_)) => Sight::Unclear(why.to_string()),
    }
}

/// Why `nvidia-smi` shows no device.
#[derive(Debug, Clone, PartialEq, Eq)]
enum NoDevice {
    /// There is none.
    NoProgram,
    /// Its words, or that it has none.
    Said(String),
}

impl std::fmt::Display for NoDevice {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NoDevice::NoProgram => formatter.write_str("there is no `nvidia-smi`"),
            NoDevice::Said(words) => write!(formatter, "`nvidia-smi`: {words}"),
        }
    }
}

fn folder(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn devices() -> Result<String, NoDevice> {
    let query = Call::new("nvidia-smi").args(["--query-gpu=compute_cap,driver_version", "--format=csv,noheader"]);
    match ask(&query) {
        Ok(ended) if ended.code == 0 && !ended.text().trim().is_empty() => Ok(ended.text()),
        Ok(ended) => {
            let text = ended.text();
            let mut said = text.lines().map(str::to_owned).chain(ended.complaints()).filter(|line| !line.is_empty());
            Err(NoDevice::Said(said.next().unwrap_or_else(|| String::from("it shows no device"))))
        }
        Err(NoAnswer::Silent) => Err(NoDevice::Said(String::from("it gives no answer"))),
        Err(NoAnswer::Missing) => Err(NoDevice::NoProgram),
    }
}

/// How the compiler is installed here; every way where none is this machine's.
pub fn toolkit_hint() -> String {
    let mut here = TOOLKIT_COMMANDS.iter().filter(|(manager, _)| find_on_path(manager, &[]).is_some());
    here.next().map_or_else(
        || TOOLKIT_COMMANDS.map(|(_, command)| format!("`{command}`")).join(", "),
        |(_, command)| (*command).to_owned(),
    )
}

/// What is built with and for, from what was seen.
fn judge(seen: Seen) -> Result<Toolkit, Failure> {
    let nvcc = seen.nvcc.ok_or_else(|| {
        let known = vec![String::from("looked at: NVCC, PATH, CUDA_HOME, CUDA_PATH, /usr/local/cuda")];
        Failure::new("a `cuda` worker needs NVIDIA's compiler, and there is no `nvcc`")
            .known(known)
            .hint(toolkit_hint())
    })?;
    let release = Release::parse(&seen.version).ok_or_else(|| {
        let message = format!("`{} --version` names no release", nvcc.display());
        Failure::new(message).hint(toolkit_hint())
    })?;
    if release.bindings().is_none() {
        let message = format!("CUDA {release} is not among the toolkits that this version can build with");
        let (oldest, newest) = (RELEASES[0], RELEASES[RELEASES.len() - 1]);
        return Err(
            Failure::new(message).hint(format!("install one from {oldest} to {newest} and name its `nvcc` in NVCC"))
        );
    }
    let devices = seen.devices.as_deref().map(parse_devices).unwrap_or_default();
    if let Some((_, driver)) = devices.first() {
        check_driver(release.minimum_driver(), driver).map_err(|DriverTooOld { needed, found }| {
            let message =
                format!("CUDA {release} compiles for NVIDIA's driver {needed} or newer, this machine has {found}");
            Failure::new(message).hint("update the driver, or name an older toolkit's `nvcc` in NVCC")
        })?;
    }
    let capability = match seen.named_capability {
        Some(named) => parse_capability(&named).ok_or_else(|| {
            let message = format!("`CUDA_COMPUTE_CAP` is `{named}`, which is not a compute capability");
            Failure::usage(message).hint(CAPABILITY_HINT)
        })?,
        // Machine code of an older device runs on newer ones of its generation, not the other way round.
        None => {
            devices.into_iter().map(|(capability, _)| capability).min_by_key(|text| number(text)).ok_or_else(|| {
                let known = seen.devices.err().map(|why| why.to_string());
                Failure::new("which NVIDIA device to build for is not known")
                    .known(known.into_iter().collect())
                    .hint(CAPABILITY_HINT)
            })?
        }
    };
    if release.0 >= 13 && number(&capability) < 75 {
        let message = format!("CUDA {release} compiles for compute capability 75 and newer, not for {capability}");
        return Err(Failure::new(message).hint("name the `nvcc` of a CUDA 12 in NVCC"));
    }
    let own = nvcc.canonicalize().unwrap_or_else(|_| nvcc.clone());
    let own = own.parent().and_then(Path::parent).unwrap_or(Path::new("/usr")).to_owned();
    Ok(Toolkit { nvcc, root: seen.root.unwrap_or(own), release, capability })
}

/// `8.6, 580.65.06` a line.
fn parse_devices(text: &str) -> Vec<(String, String)> {
    let device = |line: &str| {
        let (capability, driver) = line.split_once(',')?;
        Some((parse_capability(&capability.trim().replace('.', ""))?, driver.trim().to_owned()))
    };
    text.lines().filter_map(device).collect()
}

/// Two or three digits, and a letter for what is particular to one device.
fn parse_capability(text: &str) -> Option<String> {
    let digits = text.trim_end_matches(['a', 'f']);
    let is_sound = (2..=3).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && text.len() <= digits.len() + 1;
    is_sound.then(|| text.to_owned())
}

fn number(capability: &str) -> u32 {
    capability.trim_end_matches(['a', 'f']).parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{DRIVERS, NoDevice, Release, Seen, Toolkit, judge, parse_capability};

    const VERSION: &str = "nvcc: NVIDIA (R) Cuda compiler driver\nCuda compilation tools, release 13.0, V13.0.88\n";

    fn seen() -> Seen {
        Seen {
            nvcc: Some(PathBuf::from("/opt/cuda/bin/nvcc")),
            version: VERSION.to_owned(),
            root: None,
            named_capability: None,
            devices: Ok(String::from("8.9, 580.65.06\n8.6, 580.65.06\n")),
        }
    }

    fn check_refused(seen: Seen, words: &str) {
        let failure = judge(seen).expect_err(words);
        assert!(failure.message.contains(words) && failure.hint.is_some(), "{failure:?}");
    }

    #[test]
    fn the_toolkit_is_the_one_that_was_seen() {
        let toolkit = judge(seen()).expect("a toolkit");
        let expected = Toolkit {
            nvcc: PathBuf::from("/opt/cuda/bin/nvcc"),
            root: PathBuf::from("/opt/cuda"),
            release: Release(13, 0),
            capability: String::from("86"),
        };
        assert_eq!((&toolkit, toolkit.release.minimum_driver()), (&expected, 580));
        let named = Seen { named_capability: Some(String::from("90a")), devices: Err(NoDevice::NoProgram), ..seen() };
        assert_eq!(judge(named).expect("a toolkit").capability, "90a");
        let elsewhere = Seen { root: Some(PathBuf::from("/nix/cuda")), ..seen() };
        assert_eq!(judge(elsewhere).expect("a toolkit").root, Path::new("/nix/cuda"));
    }

    #[test]
    fn what_is_missing_is_named() {
        check_refused(Seen { nvcc: None, ..seen() }, "there is no `nvcc`");
        check_refused(Seen { version: String::from("wrapper 1.0"), ..seen() }, "names no release");
        check_refused(Seen { version: VERSION.replace("13.0", "10.2"), ..seen() }, "CUDA 10.2");
        check_refused(Seen { devices: Err(NoDevice::NoProgram), ..seen() }, "is not known");
        check_refused(Seen { named_capability: Some(String::from("8.6; rm")), ..seen() }, "`8.6; rm`");
        check_refused(Seen { devices: Ok(String::from("8.6, 575.57.08\n")), ..seen() }, "this machine has 575.57.08");
        check_refused(Seen { devices: Ok(String::from("6.1, 580.65.06\n")), ..seen() }, "not for 61");
    }

    #[test]
    fn releases_between_and_after_the_known_ones_have_bindings_and_a_driver() {
        assert_eq!((Release(13, 0).bindings(), Release(13, 0).minimum_driver()), (Some(Release(13, 0)), 580));
        assert_eq!((Release(12, 7).bindings(), Release(12, 7).minimum_driver()), (Some(Release(12, 6)), 560));
        assert_eq!((Release(13, 9).bindings(), Release(13, 9).minimum_driver()), (Some(Release(13, 4)), 590));
        assert_eq!((Release(14, 0).bindings(), Release(11, 2).bindings()), (None, None));
        assert!(parse_capability("120f").is_some());
        assert!(["", "9", "9.0", "90ab", "1234", "a"].iter().all(|text| parse_capability(text).is_none()));
    }

    #[test]
    fn the_flake_has_the_same_table_of_drivers() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../nix/drivers.nix");
        let text = std::fs::read_to_string(file).expect("the flake's table");
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("  ")).collect();
        assert_eq!(rows, DRIVERS.map(|(release, driver)| format!("  \"{release}\" = {driver};")));
    }
}
