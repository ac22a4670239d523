#!/bin/sh
# npm run test:explore [-- ROUNDS]: the property tests alone, each round with another seed, which is printed.
set -eu
pilotage_home=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
cd "$pilotage_home"
. scripts/runtime.sh
ensure_dependencies test
node=$(find_node)
PATH=$(dirname "$node"):$PATH
export PATH
sh test/lab/install.sh
files=$(grep -rl "from 'fast-check'" test --include='*.test.ts')
round=0
while [ "$round" -lt "${1:-10}" ]; do
  round=$((round + 1))
  PILOTAGE_TEST_SEED=$("$node" -p 'Math.floor(Math.random() * 2 ** 31)')
  export PILOTAGE_TEST_SEED
  echo "round $round: PILOTAGE_TEST_SEED=$PILOTAGE_TEST_SEED"
  # shellcheck disable=SC2086
  "$node" --disable-warning=ExperimentalWarning --import ./test/lab/seed.ts --test --test-reporter=dot \
    --test-global-setup=test/lab/shared-databases.ts --test-concurrency=2 --test-timeout=300000 $files
done
