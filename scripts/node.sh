#!/bin/sh
# Runs a script of this checkout under the right Node, whatever Node npm was started with: sh scripts/node.sh FILE [ARG ...]
set -eu
pilotage_home=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
cd "$pilotage_home"
. scripts/runtime.sh
case $1 in
  ops/build/*) ensure_dependencies run ;;
  *) ensure_dependencies test ;;
esac
exec "$(find_node)" --disable-warning=ExperimentalWarning "$@"
