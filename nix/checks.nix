# What `nix flake check` builds. What needs a model, a network or another host is `cargo xtask ci`, in the shell.
{
  pkgs,
  build,
  programs,
}:
{
  formatting = build.step "formatting" "cargo fmt --all --check";
  lints = build.step "lints" "cargo clippy --workspace --all-targets --offline --locked -- --deny warnings";
  # The packages that touch nothing outside themselves.
  tests = build.step "tests" ''
    cargo test --offline --locked --lib --package protocol --package gguf --package architectures
  '';
  # The default package runs: its programs know what they were built for.
  default = pkgs.runCommand "llorch-runs" { } ''
    ${programs.default}/bin/llorch --version --json > $out
    ${programs.default}/bin/llorch-worker-cpu --version --json >> $out
  '';
}
