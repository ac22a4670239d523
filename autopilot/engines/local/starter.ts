/** Bytes of the end of each output kept besides its beginning, so that a result line at the very end is never lost. */
export const TAIL_BYTES = 16_384;

/**
 * The starter: a POSIX shell script that runs one sandbox (its working directory) once, whoever starts it how often.
 * It leads a session of its own. `started` holds pid, start time and boot id and appears complete or not at all (a hard
 * link fails when the name is taken), before anything of the pilot runs; `exit` holds the exit code. TERM is passed on to
 * the wrapper. `stdout` and `stderr` take at most `$1` blocks of 512 bytes (tee goes on when its file is full), and
 * `stdout.tail` and `stderr.tail` the last bytes; whatever still holds the outputs 5 s after the wrapper's end is let go.
 *
 * Exit codes: 0 ran (whatever the pilot's own code), 74 the sandbox cannot be written, 75 another starter has it.
 */
export const starterScript = `#!/bin/sh
umask 077
blocks=$1
read -r line <"/proc/$$/stat" || exit 74
set -- \${line##*") "}
shift 19
ticks=$1
read -r boot </proc/sys/kernel/random/boot_id || exit 74
child=
asked=
told=
# Passes TERM on, once, and only when the wrapper is a program of its own: a fork of this shell would swallow it.
tell() {
  [ -z "$told" ] || return
  told=1
  until [ -s wrapper.pid ] || ! kill -0 "$child" 2>/dev/null; do sleep 0.1; done
  kill -TERM "$child" 2>/dev/null
}
trap 'asked=1; [ -z "$child" ] || tell' TERM INT HUP
printf '%s %s %s\\n' "$$" "$ticks" "$boot" >".started.$$" || exit 74
ln ".started.$$" started 2>/dev/null || { rm -f ".started.$$"; exit 75; }
rm -f ".started.$$"
finish() {
  printf '%s\\n' "$1" >.exit && mv .exit exit
  exit 0
}
# A pipe: read end 4, write end 5, both open before anybody uses it.
make_pipe() {
  rm -f .pipe
  mkfifo .pipe && exec 3<>.pipe 4<.pipe 5>.pipe 3>&- && rm -f .pipe
}
# Keeps what is written to fd 5 in file $1, and its end in $1.tail.
tees=
tails=
quiet='trap "" TERM INT HUP XFSZ'
keep() {
  make_pipe || finish 74
  ( eval "$quiet"; exec tail -c ${TAIL_BYTES} ) <&4 >"$1.tail" 2>/dev/null 4<&- 5>&- 7>&- &
  tails="$tails $!"
  exec 6>&5 4<&- 5>&-
  make_pipe || finish 74
  ( eval "$quiet"; ulimit -f "$blocks"; exec tee "$1" ) <&4 >&6 2>/dev/null 4<&- 5>&- 6>&- 7>&- &
  tees="$tees $!"
  exec 4<&- 6>&-
}
keep stdout
exec 7>&5 5>&-
keep stderr
[ -z "$asked" ] || finish 143
sh -c 'echo "$$" >wrapper.pid; exec sh wrapper.sh' </dev/null >&7 2>&5 5>&- 7>&- &
child=$!
exec 5>&- 7>&-
[ -z "$asked" ] || tell
while :; do
  wait "$child"
  code=$?
  kill -0 "$child" 2>/dev/null || break
done
( trap 'kill $nap 2>/dev/null; exit' TERM; sleep 5 & nap=$!; wait $nap; kill -KILL $tees 2>/dev/null ) &
guard=$!
wait $tees $tails
kill -TERM $guard 2>/dev/null
finish "$code"
`;
