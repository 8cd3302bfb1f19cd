# The functions that make shells and programs, with the arguments that we give them and no others.
{ derive }:
rec {
  shell = stdenv: {
    override = { stdenv }: (shell stdenv).__functor { };
    __functor =
      _:
      {
        packages,
        buildInputs ? [ ],
        env ? { },
        shellHook ? "",
      }:
      derive "shell" {
        inherit
          packages
          buildInputs
          env
          shellHook
          ;
        stdenv = stdenv.name;
      }
      // {
        inherit shellHook;
      };
  };

  rustPlatform =
    {
      cargo,
      rustc,
      stdenv,
    }:
    {
      buildRustPackage =
        {
          pname,
          version,
          src,
          strictDeps,
          cargoLock,
          doCheck,
          cargoBuildFlags ? [ ],
          buildFeatures ? [ ],
          nativeBuildInputs ? [ ],
          buildInputs ? [ ],
          autoPatchelfIgnoreMissingDeps ? [ ],
          env ? { },
          buildPhase ? "",
          installPhase ? "",
          postInstall ? "",
          meta ? { },
        }:
        let
          lock = builtins.fromTOML (builtins.readFile cargoLock.lockFile);
          # One from a repository would need a hash beside the lock.
          foreign = builtins.filter (
            { source ? "registry", ... }: builtins.match "registry.*" source == null
          ) lock.package;
        in
        assert foreign == [ ];
        assert builtins.all builtins.isString (builtins.attrValues env);
        derive "${pname}-${version}" {
          inherit
            cargo
            rustc
            src
            strictDeps
            doCheck
            cargoBuildFlags
            buildFeatures
            nativeBuildInputs
            buildInputs
            autoPatchelfIgnoreMissingDeps
            env
            buildPhase
            installPhase
            postInstall
            meta
            ;
          stdenv = stdenv.name;
        };
    };
}
