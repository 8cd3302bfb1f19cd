# The shells: `nix develop`, and one for each kind of hardware that needs more.
{
  pkgs,
  cudaPkgs,
  toolchain,
}:
let
  inherit (pkgs) lib;
  inherit (pkgs.stdenv.hostPlatform) isLinux isDarwin;
  cuda = import ./cuda.nix { inherit cudaPkgs; };
  xcrun = import ./xcrun.nix { inherit pkgs; };
  tools = [
    # What is for editors beside what builds.
    (toolchain.override {
      extensions = [
        "rust-analyzer"
        "rust-src"
      ];
    })
    pkgs.cargo-deny
    pkgs.cargo-nextest
    pkgs.git
    pkgs.nixfmt
    pkgs.openssh
    # The Python index is a source of models.
    (pkgs.python3.withPackages (python: [ python.pip ]))
  ]
  # What tests start: login shells, networks that are cut, disks that fail.
  ++ lib.optionals isLinux [
    pkgs.busybox
    pkgs.dash
    pkgs.fish
    pkgs.iproute2
    pkgs.nftables
    pkgs.strace
    pkgs.tcsh
    pkgs.zsh
  ];
in
{
  default = pkgs.mkShell { packages = tools; };
}
// lib.optionalAttrs isLinux {
  cuda = (cudaPkgs.mkShell.override { inherit (cuda) stdenv; }) {
    packages = tools ++ cuda.compiler;
    buildInputs = cuda.libraries ++ cuda.linkedOnly;
    env = cuda.environment;
    shellHook = import ./driver.nix { };
  };
}
// lib.optionalAttrs isDarwin {
  metal = pkgs.mkShell {
    packages = tools;
    # A folder of the list would come after those of the SDK.
    shellHook = ''
      export PATH="${xcrun}/bin:$PATH"
    '';
  };
}
