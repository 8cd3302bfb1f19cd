//! Downloads against the fixture hub: what goes right, and everything that can go wrong on the way.

mod support;

mod hostile;
mod lying;
mod mirror;
mod ordinary;
mod parallel;
mod ranges;
mod refusals;
mod sharing;
mod sources;
mod stalls;
