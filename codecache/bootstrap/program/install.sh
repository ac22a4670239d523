# What is on the node: the lock of its store, archives, unpacked releases.

started() { # pid: when that process started, so that a reused pid is not taken for its first owner
	text=
	read -r text 2>/dev/null <"/proc/$1/stat" || { kill -0 "$1" 2>/dev/null && echo unknown; return; }
	set -- ${text##*) }
	echo "${20:-unknown}"
}
owner_of() { # lock: in $owner, "pid starttime"; empty when it is not signed (yet)
	owner=
	read -r owner 2>/dev/null <"$1/pid" || :
}
held() { owner_of "$store/lock" && [ "$owner" = "$mine" ]; }
unlock() { ! held || rm -rf "$store/lock"; }
take_lock() { # fails, too, where somebody took it for the dead one that was there before
	mkdir "$store/lock" 2>/dev/null && mv "$work/pid" "$store/lock/pid" 2>/dev/null
}
# Removes the lock of a process that is gone, or that nobody signed since it was $found last; none that is made meanwhile.
break_lock() {
	before=$found
	owner_of "$store/lock"
	dead=$owner found="$(ls -di "$store/lock" 2>/dev/null) $owner"
	if [ -n "$owner" ]; then
		[ "$(started "${owner%% *}")" != "${owner#* }" ] || return 0
	else
		[ "$found" = "$before" ] || return 0
	fi
	mv "$store/lock" "$work/lock.$polls" 2>/dev/null || return 0
	owner_of "$work/lock.$polls"
	[ "$owner" = "$dead" ] || mv "$work/lock.$polls" "$store/lock" 2>/dev/null
}
# One process of a node fetches for all: waits for the lock, or until the condition holds. Longer than that nobody waits,
# since every write is atomic. Who has the lock removes what killed ones left and what nobody started for 30 days.
lock_unless() { # condition seconds: 1 when that was too long
	waited=0 polls=0 found=
	! held || return 0
	echo "$mine" >"$work/pid" || unwritable "$work"
	until take_lock; do
		polls=$((polls + 1))
		if [ $polls -lt 4 ]; then pause=0.1; else pause=0.5 waited=$((waited + 1)); fi
		sleep $pause 2>/dev/null || { sleep 1 && waited=$((waited + 1)); }
		! "$1" || return 0
		[ $waited -lt $(($2 * 2)) ] || return 1
		[ $((polls % 8)) != 2 ] || break_lock
	done
	set +f
	find "$store"/tmp.* -prune -mtime +0 -exec rm -rf {} + 2>/dev/null
	find "$store"/unpacked/* "$store"/objects/* -prune -mtime +29 -exec rm -rf {} + 2>/dev/null
	set -f
}

# Within 30 s of the last successful question, by whichever process of this node, nobody asks for root and timestamp.
checked_lately() {
	[ -z "$no_cache" ] || return 1
	checked=
	read -r checked 2>/dev/null <"$metadata/checked" || :
	case $checked in '' | 0* | *[!0-9]* | ???????????*) return 1 ;; esac
	passing_time
	[ $checked -le $epoch ] && [ $epoch -lt $((checked + 30)) ]
}
note_checked() { # epoch at which the question was put
	printf '%s\n' "$1" >"$work/checked" && move "$work/checked" "$metadata/checked"
}

intact() { # dir "sha256 path ...": every signed file is there with its bytes, and nothing else
	[ -d "$1" ] || return 1
	dir=$1 expected= paths=
	set -- $2
	# What is no plain file counts twice.
	[ $(($(find "$dir" ! -type d -print ! -type f -print | wc -l))) = $(($# / 2)) ] || return 1
	while [ $# -gt 1 ]; do
		expected="$expected
$1 *$2" paths="$paths $2"
		shift 2
	done
	found=$(cd "$dir" && openssl dgst -sha256 -r $paths 2>/dev/null)
	[ "
$found" = "$expected" ]
}
all_intact() {
	intact "$store/unpacked/$pilot_sha256" "$pilot_files" && intact "$store/unpacked/$runtime_sha256" "$runtime_files"
}
all_there() { [ -d "$store/unpacked/$pilot_sha256" ] && [ -d "$store/unpacked/$runtime_sha256" ]; }
install() { # both archives are verified before either is unpacked
	all_intact && return
	patience=1800
	# What is damaged stays in its place until it is replaced: only for what is missing can one wait without the lock.
	if ! all_there; then
		lock_unless all_there $patience || patience=0
		! all_there || ! all_intact || return 0
	fi
	lock_unless false $patience
	download_archive "$pilot" "$pilot_sha256" "$pilot_length" "$pilot_files"
	download_archive "$runtime" "$runtime_sha256" "$runtime_length" "$runtime_files"
	unpack_archive "$pilot" "$pilot_sha256" "$pilot_files"
	unpack_archive "$runtime" "$runtime_sha256" "$runtime_files"
}
download_archive() { # path sha256 length files
	intact "$store/unpacked/$2" "$4" || { download_target "$1" "$3" "$2" && move "$work/got" "$work/$2"; }
}
unpack_archive() { # path sha256 files
	[ -f "$work/$2" ] || return 0
	mkdir "$work/unpacking"
	if ! tar -xzof "$work/$2" -C "$work/unpacking" 2>"$work/tar"; then
		while read -r text; do
			case $text in *'No space left'* | *'quota exceeded'*) unwritable "$store" ;; esac
		done <"$work/tar"
	fi
	intact "$work/unpacking" "$3" || refuse E_ARCHIVE_UNSAFE "$1" 'not what was signed'
	# Somebody without our lock, of another process namespace, may have been faster: then that one is in use.
	intact "$store/unpacked/$2" "$3" || {
		rm -rf "$store/unpacked/$2"
		move "$work/unpacking" "$store/unpacked/$2"
	}
	rm -rf "$work/unpacking" "$work/$2"
}
