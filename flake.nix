# The same toolbox through Nix, for whoever has it: `nix develop`, `nix build`, `nix flake check`. Nothing here is needed to
# work on llorch: the compiler is the one of rust-toolchain.toml, everything else what `cargo xtask dev doctor` asks for.
{
  description = "Language models on the machines you have, fetched, verified, built for and run with one command";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
    rust-overlay = {
      url = "github:oxalica/rust-overlay";
      inputs.nixpkgs.follows = "nixpkgs";
    };
  };

  outputs =
    {
      self,
      nixpkgs,
      rust-overlay,
    }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
        "aarch64-darwin"
      ];
      # NVIDIA's compiler and libraries are not free; only what needs them is evaluated with leave to use them.
      packagesOf =
        system: config:
        import nixpkgs {
          inherit system config;
          overlays = [ rust-overlay.overlays.default ];
        };
      each =
        make:
        nixpkgs.lib.genAttrs systems (
          system:
          make (
            import ./nix {
              pkgs = packagesOf system { };
              cudaPkgs = packagesOf system {
                allowUnfree = true;
                cudaSupport = true;
              };
              commit = self.rev or self.dirtyRev or "unknown";
            }
          )
        );
    in
    {
      packages = each (ours: ours.packages);
      devShells = each (ours: ours.devShells);
      checks = each (ours: ours.checks);
      formatter = each (ours: ours.formatter);
    };
}
