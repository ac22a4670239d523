# From the start to the pilot's end.

attempt() { # through one cache, whole; writes verified.json and $work/verified
	trap 'kill $child 2>/dev/null; exit 143' TERM INT
	rm -f "$work/refusal"
	asked=
	look_at_clock
	trust_root
	known || refresh
	install
	# Last used now: who makes room goes by that.
	touch -c "$store/unpacked/$pilot_sha256" "$store/unpacked/$runtime_sha256" 2>/dev/null
	unlock
	[ -n "$asked" ] && through=$cache || through=local
	milliseconds ready
	printf '{"bootstrapMs":%s,"cache":"%s","release":{"channel":"%s","channelSerial":%s,"metadata":{%s},"name":"pilotage-pilot","runtimeVersion":"%s","sha256":"%s","version":"%s"}}\n' \
		$((ready - begun)) "$through" "$channel" "$serial" "${roles#,}" "$runtime_version" "$pilot_sha256" "$pilot_version" >verified.json.tmp &&
		mv verified.json.tmp verified.json || unwritable verified.json
	printf '%s\n' "$through" "$store/unpacked/$runtime_sha256" "$store/unpacked/$pilot_sha256" \
		"release $pilot_version ($pilot_sha256), runtime $runtime_version, channel $channel serial $serial" >"$work/verified"
	exit 0
}
known() { checked_lately && stands; }
refresh() {
	# Not all at the same moment, should somebody hold the lock for longer than metadata takes.
	lock_unless known $((60 + $$ % 30))
	if [ $polls != 0 ]; then
		look_at_clock
		trust_root
		! known || return 0
	fi
	if enough_lately; then
		next_root=404
		cp "$metadata/timestamp.json" "$work/timestamp" || unwritable "$work"
	else
		when=$epoch
		ask_next_root
		need metadata/timestamp.json 65536 E_TUF_FORMAT
		mv "$work/got" "$work/timestamp"
	fi
	[ $next_root = 404 ] && same_timestamp && stands final || {
		verify_all
		stands final || malformed metadata 'releases names no files'
	}
	[ -z "${when-}" ] || note_checked "$when"
}
enough_lately() { # another queue's pilot asked, and what it got reaches the floors
	checked_lately && [ "$root_version" -ge "$floor_root" ] &&
		parse "$metadata/timestamp.json" timestamp && floor_of timestamp && [ "$role_version" -ge "$least" ]
}

try_all() { # every cache, each once more past itself; $worst is the refusal that says most
	rm -f "$work/retry-after"
	worst= failed=4
	for cache in $caches; do
		for no_cache in '' 1; do
			attempt &
			trying=$!
			failed=0
			wait $trying || failed=$?
			trying=
			[ $failed != 0 ] || return 0
			code= rest=
			read -r code rest message 2>/dev/null <"$work/refusal" || code=E_STORE_WRITE message="$store cannot be written"
			case $code:$worst in E_CACHE_UNREACHABLE:?*) ;; *) worst=$code worst_cache=$cache worst_message=$message ;; esac
			case $code in
				E_CLOCK | E_STORE_WRITE | E_BOOTSTRAP | E_ARCH_UNSUPPORTED) return 1 ;;
				E_CACHE_UNREACHABLE) break ;;
			esac
		done
	done
	return 1
}
stop() { # signal
	# One that comes while the pilot is started finds its id here only.
	[ -z "$attempted" ] || [ "$!" = "$attempted" ] || pilot_pid=$!
	if [ -n "$pilot_pid" ]; then
		kill "-$1" "$pilot_pid" 2>/dev/null
		return
	fi
	[ -z "$child" ] || kill "$child" 2>/dev/null
	[ -z "$trying" ] || { kill "$trying" 2>/dev/null; wait "$trying"; }
	finish E_ABORTED 143 "$cache" "stopped by SIG$1"
}

