# A stand-in for rust-overlay: a toolchain that is made of our file, and of nothing that it cannot have.
{
  # The real one has it, and ours says that it follows.
  inputs.nixpkgs.url = "path:../nixpkgs";

  outputs =
    { self, nixpkgs }:
    let
      known = [
        "clippy"
        "rust-analyzer"
        "rust-src"
        "rustfmt"
      ];
      toolchain =
        system: channel: components:
        assert builtins.isString channel;
        assert builtins.all (
          component: builtins.elem component known || throw "`${component}` is no component"
        ) components;
        builtins.derivation {
          name = "rust-${channel}";
          inherit system components;
          builder = "/bin/sh";
        }
        // {
          override = { extensions }: toolchain system channel (components ++ extensions);
        };
    in
    {
      overlays.default = final: before: {
        rust-bin.fromRustupToolchainFile =
          path:
          let
            make = { channel, components }: toolchain before.git.system channel components;
          in
          make (builtins.fromTOML (builtins.readFile path)).toolchain;
      };
    };
}
