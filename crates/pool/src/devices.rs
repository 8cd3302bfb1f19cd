//! What this machine can run models on: its processor, and NVIDIA devices where their driver shows them.

use std::fs;
use std::path::Path;

use protocol::identifiers::Backend;
use protocol::pool::{Device, DeviceList};

use crate::error::PoolError;
use crate::output::Output;

/// `devices`.
///
/// # Errors
/// None at present: what cannot be read is left out.
pub fn run(output: Output) -> Result<(), PoolError> {
    let devices = DeviceList { devices: all() };
    let _nobody_reads = if output.json {
        output.value(&devices)
    } else {
        devices.devices.iter().try_for_each(|device| output.line(&row(device)))
    };
    Ok(())
}

fn row(device: &Device) -> String {
    let gib = |bytes: u64| {
        #[expect(clippy::cast_precision_loss, reason = "one decimal is printed")]
        let bytes = bytes as f64;
        format!("{:.1} GiB", bytes / f64::from(1_u32 << 30))
    };
    let threads = device.threads.map(|threads| format!("  {threads} threads")).unwrap_or_default();
    let features = if device.features.is_empty() { String::new() } else { format!("  {}", device.features.join(" ")) };
    let memory = match (device.memory_bytes_available, device.memory_bytes_total) {
        (_, 0) => String::from("memory unknown"),
        (available, total) => format!("{} free of {}", gib(available), gib(total)),
    };
    format!("{}:{}  {}  {memory}{threads}{features}", device.backend, device.device, device.name)
}

/// Every device, the processor first.
#[must_use]
pub fn all() -> Vec<Device> {
    let mut devices = vec![processor()];
    devices.extend(nvidia(Path::new("/proc/driver/nvidia/gpus")));
    devices
}

fn processor() -> Device {
    let memory = Memory::read(Path::new("/"));
    Device {
        backend: Backend::Cpu,
        device: 0,
        name: processor_name(),
        memory_bytes_total: memory.total,
        memory_bytes_available: memory.available,
        threads: std::thread::available_parallelism().ok().and_then(|count| u32::try_from(count.get()).ok()),
        features: features(),
    }
}

fn processor_name() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name").and_then(|rest| rest.split_once(':')));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<String> {
    let present = [
        ("avx", std::arch::is_x86_feature_detected!("avx")),
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("f16c", std::arch::is_x86_feature_detected!("f16c")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
        ("avx512bw", std::arch::is_x86_feature_detected!("avx512bw")),
        ("avx512vl", std::arch::is_x86_feature_detected!("avx512vl")),
        ("avx512_vnni", std::arch::is_x86_feature_detected!("avx512vnni")),
        ("avx512_bf16", std::arch::is_x86_feature_detected!("avx512bf16")),
    ];
    present.into_iter().filter(|(_, present)| *present).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(target_arch = "aarch64")]
fn features() -> Vec<String> {
    let present = [
        ("neon", std::arch::is_aarch64_feature_detected!("neon")),
        ("fp16", std::arch::is_aarch64_feature_detected!("fp16")),
        ("dotprod", std::arch::is_aarch64_feature_detected!("dotprod")),
        ("i8mm", std::arch::is_aarch64_feature_detected!("i8mm")),
    ];
    present.into_iter().filter(|(_, present)| *present).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn features() -> Vec<String> {
    Vec::new()
}

/// Memory of the host, lowered by every control group this process is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Memory {
    total: u64,
    available: u64,
}

impl Memory {
    /// `root` is `/`, or a copy of the files below it in a test.
    fn read(root: &Path) -> Self {
        let text = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        let meminfo = text("proc/meminfo");
        let kibibytes = |name: &str| {
            let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse::<u64>().ok()?.checked_mul(1024)
        };
        let mut memory =
            Self { total: kibibytes("MemTotal").unwrap_or(0), available: kibibytes("MemAvailable").unwrap_or(0) };
        for line in text("proc/self/cgroup").lines() {
            // `0::/path` is version 2, `N:memory:/path` version 1.
            let Some((controllers, group)) = line.split_once(':').and_then(|(_, rest)| rest.split_once(':')) else {
                continue;
            };
            let version_1 = controllers.split(',').any(|name| name == "memory");
            if controllers.is_empty() {
                memory.limit_along(&root.join("sys/fs/cgroup"), group, ("memory.max", "memory.current"));
            } else if version_1 {
                let files = ("memory.limit_in_bytes", "memory.usage_in_bytes");
                memory.limit_along(&root.join("sys/fs/cgroup/memory"), group, files);
            }
        }
        memory
    }