locale=${LC_ALL-}
export LC_ALL=C
work= store= cache= child= no_cache= asked= pilot_pid= trying= attempted=
milliseconds begun
digest "$0"
say "wrapper sha256 $digest"
stall=${PILOTAGE_STALL_SECONDS:-20}
case $stall in 0* | *[!0-9]* | ?????*) finish E_BOOTSTRAP 2 '' 'PILOTAGE_STALL_SECONDS must be whole seconds, 1 to 9999' ;; esac
choose_client
machine=$(uname -m) node=$(uname -n)
case $machine in x86_64) arch=linux-x64 ;; aarch64) arch=linux-arm64 ;; *) finish E_ARCH_UNSUPPORTED 2 '' "no runtime for $machine" ;; esac
[ -n "${PILOTAGE_STORE:-}" ] || PILOTAGE_STORE=${TMPDIR:-/tmp}/pilotage-store-$(id -u)
store=$PILOTAGE_STORE
[ -d "$store" ] || mkdir -p "$store" 2>/dev/null
[ -d "$store" ] && [ ! -L "$store" ] && [ -O "$store" ] && case $(ls -ld "$store") in drwx------*) ;; *) false ;; esac ||
	finish E_STORE_UNSAFE 2 '' "$PILOTAGE_STORE must be this user's, mode 0700"
store=$(CDPATH= cd "$store" && pwd)
export PILOTAGE_STORE="$store"
metadata=$store/metadata/$PIN
work=$store/tmp.$$.$begun mine="$$ $(started $$)"
mkdir -p "$work" "$store/objects" "$store/unpacked" "$metadata" || finish E_STORE_WRITE 2 '' "$store cannot be written"
[ -r bootstrap.json ] || finish E_BOOTSTRAP 2 '' 'no bootstrap.json here'
random=$(od -An -N2 -tu2 /dev/urandom 2>/dev/null) || random=$$
parse bootstrap.json boot -v random=$((random)) && [ -n "$caches" ] || finish E_BOOTSTRAP 2 '' "bootstrap.json cannot be read: $bad"
# The pilot checks its own release with it, later.
rm -f root.json && unpacked "$ROOT" >root.json || finish E_STORE_WRITE 2 '' 'root.json cannot be written'
state_file=$metadata/state-$queue-$arch
trap 'stop TERM' TERM
trap 'stop INT' INT

if ! try_all && [ -f "$work/retry-after" ]; then
	read -r pause <"$work/retry-after"
	[ ${#pause} -lt 3 ] && [ "$pause" -lt 30 ] || pause=30
	say "a cache asks to be left alone: waiting $pause s, once"
	sleep "$pause" &
	wait_for $!
	try_all || :
fi
if [ $failed != 0 ]; then
	case $worst in
		E_CACHE_UNREACHABLE) exit=4 ;;
		E_STORE_WRITE | E_BOOTSTRAP | E_ARCH_UNSUPPORTED) exit=2 ;;
		*) exit=3 ;;
	esac
	finish "$worst" $exit "$worst_cache" "$worst_message"
fi
{ read -r cache && read -r runtime && read -r pilot && read -r text; } <"$work/verified"
say "verified $text through $cache"
rm -rf "$work"
work=
LC_ALL=$locale
[ -n "$locale" ] || unset LC_ALL
attempted=$!
"$runtime/bin/node" "$pilot/pilot.mjs" run --bootstrap bootstrap.json --verified verified.json &
pilot_pid=$!
while :; do
	ended=0
	wait $pilot_pid || ended=$?
	kill -0 $pilot_pid 2>/dev/null || break
done
group=
[ ! -f payload.pgid ] || read -r group <payload.pgid
case $group in '' | 0* | 1 | *[!0-9]*) ;; *) kill -9 "-$group" 2>/dev/null && say "ended the payload $group" ;; esac
if [ $ended = 0 ]; then code=ok message='the pilot ended'; else code=E_AGENT_EXIT message="the pilot ended with $ended"; fi
[ -z "$worst" ] || message="$message; $worst at $worst_cache"
echo
finish $code $ended "$cache" "$message"
