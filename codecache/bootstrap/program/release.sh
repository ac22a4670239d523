# Which release this node runs: the queue's channel, the channel's pointer, the rollout; and what was verified before.

# $state_file is what a full verification found for a queue: the timestamp it rests on, for whom, then one fact a line.
verify_all() {
	follow_roots
	verify_timestamp
	verify_snapshot
	verify_targets
	small_file=queues/channels.json
	verify_delegated queues 'queues/*.json' -v want=$small_file
	small_target $small_file
	parse "$small" map -v want="$queue" || malformed $small_file
	small_file=channels/$channel.json
	verify_delegated "$channel" "$small_file" -v want="$small_file"
	small_target "$small_file"
	choose_build
	: >"$work/files"
	verify_delegated releases 'pilot/*/*' -v want="${pilot%%:*} ${runtime%%:*}"
	signed_build "$pilot"
	state="${state}channel $channel $pointer_serial $until $timestamp_signed_at
pilot $build_path $build_sha256 $build_version $target_length
"
	signed_build "$runtime"
	state="${state}runtime $build_path $build_sha256 $build_version $target_length
"
	{
		read -r text <"$metadata/timestamp.json" || :
		printf '%s\n%s\nrole root %s %s\n%s' "$text" "for $site $node" "$root_version" "$root_expires" "$state"
		cat "$work/files"
	} >"$work/state" && move "$work/state" "$state_file"
}
choose_build() { # current, or previous where current is not meant for this node now; of the pointer in $small
	parse "$small" rollout -v site="$site" || malformed "$small_file"
	[ "$pointer_channel" = "$channel" ] || refuse E_CHANNEL_MISMATCH "$small_file" "it is of channel $pointer_channel"
	share_of "$seed" "$site" "$node"
	which=current until=0
	[ "$takes_part" = 1 ] && [ $share -lt "$percent" ] || which=previous
	[ "$epoch" -ge "$not_before" ] || which=previous until=$not_before
	[ $which = current ] || [ "$has_previous" = 1 ] ||
		refuse E_CHANNEL_HALTED "$small_file" "its release is not for this node now (share $share of $percent %) and it names none before"
	parse "$small" pointer -v which=$which -v arch="$arch" || malformed "$small_file"
	[ -z "$withdrawn" ] || refuse E_CHANNEL_YANKED "$small_file" "release $version was withdrawn"
	[ -z "$below" ] || refuse E_CHANNEL_YANKED "$small_file" "release $version is below $below"
	[ -n "$runtime" ] || refuse E_ARCH_UNSUPPORTED "$small_file" "release $version has no runtime for $arch"
}
share_of() { # seed site node: 0 to 99 in $share, as rolloutBucket of the client
	printf '%s\n%s\n%s' "$1" "$2" "$3" >"$work/who"
	digest "$work/who"
	share=$((0x${digest%"${digest#???????}"} % 100))
}
signed_build() { # path:sha256:version of the pointer, which must be what releases signed
	build_path=${1%%:*} build_sha256=${1#*:}
	build_version=${build_sha256#*:} build_sha256=${build_sha256%%:*}
	find_target "$build_path"
	[ "$target_sha256" = "$build_sha256" ] || refuse E_CHANNEL_MISMATCH "$small_file" "releases signs another $build_path"
}

# The last verification stands: for the trusted timestamp, byte for byte, and by clock and floors of now. If not: 1, or
# with "final" a refusal that says why.
stands() { # [final]
	[ -f "$state_file" ] && [ -f "$metadata/timestamp.json" ] || return 1
	trusted= text= roles= pilot_files= runtime_files=
	read -r trusted <"$metadata/timestamp.json" || :
	{
		read -r text && [ "$text" = "$trusted" ] || return 1
		read -r text && [ "$text" = "for $site $node" ] || return 1
		while read -r fact a b c d; do
			case $fact in
				role) role_stands "$a" "$b" "$c" "${1-}" ;;
				channel) channel_stands "$a" "$b" "$c" "$d" "${1-}" ;;
				pilot) pilot=$a pilot_sha256=$b pilot_version=$c pilot_length=$d ;;
				runtime) runtime=$a runtime_sha256=$b runtime_version=$c runtime_length=$d ;;
				pilot-file) pilot_files="$pilot_files $a $b" ;;
				runtime-file) runtime_files="$runtime_files $a $b" ;;
			esac || return 1
		done
	} <"$state_file"
	[ -n "$pilot_files" ] && [ -n "$runtime_files" ]
}
same_timestamp() { # the one that was just fetched is the trusted one
	trusted= text=
	read -r trusted 2>/dev/null <"$metadata/timestamp.json" || :
	read -r text <"$work/timestamp" || :
	[ -n "$text" ] && [ "$text" = "$trusted" ]
}
role_stands() { # role version expires [final]
	[ "$1" != root ] || [ "$2" = "$root_version" ] || return 1
	floor_of "$1"
	roles=$roles,\"$1\":$2
	if [ -n "$4" ]; then
		must_be_fresh "$1" "$3" "metadata/$1.json"
		must_reach "$1" "$2" "$least" "metadata/$1.json"
	fi
	[ "$3" -gt "$now" ] && [ "$2" -ge "$least" ]
}
channel_stands() { # channel serial until signed-at [final]
	channel=$1 serial=$2
	[ "$3" = 0 ] || [ "$epoch" -lt "$3" ] || return 1
	[ -z "$5" ] || must_be_in_time "$4"
	for floor in $floor_serials; do
		[ "${floor%%:*}" = "$1" ] && [ "$2" -lt "${floor#*:}" ] || continue
		[ -z "$5" ] || refuse E_CHANNEL_FLOOR "channels/$1.json" "serial $2 is older than ${floor#*:}"
		return 1
	done
	! clock_is_behind "$4"
}
