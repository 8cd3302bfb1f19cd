# The functions of nixpkgs' library that we use, strict where the real ones are lazy.
let
  output = name: package: package.${name} or (throw "`${package.name}` has no output `${name}`");
in
{
  genAttrs =
    names: make:
    builtins.listToAttrs (
      map (name: {
        inherit name;
        value = make name;
      }) names
    );
  mapAttrs' = make: set: builtins.listToAttrs (map (name: make name set.${name}) (builtins.attrNames set));
  optionals = condition: list: assert builtins.isList list; if condition then list else [ ];
  optionalAttrs = condition: set: if condition then set else { };
  optionalString = condition: text: if condition then text else "";
  concatMapStringsSep = separator: make: list: builtins.concatStringsSep separator (map make list);
  importTOML = path: builtins.fromTOML (builtins.readFile path);
  versionAtLeast = one: other: builtins.compareVersions one other >= 0;
  versionOlder = one: other: builtins.compareVersions one other < 0;
  last = list: builtins.elemAt list (builtins.length list - 1);
  getDev = output "dev";
  getOutput = output;
  licenses.asl20 = "Apache-2.0";
  platforms = {
    unix = [ "unix" ];
    linux = [ "linux" ];
  };
  fileset = {
    unions = map (path: assert builtins.pathExists path || throw "`${toString path}` does not exist"; path);
    toSource =
      { root, fileset }:
      let
        isBelow = path: builtins.substring 0 (builtins.stringLength (toString root)) (toString path) == toString root;
      in
      assert builtins.all isBelow fileset;
      builtins.toFile "source" (builtins.concatStringsSep "\n" (map toString fileset));
  };
}
