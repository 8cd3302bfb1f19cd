# The packages, each a derivation that nobody builds.
{
  system,
  config ? { },
  overlays ? [ ],
}:
let
  lib = import ./lib.nix;
  settings = {
    allowUnfree = false;
    cudaSupport = false;
  };
  isLinux = builtins.match ".*-linux" system != null;

  # Strings, and all that a list or a set of them holds, end in the derivation's environment: nothing is left unevaluated.
  derive =
    name: environment:
    builtins.derivation {
      inherit name system;
      builder = "/bin/sh";
      environment = builtins.toJSON environment;
    };
  package = name: derive name { };
  packages = names: lib.genAttrs names package;
  onLinux = name: if isLinux then package name else throw "`${name}` is for Linux";
  unfree =
    name:
    if !(config.allowUnfree or false) then
      throw "`${name}` is not free, and `allowUnfree` is not set"
    else
      onLinux name // { dev = package "${name}-dev"; };

  # The overlays are applied to this, as the real ones are.
  base =
    final:
    packages [
      "autoAddDriverRunpath"
      "autoPatchelfHook"
      "cargo-deny"
      "cargo-nextest"
      "dash"
      "fish"
      "git"
      "installShellFiles"
      "nixfmt"
      "openssh"
      "tcsh"
      "zsh"
    ]
    // lib.genAttrs [
      "busybox"
      "iproute2"
      "nftables"
      "strace"
    ] onLinux
    // {
      inherit lib;
      stdenv = {
        name = "stdenv";
        hostPlatform = {
          inherit isLinux;
          isDarwin = !isLinux;
          rust.rustcTarget = builtins.replaceStrings [ "linux" "darwin" ] [ "unknown-linux-gnu" "apple-darwin" ] system;
        };
      };
      python3.withPackages = choose: derive "python3" { chosen = choose (packages [ "pip" ]); };
      treefmt.withConfig =
        {
          runtimeInputs,
          settings,
        }:
        derive "treefmt" { inherit runtimeInputs settings; };
      runCommand = name: environment: script: derive name { inherit environment script; };
      writeShellScriptBin = name: script: derive name { inherit script; };
      mkShell = (import ./functions.nix { inherit derive; }).shell final.stdenv;
      makeRustPlatform = (import ./functions.nix { inherit derive; }).rustPlatform;
      cudaPackages =
        lib.genAttrs [
          "cccl"
          "cuda_nvcc"
          "cuda_nvrtc"
          "libcublas"
          "libcurand"
        ] unfree
        // {
          cuda_cudart = unfree "cuda_cudart" // {
            stubs = package "cuda_cudart-stubs";
          };
          cudaMajorMinorVersion = "12.8";
          backendStdenv = assert config.cudaSupport; final.stdenv // { name = "backendStdenv"; };
        };
    };
  apply = final: builtins.foldl' (before: overlay: before // overlay final before) (base final) overlays;
  result = apply result;
in
assert builtins.all (name: settings ? ${name} || throw "`${name}` is no setting") (builtins.attrNames config);
result
