//! Which hardware this build can drive. The only file that may name `cfg(feature = "cuda" | "metal")`.
//!
//! A build is for one family: `--features cuda` or `--features metal`, else the processor. What is for either is
//! type-checked by every `ci`; what is for cuda is compiled, linked and started against stand-ins of NVIDIA's libraries by
//! `cargo xtask test lane cuda-link`. Neither has ever run on a device: no machine of this project has one.

use std::fmt;

use candle_core::Device;

use crate::error::reason_of;

/// A family of hardware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendKind {
    /// Any processor.
    Cpu,
    /// NVIDIA's devices.
    Cuda,
    /// Apple's devices.
    Metal,
}

/// What this build was made for. To add a backend: a variant, its row here, and the match in [`open`].
pub const BACKENDS: &[BackendKind] = &[
    #[cfg(feature = "cuda")]
    BackendKind::Cuda,
    #[cfg(feature = "metal")]
    BackendKind::Metal,
    // A build for a device has no second best.
    #[cfg(not(any(feature = "cuda", feature = "metal")))]
    BackendKind::Cpu,
];

impl BackendKind {
    /// The name on command lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            BackendKind::Cpu => "cpu",
            BackendKind::Cuda => "cuda",
            BackendKind::Metal => "metal",
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The candle device for `kind`. There is no fallback: a device that cannot be had is an error.
///
/// candle itself refuses the families it was not compiled for.
pub(crate) fn open(kind: BackendKind, index: u32) -> Result<Device, String> {
    let ordinal = usize::try_from(index).map_err(|_| format!("there is no device {index}"))?;
    let opened = match kind {
        BackendKind::Cpu if index == 0 => Ok(Device::Cpu),
        BackendKind::Cpu => return Err(format!("there is one cpu device, number 0, not {index}")),
        BackendKind::Cuda => Device::new_cuda(ordinal),
        BackendKind::Metal => Device::new_metal(ordinal),
    };
    opened.map_err(|error| format!("{kind} device {index}: {}", reason_of(&error)))
}

#[cfg(test)]
mod tests {
    use super::{BACKENDS, BackendKind, open};

    #[test]
    fn a_device_that_cannot_be_had_is_an_error() {
        assert!(open(BackendKind::Cpu, 0).is_ok());
        assert!(open(BackendKind::Cpu, 1).is_err_and(|reason| reason.contains("not 1")));
        for kind in [BackendKind::Cuda, BackendKind::Metal].into_iter().filter(|kind| !BACKENDS.contains(kind)) {
            assert!(open(kind, 0).is_err_and(|reason| {
                reason.starts_with(&format!("{kind} device 0: ")) && reason.lines().count() == 1
            }));
        }
    }
}
