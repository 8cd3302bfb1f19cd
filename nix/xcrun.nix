# Apple's `xcrun` for what only Xcode has, the Metal compiler: in a shell of Nix two variables point to another SDK, where it
# is not. All other calls keep them.
{ pkgs }:
pkgs.writeShellScriptBin "xcrun" ''
  for argument in "$@"; do
    case "$argument" in
      metal | metallib) exec /usr/bin/env -u DEVELOPER_DIR -u SDKROOT /usr/bin/xcrun "$@" ;;
    esac
  done
  exec /usr/bin/xcrun "$@"
''