    /// A limit of any group above counts as much as one's own; inside a container the path may not exist and its own
    /// root is the group.
    fn limit_along(&mut self, mount: &Path, group: &str, (limit_file, usage_file): (&str, &str)) {
        let mut folder = mount.join(group.trim_start_matches('/'));
        loop {
            let number = |file: &str| {
                fs::read_to_string(folder.join(file)).ok().and_then(|text| text.trim().parse::<u64>().ok())
            };
            if let Some(limit) = number(limit_file) {
                self.total = self.total.min(limit);
                self.available = self.available.min(limit.saturating_sub(number(usage_file).unwrap_or(0)));
            }
            if folder == mount || !folder.pop() || !folder.starts_with(mount) {
                return;
            }
        }
    }
}

/// Devices of NVIDIA's kernel driver. Their memory is not in these files: only a build for cuda can ask for it, here it
/// is 0, which means unknown.
fn nvidia(folder: &Path) -> Vec<Device> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut slots: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    slots.sort();
    let name_of = |slot: &Path| {
        let text = fs::read_to_string(slot.join("information")).ok()?;
        text.lines().find_map(|line| line.strip_prefix("Model:").map(|name| name.trim().to_owned()))
    };
    let devices = slots.iter().enumerate().map(|(index, slot)| Device {
        backend: Backend::Cuda,
        device: u32::try_from(index).unwrap_or(u32::MAX),
        name: name_of(slot).unwrap_or_else(|| String::from("NVIDIA device")),
        memory_bytes_total: 0,
        memory_bytes_available: 0,
        threads: None,
        features: Vec::new(),
    });
    devices.collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Memory, all, nvidia};

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
            std::fs::write(path, text).expect("a file");
        }
        root
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:  800 kB\n");

    #[test]
    fn control_groups_of_both_versions_lower_the_memory() {
        let none = machine(&[MEMINFO, ("proc/self/cgroup", "0::/a/b\n"), ("sys/fs/cgroup/a/b/memory.max", "max\n")]);
        assert_eq!(Memory::read(none.path()), Memory { total: 1_024_000, available: 819_200 });
        let above = machine(&[
            MEMINFO,
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/a/memory.max", "500000\n"),
            ("sys/fs/cgroup/a/memory.current", "100000\n"),
        ]);
        assert_eq!(Memory::read(above.path()), Memory { total: 500_000, available: 400_000 });
        let version_1 = machine(&[
            MEMINFO,
            ("proc/self/cgroup", "4:cpu,cpuacct:/x\n3:memory:/docker/7\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "300000"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "400000"),
        ]);
        assert_eq!(Memory::read(version_1.path()), Memory { total: 300_000, available: 0 });
        assert_eq!(Memory::read(Path::new("/nonexistent")), Memory { total: 0, available: 0 });
    }

    #[test]
    fn devices_are_those_that_are_there() {
        let root = machine(&[
            ("gpus/0000:02:00.0/information", "Model: \t\t NVIDIA B\nIRQ: 1\n"),
            ("gpus/0000:01:00.0/information", "Model: \t\t NVIDIA A\n"),
        ]);
        let names: Vec<_> =
            nvidia(&root.path().join("gpus")).into_iter().map(|device| (device.device, device.name)).collect();
        assert_eq!(names, [(0, String::from("NVIDIA A")), (1, String::from("NVIDIA B"))]);
        assert!(nvidia(&root.path().join("missing")).is_empty());
        let here = all();
        assert!(here[0].memory_bytes_total > 0 && here[0].threads.is_some());
    }
}
