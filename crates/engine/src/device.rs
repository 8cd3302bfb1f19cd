//! Which hardware this build can drive. The only file that may name `cfg(feature = "cuda" | "metal")`.

use std::fmt;

/// A family of hardware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendKind {
    /// Any processor.
    Cpu,
}

/// What this build was made for. To add a backend: a variant, its row here, and the match in [`open`].
pub const BACKENDS: &[BackendKind] = &[BackendKind::Cpu];

impl BackendKind {
    /// The name on command lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            BackendKind::Cpu => "cpu",
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The candle device for `kind`. There is no fallback: a device that cannot be had is an error.
pub(crate) fn open(kind: BackendKind, index: u32) -> Result<candle_core::Device, String> {
    match kind {
        BackendKind::Cpu if index == 0 => Ok(candle_core::Device::Cpu),
        BackendKind::Cpu => Err(format!("there is one cpu device, number 0, not {index}")),
    }
}
