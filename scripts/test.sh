#!/bin/sh
# The test command (npm test): installs what is missing, then checks and runs every test under the right Node.
# Starts under any Node that has npm. Arguments name test files; without any, everything runs.
set -eu
pilotage_home=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
cd "$pilotage_home"
. scripts/runtime.sh
ensure_dependencies test
node=$(find_node)
PATH=$(dirname "$node"):$PATH
export PATH
sh test/lab/install.sh
if [ $# -gt 0 ]; then
  exec "$node" --disable-warning=ExperimentalWarning --import ./test/lab/seed.ts --test --test-global-setup=test/lab/shared-databases.ts --test-concurrency=2 --test-timeout=300000 "$@"
fi
"$node" scripts/check.ts
exec "$node" --disable-warning=ExperimentalWarning --import ./test/lab/seed.ts --test --test-global-setup=test/lab/shared-databases.ts --test-concurrency=2 --test-timeout=300000 'test/**/*.test.ts'
