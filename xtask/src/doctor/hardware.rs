//! Hardware that a backend needs. It may be absent where no backend of this machine asks for it.

use protocol::identifiers::Backend;
use protocol::stamp::{DriverTooOld, check_driver};

use super::ask::{NoAnswer, ask};
use super::{Check, Scene};
use crate::configuration::Configuration;
use crate::cuda::{self, Release};
use crate::process::Call;

const DRIVER_HINT: &str =
    "install NVIDIA's driver: `ubuntu-drivers install`, `dnf install akmod-nvidia`, `pacman -S nvidia`";
/// Backends that the configuration gives this machine: its profile is the one that leads here.
pub fn of_this_machine(configuration: &Configuration) -> Vec<Backend> {
    if configuration.hosts.is_empty() {
        return Vec::new();
    }
    let own = ask(&Call::new("uname").args(["-n"])).map(|ended| ended.text()).unwrap_or_default();
    let is_here = |name: &str| ["localhost", "127.0.0.1", "::1"].contains(&name) || is_same_machine(&own, name);
    let profiles = configuration.hosts.iter();
    let here = profiles.filter(|(name, profile)| is_here(name) || is_here(profile.ssh.host()));
    here.flat_map(|(_, profile)| profile.backends.iter().copied()).collect()
}

/// `box` is `box.lan`.
fn is_same_machine(own: &str, name: &str) -> bool {
    let label = |name: &str| name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    !own.is_empty() && label(own) == label(name)
}

/// A device as its driver tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Gpu {
    uuid: String,
    name: String,
    driver: String,
    memory: String,
}

/// Driver, devices and toolkit.
pub fn cuda(scene: &Scene) -> Vec<Check> {
    let is_asked_for = scene.backends.contains(&Backend::Cuda);
    let query = ["--query-gpu=uuid,name,driver_version,memory.total", "--format=csv,noheader"];
    let gpus = match ask(&Call::new("nvidia-smi").args(query)) {
        Ok(ended) if ended.code == 0 => Ok(parse_gpus(&ended.text())),
        Ok(ended) => {
            let text = ended.text();
            let said = text.lines().map(str::to_owned).chain(ended.complaints()).next().unwrap_or_default();
            Err(Some(format!("`nvidia-smi` failed: {said}")))
        }
        Err(NoAnswer::Silent) => Err(Some(String::from("`nvidia-smi` gives no answer"))),
        Err(NoAnswer::Missing) => Err(None),
    };
    let mut checks = devices(&gpus, is_asked_for);
    let gpus = gpus.unwrap_or_default();
    checks.push(toolkit(release(), &gpus, is_asked_for));
    checks
}

/// `UUID, name, driver, memory` a line.
fn parse_gpus(text: &str) -> Vec<Gpu> {
    let gpu = |line: &str| {
        let mut words = line.split(',').map(|word| word.trim().to_owned());
        let (uuid, name, driver, memory) = (words.next()?, words.next()?, words.next()?, words.next()?);
        uuid.starts_with("GPU-").then_some(Gpu { uuid, name, driver, memory })
    };
    text.lines().filter_map(gpu).collect()
}

/// The lines of the driver and of each device; `Err(None)` is no driver at all.
fn devices(gpus: &Result<Vec<Gpu>, Option<String>>, is_asked_for: bool) -> Vec<Check> {
    let gpus = match gpus {
        Ok(gpus) => gpus,
        Err(Some(why)) => {
            let check = Check::failed("cuda driver", why, "reboot after an update of the driver, or install it again");
            return vec![check.optional_unless(is_asked_for)];
        }
        Err(None) if is_asked_for => return vec![Check::failed("cuda driver", "is not installed", DRIVER_HINT)],
        Err(None) => return vec![Check::ok("cuda driver", "none; no backend of this machine asks for it")],
    };
    let Some(first) = gpus.first() else {
        let check = Check::failed("gpu", "the driver shows no device", "lspci -d 10de:");
        return vec![check.optional_unless(is_asked_for)];
    };
    let driver = Check::ok("cuda driver", first.driver.clone());
    let line = |gpu: &Gpu| Check::ok("gpu", format!("{} {}, {}", gpu.uuid, gpu.name, gpu.memory));
    [driver].into_iter().chain(gpus.iter().map(line)).collect()
}

/// The toolkit's version, from the `nvcc` that a build would find.
fn release() -> Option<Release> {
    let ended = ask(&Call::new(cuda::find_nvcc()?).args(["--version"])).ok()?;
    Release::parse(&ended.text()).filter(|_| ended.code == 0)
}

