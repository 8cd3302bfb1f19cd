# What a program needs that computes on NVIDIA's hardware. One list for the package and for the shell.
{ cudaPkgs }:
let
  inherit (cudaPkgs) cudaPackages lib;
  drivers = import ./drivers.nix;
  # The toolkits that this one is as new as.
  known = builtins.filter (lib.versionAtLeast cudaPackages.cudaMajorMinorVersion) (
    builtins.attrNames drivers
  );
in
{
  # The host compiler that this nvcc takes.
  stdenv = cudaPackages.backendStdenv;
  compiler = [ cudaPackages.cuda_nvcc ];
  libraries = [
    cudaPackages.cccl
    cudaPackages.cuda_cudart
    cudaPackages.cuda_nvrtc
    cudaPackages.libcublas
    cudaPackages.libcurand
  ];
  # The driver's library is the machine's own; there is a stand-in to link against.
  linkedOnly = [ (lib.getOutput "stubs" cudaPackages.cuda_cudart) ];
  environment = {
    CUDA_TOOLKIT_ROOT_DIR = "${lib.getDev cudaPackages.cuda_cudart}";
  };
  # The oldest driver that takes what this toolkit compiles, by its major version.
  minimumDriver = drivers.${lib.last (builtins.sort lib.versionOlder known)};
  # The oldest hardware that has every type the kernels use; newer hardware takes the same code, translated by its driver.
  # A shell leaves it out: there the GPU of the machine is asked.
  capability = "80";
}
