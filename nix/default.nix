# Everything of one system: which files are the source, which toolchain builds it, and what comes of both.
{
  pkgs,
  # The same with leave to use what is not free.
  cudaPkgs,
  # What the programs are stamped with.
  commit,
}:
let
  inherit (pkgs) lib;
  # What cargo reads; tests replay what was found by fuzzing, with the same checks. Documents and this folder are not among it: a word in them builds nothing anew.
  source = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../.cargo
      ../.config
      ../Cargo.lock
      ../Cargo.toml
      ../catalog.toml
      ../clippy.toml
      ../crates
      ../fuzz/checks
      ../rust-toolchain.toml
      ../rustfmt.toml
      ../xtask
    ];
  };
  toolchainOf = these: these.rust-bin.fromRustupToolchainFile ../rust-toolchain.toml;
  build = import ./build.nix {
    inherit
      pkgs
      cudaPkgs
      commit
      source
      toolchainOf
      ;
  };
  programs = import ./programs.nix { inherit pkgs build; };
in
{
  packages = programs;
  devShells = import ./shells.nix {
    inherit pkgs cudaPkgs;
    toolchain = toolchainOf pkgs;
  };
  checks = import ./checks.nix { inherit pkgs build programs; };
  # Each language by its own formatter, each with its own settings.
  formatter = pkgs.treefmt.withConfig {
    runtimeInputs = [
      pkgs.nixfmt
      (toolchainOf pkgs)
    ];
    settings = {
      on-unmatched = "info";
      tree-root-file = "flake.nix";
      formatter.nix = {
        command = "nixfmt";
        includes = [ "*.nix" ];
      };
      formatter.rust = {
        command = "rustfmt";
        options = [
          "--edition"
          "2024"
        ];
        includes = [ "*.rs" ];
      };
    };
  };
}
