# The metadata, in the order of TUF 1.0.31 section 5. Trusted files lie in $metadata, shared with the client.

parse() { # file mode [awk options]: assigns what read-json.awk prints
	bad= file=$1 mode=$2
	shift 2
	eval "$(awk -v mode="$mode" -v signed_file="$work/signed" -v key_dir="$work/$mode" "$@" "$READ_JSON" "$file" 2>/dev/null || echo bad=awk)"
	[ -z "$bad" ]
}
digest() { # file: its sha256 in $digest, empty when there is none
	digest=$(openssl dgst -sha256 -r "$1" 2>/dev/null) || digest=
	digest=${digest%% *}
}
# That many keys signed $work/signed, the file that was parsed last. A key under a second id is still one key.
holds() { # keydir keyids threshold
	holding=0 counted=
	for signature in $signatures; do
		id=${signature%%:*}
		case ",$2," in *",$id,"*) ;; *) continue ;; esac
		[ -f "$work/$1/$id" ] && [ -n "${signature#*:}" ] || continue
		{ read -r text && read -r text && read -r rest; } <"$work/$1/$id"
		case $counted in *"$text$rest"*) continue ;; esac
		printf "${signature#*:}" >"$work/signature"
		openssl dgst -sha256 -verify "$work/$1/$id" -signature "$work/signature" "$work/signed" >/dev/null 2>&1 || continue
		holding=$((holding + 1)) counted="$counted $text$rest"
		[ $holding -lt "$3" ] || return 0
	done
	return 1
}
must_hold() { # role file keydir keyids threshold
	holds "$3" "$4" "$5" || refuse E_TUF_SIGNATURE "$2" "$holding of $5 signatures of $1 hold"
}
must_be() { [ "$role_type" = "$1" ] || malformed "$2" "a $role_type"; }
must_be_fresh() { # role expires file
	[ "$2" -gt "$now" ] || refuse E_TUF_EXPIRED "$3" "role $1 expired at $2, it is $now"
}
must_reach() { # role version least file
	[ "$2" -ge "$3" ] || refuse E_TUF_STALE "$4" "$1 version $2 is below $3"
}
floor_of() { # role: its least version that the server knows, in $least
	case $1 in
		root) least=$floor_root ;;
		timestamp) least=$floor_timestamp ;;
		snapshot) least=$floor_snapshot ;;
		*) least=0 ;;
	esac
	# 5.3.11: under a newer root than the server knew, online keys may be others, and versions begin anew.
	[ "$1" = root ] || [ "$root_version" -le "$floor_root" ] || least=0
}
clock_is_behind() { # epoch seconds at which the metadata was signed
	[ $((epoch + 300)) -lt "$1" ] || [ $((epoch + 300)) -lt $((floor_signedTimeMs / 1000)) ]
}

