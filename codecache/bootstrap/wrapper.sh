#!/bin/sh
# Pilotage wrapper: verifies a pilot and its runtime against the root that is pinned below, then runs the pilot.
# Needs a POSIX shell, awk, openssl, tar, gzip, and curl or wget; bootstrap.json in the working directory.
# Last line on stdout: PILOTAGE-RESULT {...}. Exit: 0 ok, 2 bootstrap or node, 3 refused, 4 no cache, else the pilot's.
# Root and program are packed (gzip, base64) so that a job stays small: "sh wrapper.sh --source" prints the program.
set -uf
umask 077
ROOT='@ROOT@'
PIN=@PIN@
PROGRAM='@PROGRAM@'
result() { # code exit cache message: the last line of stdout, and the end
	printf 'PILOTAGE-RESULT {"code":"%s","exit":%s,"cache":"%s","message":"%s"}\n' "$1" "$2" "$3" "$4"
	exit "$2"
}
unpacked() { printf '%s\n' "$1" | openssl base64 -d | gzip -dc; }
for tool in awk openssl tar gzip; do
	command -v $tool >/dev/null || result E_NODE_TOOL 2 '' "this node has no $tool"
done
program=$(unpacked "$PROGRAM") && [ -n "$program" ] || result E_NODE_TOOL 2 '' 'openssl and gzip of this node cannot unpack the wrapper'
[ "${1-}" != --source ] || { printf '%s\n' "$program" && exit; }
eval "$program"
