//! A program that does nothing: what `cargo run` itself costs (`cargo xtask bench command`).

fn main() {}
