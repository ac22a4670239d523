#!/bin/sh
# Runs the public conformance suite of TUF clients against our updater (test/conformance/client); arguments go to pytest.
# Exit: 0 every test passed, 1 one did not, 2 something that the run needs is missing.
# Where the sources are and how to get them: docs/how-to/run-the-conformance-suite.md.
set -eu
here=$(CDPATH= cd "$(dirname "$0")" && pwd)
pilotage_home=$(CDPATH= cd "$here/../.." && pwd)
. "$pilotage_home/scripts/runtime.sh"
sources=${PILOTAGE_TUF_CONFORMANCE:-$pilotage_home/build/tuf}/src

cannot() { # WHY FIX
  printf 'run.sh: %s\n  fix: %s\n' "$1" "$2" >&2
  exit 2
}
for name in tuf-conformance/tuf_conformance python-tuf/tuf securesystemslib/securesystemslib; do
  [ -d "$sources/$name" ] ||
    cannot "there is no $sources/$name" "get the sources as docs/how-to/run-the-conformance-suite.md says, or name their directory in PILOTAGE_TUF_CONFORMANCE"
done
missing=
for module in pytest cryptography urllib3; do
  python3 -c "import $module" 2>/dev/null || missing="$missing python3-$module"
done
command -v faketime >/dev/null || missing="$missing faketime"
[ -z "$missing" ] || cannot "these packages are not installed:$missing" "on Debian, as root: apt-get install$missing"

ensure_dependencies test
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
other=
trap 'kill $other 2>/dev/null; exit 130' INT TERM
PILOTAGE_NODE=$(find_node)
NODE_COMPILE_CACHE=$work/compiled
PYTHONPATH=$here:$sources/python-tuf:$sources/securesystemslib:$sources/tuf-conformance
export PILOTAGE_NODE NODE_COMPILE_CACHE PYTHONPATH PYTHONDONTWRITEBYTECODE=1
cd "$sources/tuf-conformance"

# In two halves side by side: most of a test's time is the client's start.
pytest() { # NAME ARGUMENTS
  name=$1
  shift
  timeout 900 python3 -m pytest -p old_cryptography -p no:cacheprovider -q --tb=short --junitxml="$work/$name.xml" \
    --entrypoint "$here/client" "$@" >"$work/$name.log" 2>&1
}
if [ $# -gt 0 ]; then
  pytest chosen tuf_conformance "$@" || true
else
  first=tuf_conformance/test_basic.py
  second=tuf_conformance/test_updater_delegation_graphs.py
  pytest half "$first" "$second" &
  other=$!
  pytest other-half tuf_conformance --ignore "$first" --ignore "$second" || true
  wait "$other" || true
fi
cat "$work"/*.log >&2
python3 "$here/summary.py" "$work"/*.xml
