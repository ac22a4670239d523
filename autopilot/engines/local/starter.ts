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
printf '%s %s %s\\n' "$$" "$ticks" "$boot" >".started.$$" || exit 74
ln ".started.$$" started 2>/dev/null || { rm -f ".started.$$"; exit 75; }
rm -f ".started.$$" .out .err .out.end .err.end
child=
asked=
trap 'asked=1; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null' TERM INT HUP
finish() {
  printf '%s\\n' "$1" >.exit && mv .exit exit
  exit 0
}
mkfifo .out .err .out.end .err.end || finish 74
quiet='trap "" TERM INT HUP XFSZ'
( eval "$quiet"; exec tail -c ${TAIL_BYTES} ) <.out.end >stdout.tail 2>/dev/null &
out_end=$!
( eval "$quiet"; exec tail -c ${TAIL_BYTES} ) <.err.end >stderr.tail 2>/dev/null &
err_end=$!
( eval "$quiet"; ulimit -f "$blocks"; exec tee stdout ) <.out >.out.end 2>/dev/null &
out=$!
( eval "$quiet"; ulimit -f "$blocks"; exec tee stderr ) <.err >.err.end 2>/dev/null &
err=$!
sh wrapper.sh </dev/null >.out 2>.err &
child=$!
echo "$child" >wrapper.pid
[ -z "$asked" ] || kill -TERM "$child" 2>/dev/null
while :; do
  wait "$child"
  code=$?
  kill -0 "$child" 2>/dev/null || break
done
rm -f .out .err .out.end .err.end
( trap 'kill $nap 2>/dev/null; exit' TERM; sleep 5 & nap=$!; wait $nap; kill -KILL $out $err 2>/dev/null ) &
guard=$!
wait $out $err $out_end $err_end
kill -TERM $guard 2>/dev/null
finish "$code"
`;
