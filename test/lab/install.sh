#!/bin/sh
# Installs what the tests run against and this machine lacks. As root on Debian or a relative it uses apt-get; anyone else
# gets the list of what is missing. Nothing is started, and nothing is left to start at the next boot.
#
# usage: test/lab/install.sh [--check]     exit 0: all is there, 1: something is missing
set -u
PATH=$PATH:/usr/sbin:/sbin
export PATH

has_program() { command -v "$1" >/dev/null 2>&1; }
has_postgres() { ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { has_program initdb && has_program postgres; }; }

# program to look for : Debian package : what it is for
missing_packages() {
  has_postgres || echo postgresql
  while read -r program package; do
    has_program "$program" || echo "$package"
  done <<LIST
mariadbd mariadb-server
mariadb-install-db mariadb-server
curl curl
openssl openssl
setpriv util-linux
tar tar
gzip gzip
git git
busybox busybox
dash dash
gawk gawk
mawk mawk
wget wget
softhsm2-util softhsm2
pkcs11-tool opensc
nginx nginx-light
squid squid
wrk wrk
ssh-keygen openssh-client
LIST
}

describe() {
  case $1 in
  postgresql) echo "PostgreSQL server (initdb, postgres)" ;;
  mariadb-server) echo "MariaDB server (mariadbd, mariadb-install-db)" ;;
  util-linux) echo "setpriv: runs the database servers as their own user" ;;
  curl) echo "curl: the bootstrap's downloads" ;;
  softhsm2) echo "SoftHSM: a PKCS#11 token in software, for keys that never leave it" ;;
  openssh-client) echo "ssh-keygen: signs git tags" ;;
  opensc) echo "OpenSC (pkcs11-tool): signs with a token" ;;
  busybox | dash | gawk | mawk | wget) echo "$1: what the bootstrap finds on one worker node or another" ;;
  nginx-light) echo "nginx: a web server over an exported store" ;;
  squid) echo "Squid: the caching proxy that sites have, behind which ours must work" ;;
  wrk) echo "wrk: the load of npm run bench:cache" ;;
  openssl) echo "openssl: the bootstrap's signature checks" ;;
  *) echo "$1" ;;
  esac
}

report() {
  echo "Missing for the tests:" >&2
  for package in $1; do printf '  %-16s %s\n' "$package" "$(describe "$package")" >&2; done
}

missing=$(missing_packages | sort -u)
[ -z "$missing" ] && exit 0

if [ "${1:-}" = --check ] || [ "$(id -u)" != 0 ] || ! has_program apt-get; then
  report "$missing"
  # shellcheck disable=SC2086 -- one argument per package
  echo "Install them as root:  apt-get install --no-install-recommends" $missing >&2
  exit 1
fi

# Package scripts ask policy-rc.d whether to start their daemons; ours says no while we install.
policy=/usr/sbin/policy-rc.d
kept=$policy.before-pilotage
restore_policy() {
  if [ -e "$kept" ]; then mv -f "$kept" "$policy"; else rm -f "$policy"; fi
}
[ -e "$policy" ] && mv "$policy" "$kept"
trap restore_policy EXIT
trap 'exit 1' HUP INT TERM
printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"

DEBIAN_FRONTEND=noninteractive
export DEBIAN_FRONTEND
log=$(mktemp)
apt() { apt-get -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@" >>"$log" 2>&1 </dev/null; }
# shellcheck disable=SC2086 -- one argument per package
if ! { apt update && apt install -y --no-install-recommends $missing; }; then
  echo "apt-get failed; its last lines:" >&2
  tail -n 20 "$log" >&2
fi
rm -f "$log"

if has_program systemctl; then
  case " $(echo "$missing" | tr '\n' ' ') " in *" postgresql "*) systemctl disable --quiet postgresql.service 2>/dev/null ;; esac
  case " $(echo "$missing" | tr '\n' ' ') " in *" mariadb-server "*) systemctl disable --quiet mariadb.service 2>/dev/null ;; esac
  case " $(echo "$missing" | tr '\n' ' ') " in *" squid "*) systemctl disable --quiet squid.service 2>/dev/null ;; esac
fi

missing=$(missing_packages | sort -u)
[ -z "$missing" ] && exit 0
report "$missing"
exit 1
