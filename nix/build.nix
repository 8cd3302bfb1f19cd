# How cargo is called: one program for one backend, or a step that only looks.
{
  pkgs,
  cudaPkgs,
  commit,
  source,
  toolchainOf,
}:
let
  inherit (pkgs) lib;
  manifest = lib.importTOML ../Cargo.toml;
  cuda = import ./cuda.nix { inherit cudaPkgs; };
  platformWith =
    these: stdenv:
    these.makeRustPlatform {
      cargo = toolchainOf these;
      rustc = toolchainOf these;
      inherit stdenv;
    };
  common = {
    inherit (manifest.workspace.package) version;
    src = source;
    strictDeps = true;
    cargoLock.lockFile = ../Cargo.lock;
    # Tests need a model, an sshd and login shells: `cargo xtask test` in the shell, and ./checks.nix.
    doCheck = false;
  };
  stamp = {
    LLORCH_BUILD_COMMIT = commit;
    LLORCH_BUILD_TARGET = pkgs.stdenv.hostPlatform.rust.rustcTarget;
  };
  meta = {
    license = lib.licenses.asl20;
    platforms = lib.platforms.unix;
  };
  onAnyMachine = platformWith pkgs pkgs.stdenv;
  onNvidia = platformWith cudaPkgs cuda.stdenv;
in
{
  # `package` and `binary` are cargo's names, `program` is what it is called where it is used.
  program =
    {
      package,
      binary,
      program,
      features ? [ ],
    }:
    onAnyMachine.buildRustPackage (
      common
      // {
        pname = program;
        cargoBuildFlags = [
          "--package"
          package
          "--bin"
          binary
        ];
        buildFeatures = features;
        env = stamp;
        postInstall = lib.optionalString (binary != program) "mv $out/bin/${binary} $out/bin/${program}";
        meta = meta // {
          mainProgram = program;
        };
      }
    );

  # The worker for NVIDIA's hardware: another compiler, and libraries that the driver's must be found beside.
  cudaWorker = onNvidia.buildRustPackage (
    common
    // {
      pname = "llorch-worker-cuda";
      cargoBuildFlags = [
        "--package"
        "worker"
        "--bin"
        "llorch-worker"
      ];
      buildFeatures = [ "cuda" ];
      nativeBuildInputs = cuda.compiler ++ [
        # In this order: the first would take away what the second adds, the folder of the driver.
        cudaPkgs.autoPatchelfHook
        cudaPkgs.autoAddDriverRunpath
      ];
      buildInputs = cuda.libraries ++ cuda.linkedOnly;
      autoPatchelfIgnoreMissingDeps = [ "libcuda.so.1" ];
      env =
        stamp
        // cuda.environment
        // {
          CUDA_COMPUTE_CAP = cuda.capability;
          LLORCH_BUILD_MINIMUM_DRIVER = toString cuda.minimumDriver;
        };
      postInstall = "mv $out/bin/llorch-worker $out/bin/llorch-worker-cuda";
      meta = meta // {
        mainProgram = "llorch-worker-cuda";
        platforms = lib.platforms.linux;
      };
    }
  );

  # A call of cargo whose only result is that it passes.
  step =
    name: command:
    onAnyMachine.buildRustPackage (
      common
      // {
        pname = "llorch-${name}";
        buildPhase = command;
        installPhase = "touch $out";
      }
    );
}
