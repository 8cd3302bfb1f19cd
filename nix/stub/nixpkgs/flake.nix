# A stand-in for nixpkgs, to evaluate ../../../flake.nix without fetching it (`xtask/tests/nix`). It has no more than what we
# use, takes no argument that the real one does not have, and looks at every element of every list: a word that is misspelt
# is an error here, where the real thing would tell only whoever builds.
{
  outputs =
    { self }:
    {
      lib = import ./lib.nix;
    };
}
