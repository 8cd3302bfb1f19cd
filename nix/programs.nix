# The packages: each program, and for each backend all of them together, laid out as `cargo xtask install` does it.
{ pkgs, build }:
let
  inherit (pkgs) lib;
  inherit (pkgs.stdenv.hostPlatform) isLinux isDarwin;

  command = build.program {
    package = "xtask";
    binary = "xtask";
    program = "llorch";
  };
  pool = build.program {
    package = "pool";
    binary = "llorch-pool";
    program = "llorch-pool";
  };
  convert = build.program {
    package = "convert";
    binary = "llorch-convert";
    program = "llorch-convert";
  };
  worker =
    backend: features:
    build.program {
      package = "worker";
      binary = "llorch-worker";
      program = "llorch-worker-${backend}";
      inherit features;
    };
  workers = {
    cpu = worker "cpu" [ ];
  }
  // lib.optionalAttrs isLinux { cuda = build.cudaWorker; }
  // lib.optionalAttrs isDarwin { metal = worker "metal" [ "metal" ]; };

  # Copied, not linked: a program finds the others beside itself, where its own file really is.
  together =
    name: these:
    pkgs.runCommand name
      {
        nativeBuildInputs = [ pkgs.installShellFiles ];
        meta.mainProgram = "llorch";
      }
      ''
        mkdir -p $out/bin $out/share/man/man1
        for program in ${lib.concatMapStringsSep " " (package: "${package}/bin/*") these}; do
          install -m 755 $program $out/bin/
        done
        export HOME=$TMPDIR
        $out/bin/llorch --quiet man --into $out/share/man/man1
        installShellCompletion --cmd llorch \
          --bash <($out/bin/llorch completions bash) \
          --fish <($out/bin/llorch completions fish) \
          --zsh <($out/bin/llorch completions zsh)
      '';
  all = lib.mapAttrs' (backend: worker: {
    name = "llorch-${backend}";
    value = together "llorch-${backend}" [
      command
      pool
      convert
      worker
    ];
  }) workers;
in
{
  inherit command pool convert;
  default = all.llorch-cpu;
}
// all
// lib.mapAttrs' (backend: value: {
  name = "worker-${backend}";
  inherit value;
}) workers
