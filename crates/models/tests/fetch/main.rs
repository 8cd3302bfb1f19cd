//! Downloads against the fixture hub: what goes right, and everything that can go wrong on the way.

mod support;
#[cfg(target_os = "linux")]
mod watch;

mod cache;
mod hostile;
mod lying;
mod mirror;
mod ordinary;
mod parallel;
mod quarantine;
mod ranges;
mod references;
mod refusals;
mod repair;
mod sharing;
mod sources;
mod stalls;
