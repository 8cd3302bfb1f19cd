//! The pool: one machine's worker processes, its devices and (later) its models, as plain commands without a daemon.
//!
//! It decides nothing about work: it is told, it does, it reports facts. Who decides is the orchestrator. Decisions about
//! one process live in [`state`] and [`ending`] and name no clock, no file and no runtime; every other module is an effect.
//!
//! How a worker is kept: `worker spawn` starts a *supervisor* (this binary, hidden verb `supervise`, a session of its
//! own) that owns the worker as its child, drains its output into a capped log, follows it until it is ready, reaps it
//! and writes down how it ended. The command and the supervisor talk through two pipes ([`launch`]).

pub mod cli;
pub mod error;
pub mod output;

pub mod ending;
pub mod launch;
pub mod state;

pub mod binary;
pub mod devices;
pub mod list;
pub mod logs;
pub mod model;
pub mod spawn;
pub mod stop;
pub mod supervise;

pub mod callback;
pub mod identity;
pub mod log;
pub mod process;
pub mod readiness;
pub mod registry;
pub mod signals;
