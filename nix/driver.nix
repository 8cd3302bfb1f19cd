# The NVIDIA driver's library in a shell. It belongs to the kernel's module, so it comes from the machine and from nowhere
# else: NixOS keeps it in one folder; on other systems it lies among libraries that must not be found by programs of Nix (they
# are of another libc), so links to the driver's alone are put into a folder of their own.
{ }:
''
  llorch_driver_folder=/run/opengl-driver/lib
  if [ ! -e "$llorch_driver_folder/libcuda.so.1" ]; then
    llorch_driver_folder="''${XDG_CACHE_HOME:-$HOME/.cache}/llorch/nix-driver"
    mkdir -p "$llorch_driver_folder"
    for llorch_folder in /usr/lib/wsl/lib /usr/lib/$(uname -m)-linux-gnu /usr/lib64 /usr/lib; do
      if [ -e "$llorch_folder/libcuda.so.1" ]; then
        for llorch_library in libcuda libnvidia-ml libnvidia-nvvm libnvidia-ptxjitcompiler libdxcore; do
          for llorch_file in "$llorch_folder/$llorch_library".so*; do
            if [ -e "$llorch_file" ]; then ln -sf "$llorch_file" "$llorch_driver_folder/"; fi
          done
        done
        break
      fi
    done
  fi
  if [ -e "$llorch_driver_folder/libcuda.so.1" ]; then
    export LD_LIBRARY_PATH="$llorch_driver_folder''${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  else
    echo "warning: no NVIDIA driver was found: cuda programs compile here and do not run" >&2
  fi
  unset llorch_driver_folder llorch_folder llorch_library llorch_file
''