trust_root() { # the newest root that this node has verified, else the pinned one
	rm -rf "$work/root" "$work/targets"
	mkdir "$work/root" "$work/targets"
	if ! { parse "$metadata/root.json" root && [ "$role_type" = root ] && holds root "$keys_root" "$threshold_root"; }; then
		parse root.json root || refuse E_BOOTSTRAP wrapper.sh "$bad"
		cp root.json "$work/got" && move "$work/got" "$metadata/root.json"
	fi
	root_version=$role_version root_expires=$role_expires
}
ask_next_root() { # its answer in $next_root: 200 with $work/next, or 404
	root_file=metadata/$((root_version + 1)).root.json
	get "$root_file" 1048576
	next_root=$status
	case $status in
		200) move "$work/got" "$work/next" ;;
		404 | 403) next_root=404 ;;
		long) malformed "$root_file" 'longer than 1 MiB' ;;
		*) unreachable "$root_file" ;;
	esac
}
follow_roots() { # 5.3: each signed by the one before it and by itself
	while [ "$next_root" = 200 ]; do
		old_keys=$keys_root old_threshold=$threshold_root online_keys=$keys_timestamp:$keys_snapshot
		rm -rf "$work/old"
		mv "$work/root" "$work/old"
		mkdir "$work/root"
		parse "$work/next" root || malformed "$root_file"
		must_be root "$root_file"
		must_hold root "$root_file" old "$old_keys" "$old_threshold"
		must_hold root "$root_file" root "$keys_root" "$threshold_root"
		[ "$role_version" = $((root_version + 1)) ] || refuse E_TUF_ROLLBACK "$root_file" "version $role_version"
		root_version=$role_version root_expires=$role_expires
		# 5.3.11: what replaced online keys signed may be fast-forwarded.
		[ $online_keys = $keys_timestamp:$keys_snapshot ] || rm -f "$metadata/timestamp.json" "$metadata/snapshot.json"
		move "$work/next" "$metadata/root.json"
		ask_next_root
	done
	must_be_fresh root "$root_expires" root.json
	must_reach root "$root_version" "$floor_root" root.json
}
listed() { # role: its version, length and sha256 in the list of the role above it
	for entry in $listed; do
		case $entry in
			"$1":*)
				entry=${entry#*:}
				listed_version=${entry%%:*} entry=${entry#*:}
				listed_length=${entry%%:*} listed_sha256=${entry#*:}
				return 0
				;;
		esac
	done
	return 1
}
verify_timestamp() { # 5.4, of $work/timestamp
	file0=metadata/timestamp.json trusted=0 trusted_snapshot=0
	if [ -f "$metadata/timestamp.json" ] && parse "$metadata/timestamp.json" timestamp && holds root "$keys_timestamp" "$threshold_timestamp"; then
		listed snapshot && trusted=$role_version trusted_snapshot=$listed_version
	fi
	parse "$work/timestamp" timestamp || malformed $file0
	must_be timestamp $file0
	must_hold timestamp $file0 root "$keys_timestamp" "$threshold_timestamp"
	must_reach timestamp "$role_version" "$trusted" $file0
	floor_of timestamp
	must_reach timestamp "$role_version" "$least" $file0
	must_be_in_time "$signed_at"
	listed snapshot || malformed $file0 'no snapshot'
	[ "$listed_version" -ge "$trusted_snapshot" ] || refuse E_TUF_ROLLBACK $file0 "snapshot $listed_version after $trusted_snapshot"
	must_be_fresh timestamp "$role_expires" $file0
	state="role timestamp $role_version $role_expires
"
	timestamp_signed_at=$signed_at
	[ "$role_version" = "$trusted" ] || { cp "$work/timestamp" "$work/got" && move "$work/got" "$metadata/timestamp.json"; }
}
must_be_in_time() {
	! clock_is_behind "$1" || refuse E_CLOCK 'the clock of this node' "it says $epoch, before the metadata was signed"
}
load() { # role mode keydir keyids threshold [awk options]: 5.5 to 5.7, from the node's store or the cache
	role=$1 mode=$2 key_dir=$3 key_ids=$4 threshold=$5
	shift 5
	listed "$role" || refuse E_TARGET_UNKNOWN "$role" 'not in the snapshot'
	role_file=metadata/$listed_version.$role.json source=$metadata/$role.json digest=
	[ ! -f "$source" ] || digest "$source"
	if [ "$digest" != "$listed_sha256" ]; then
		need "$role_file" "$listed_length" E_TUF_HASH
		source=$work/got
		digest "$source"
		[ "$digest" = "$listed_sha256" ] || refuse E_TUF_HASH "$role_file" "sha256 $digest not $listed_sha256"
	fi
	expected=$listed_version
	parse "$source" "$mode" "$@" || malformed "$role_file"
	case $mode in
		role) must_be targets "$role_file" ;;
		*) must_be "$mode" "$role_file" ;;
	esac
	must_hold "$role" "$role_file" "$key_dir" "$key_ids" "$threshold"
	[ "$role_version" = "$expected" ] || refuse E_TUF_ROLLBACK "$role_file" "it says version $role_version"
	must_be_fresh "$role" "$role_expires" "$role_file"
	state="${state}role $role $role_version $role_expires
"
}
keep_role() { [ "$source" != "$work/got" ] || move "$work/got" "$metadata/$role.json"; }
verify_snapshot() { # 5.5: no role goes back
	trusted=
	if [ -f "$metadata/snapshot.json" ]; then
		timestamp_lists=$listed
		parse "$metadata/snapshot.json" snapshot && holds root "$keys_snapshot" "$threshold_snapshot" && trusted=$listed
		listed=$timestamp_lists
	fi
	load snapshot snapshot root "$keys_snapshot" "$threshold_snapshot"
	floor_of snapshot
	must_reach snapshot "$role_version" "$least" "$role_file"
	for before in $trusted; do
		name=${before%%:*} before=${before#*:}
		listed "$name" && [ "$listed_version" -ge "${before%%:*}" ] ||
			refuse E_TUF_ROLLBACK "$role_file" "$name was at version ${before%%:*}"
	done
	keep_role
}
verify_targets() { # 5.6
	load targets targets root "$keys_targets" "$threshold_targets"
	keep_role
}
verify_delegated() { # role pattern [awk options]: targets must delegate exactly this pattern to the role
	delegated=$1 pattern=$2 key_ids= threshold=
	shift 2
	for delegation in $delegations; do
		case $delegation in
			"$delegated":*",$pattern,"*)
				delegation=${delegation#*:}
				threshold=${delegation%%:*} delegation=${delegation#*:}
				key_ids=${delegation%%:*}
				break
				;;
		esac
	done
	[ -n "$key_ids" ] || refuse E_TARGET_UNKNOWN "$delegated" "targets does not delegate $pattern to it"
	load "$delegated" role targets "$key_ids" "$threshold" -v files_out="$work/files" "$@"
	keep_role
}
find_target() { # path: its length and sha256, as the role that was just loaded signs it
	for entry in $targets; do
		case $entry in "$1":*) entry=${entry#*:} target_length=${entry%%:*} target_sha256=${entry#*:} && return 0 ;; esac
	done
	refuse E_TARGET_UNKNOWN "targets/$1" "$role signs no such target"
}
download_target() { # path length sha256: into $work/got, verified
	target_file=targets/${1%/*}/$3.${1##*/}
	need "$target_file" "$2" E_TARGET_LENGTH
	received
	[ $size = "$2" ] || refuse E_TARGET_LENGTH "$target_file" "$size bytes not $2"
	digest "$work/got"
	[ "$digest" = "$3" ] || refuse E_TARGET_HASH "$target_file" "sha256 $digest not $3"
}
small_target() { # path: its verified bytes in the file $small
	find_target "$1"
	small=$store/objects/$target_sha256 digest=
	[ ! -f "$small" ] || digest "$small"
	[ "$digest" = "$target_sha256" ] || { download_target "$1" "$target_length" "$target_sha256" && move "$work/got" "$small"; }
}
