//! `dev`: a machine made of fake programs, on which one thing at a time is wrong.

mod support;

mod check;
mod doctor;
mod setup;
mod tiers;