fn toolkit(release: Option<Release>, gpus: &[Gpu], is_asked_for: bool) -> Check {
    const NAME: &str = "cuda toolkit";
    let Some(release) = release else {
        return match (is_asked_for, gpus.is_empty()) {
            (true, _) => Check::failed(NAME, "there is no `nvcc`", cuda::toolkit_hint()),
            (false, false) => {
                Check::warning(NAME, "there is a device, and no `nvcc` to build for it", cuda::toolkit_hint())
            }
            (false, true) => Check::ok(NAME, "none; no backend of this machine asks for it"),
        };
    };
    match gpus.first().map(|gpu| check_driver(release.minimum_driver(), &gpu.driver)) {
        Some(Err(DriverTooOld { needed, found })) => Check::warning(
            NAME,
            format!("{release} builds for drivers from {needed} on, this one is {found}"),
            "update NVIDIA's driver, or install an older toolkit",
        ),
        _ => Check::ok(NAME, release.to_string()),
    }
}

/// Metal.
pub fn metal(scene: &Scene) -> Vec<Check> {
    let is_mac = cfg!(target_os = "macos");
    let compiler = || ask(&Call::new("xcrun").args(["--find", "metal"])).is_ok_and(|ended| ended.code == 0);
    vec![judge_metal(scene.backends.contains(&Backend::Metal), is_mac.then(compiler))]
}

/// `compiler`: whether it is there, on a Mac.
fn judge_metal(is_asked_for: bool, compiler: Option<bool>) -> Check {
    match (compiler, is_asked_for) {
        (Some(true), _) => Check::ok("metal", "its compiler is here"),
        (Some(false), _) => {
            Check::failed("metal", "its compiler is not here", "xcode-select --install").optional_unless(is_asked_for)
        }
        (None, true) => Check::failed(
            "metal",
            "only macOS has it",
            "take `metal` out of this machine's `backends`: `cargo xtask dev check` says where it stands",
        ),
        (None, false) => Check::ok("metal", "none; no backend of this machine asks for it"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Gpu, devices, is_same_machine, judge_metal, parse_gpus, toolkit};
    use crate::cuda::Release;
    use crate::doctor::{Check, Status};

    fn gpu(driver: &str) -> Gpu {
        let text = |text: &str| text.to_owned();
        Gpu { uuid: text("GPU-1"), name: text("A"), driver: text(driver), memory: text("12288 MiB") }
    }

    fn statuses(checks: &[Check]) -> Vec<(&'static str, Status)> {
        checks.iter().map(|check| (check.name, check.status)).collect()
    }

    #[test]
    fn devices_are_read_by_uuid() {
        let text = "GPU-1, A, 580.10, 12288 MiB\nGPU-2, A, 580.10, 12288 MiB\nNo devices were found\n";
        let gpus = parse_gpus(text);
        assert_eq!(gpus.first(), Some(&gpu("580.10")));
        let checks = devices(&Ok(gpus), false);
        assert_eq!(statuses(&checks), [("cuda driver", Status::Ok), ("gpu", Status::Ok), ("gpu", Status::Ok)]);
        assert_eq!(checks[2].message, "GPU-2 A, 12288 MiB");
    }

    #[test]
    fn what_is_absent_fails_only_where_it_is_asked_for() {
        for (is_asked_for, absent, broken) in
            [(true, Status::Failed, Status::Failed), (false, Status::Ok, Status::Warning)]
        {
            assert_eq!(statuses(&devices(&Err(None), is_asked_for)), [("cuda driver", absent)]);
            let silent = Err(Some(String::from("no answer")));
            assert_eq!(statuses(&devices(&silent, is_asked_for)), [("cuda driver", broken)]);
            assert_eq!(statuses(&devices(&Ok(Vec::new()), is_asked_for)), [("gpu", broken)]);
            assert_eq!(toolkit(None, &[], is_asked_for).status, absent);
            assert_eq!(toolkit(None, &[gpu("580.1")], is_asked_for).status, broken);
            assert_eq!(judge_metal(is_asked_for, None).status, absent);
            assert_eq!(judge_metal(is_asked_for, Some(false)).status, broken);
            assert_eq!(judge_metal(is_asked_for, Some(true)).status, Status::Ok);
        }
    }

    #[test]
    fn a_driver_older_than_the_toolkit_warns() {
        assert_eq!(toolkit(Some(Release(13, 0)), &[gpu("575.5")], false).status, Status::Warning);
        assert_eq!(toolkit(Some(Release(13, 0)), &[gpu("580.65")], true).status, Status::Ok);
        assert_eq!(toolkit(Some(Release(12, 4)), &[], true).status, Status::Ok);
    }

    #[test]
    fn a_machine_is_known_by_its_first_label() {
        assert!(is_same_machine("Box.lan", "box") && !is_same_machine("box", "box2") && !is_same_machine("", ""));
    }
}
