//! How much memory a process took: what tests hold against a limit. A test that asks for its own is the only one in its binary.

/// The most memory a process ever had resident, in bytes; `None` where the system does not say, or it is gone.
#[must_use]
pub fn peak_resident_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The same of this process.
#[must_use]
pub fn own_peak_resident_bytes() -> Option<u64> {
    peak_resident_bytes(std::process::id())
}
