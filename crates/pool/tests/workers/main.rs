//! The `llorch-pool` program against the fake worker, both as real processes. Every test has folders of its own and
//! leaves no process behind: [`sandbox::Sandbox`] sees to it.

mod sandbox;

mod attached;
mod failures;
mod lifecycle;
mod output;
mod stored;
mod strangers;
