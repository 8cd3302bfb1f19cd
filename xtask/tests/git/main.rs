//! The git verbs as their users see them, on bare repositories that each test makes for itself. No network.

mod support;

mod checkout;
mod hostile;
mod interrupted;
mod pull;
mod status;
mod submodules;
mod sync;
