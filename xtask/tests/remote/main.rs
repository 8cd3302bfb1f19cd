//! The command on other hosts: a real sshd on loopback, real login shells, lines that are cut.

mod support;

mod examples;
mod hosts;
mod interrupts;
mod loss;
mod readme;
mod shells;
mod status;
mod sync;
mod verbs;
mod warm;
