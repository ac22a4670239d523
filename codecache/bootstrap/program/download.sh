# Requests on one way to the store, $cache: a URL, or "proxy>URL", a URL that a forward proxy is asked for; past all that
# caches when $no_cache is set. Each is bounded in size, connect time, stall and time.

choose_client() {
	http=
	for tool in wget curl; do command -v $tool >/dev/null && http=$tool; done
	[ -n "$http" ] || finish E_NODE_TOOL 2 '' 'this node has no curl, no wget'
	[ "$http" = wget ] || return 0
	# What this wget knows of: one try, no redirects, a limit on silence.
	help=$(wget --help 2>&1) wget_options=
	case $help in *--no-config*) wget_options='--no-config' ;; esac
	case $help in *--max-redirect*) wget_options="$wget_options --max-redirect=0" ;; esac
	case $help in *--tries*) wget_options="$wget_options --tries=1" ;; esac
	case $help in *' -T'*) wget_options="$wget_options -T $stall" ;; esac
	# Not that of a BusyBox before 1.30, which wants -t.
	timeout 5 true 2>/dev/null && timeout=1 || timeout=
}
wait_for() { # pid: its status in $ended
	child=$1 ended=0
	wait "$child" || ended=$?
	child=
}
only_way() { # what is listed is asked, whatever proxies the environment names; all three clients go by http_proxy
	unset http_proxy https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY
	case $cache in *\>*) export http_proxy="${cache%%>*}" ;; esac
}
# A GET: its body in $work/got, its status in $status ("long": over the limit; 000: none), Retry-After in $retry_after.
get() { # path maxbytes [resume]
	[ -n "${3-}" ] || rm -f "$work/got"
	asked=1 seconds=$(($2 / 8192 + 120)) url=${cache##*>}/$1
	: >"$work/head"
	if [ "$http" = curl ]; then
		(
			ulimit -f $(($2 / 512 + 8))
			only_way
			exec curl -qgs -o "$work/got" -D "$work/head" ${3:+-C -} --connect-timeout 5 \
				--speed-limit 1 --speed-time "$stall" --max-time $seconds \
				-H 'Accept-Encoding: identity' ${no_cache:+"-HCache-Control: no-cache"} "$url"
		) 2>/dev/null &
	else
		(
			ulimit -f $(($2 / 512 + 8))
			only_way
			exec ${timeout:+timeout $seconds} wget $wget_options -S -O "$work/got" \
				${no_cache:+"--header=Cache-Control: no-cache"} "$url"
		) >/dev/null 2>"$work/head" &
	fi
	wait_for $!
	status=000 retry_after=
	while read -r name value rest; do
		case $name in
			HTTP/*) status=$value ;;
			[Rr]etry-[Aa]fter:) retry_after=${value%%[!0-9]*} && retry_after=${retry_after:-10} ;;
		esac
	done <"$work/head"
	case $http$ended in curl23 | wget3) unwritable "$work" ;; esac
	# 153: ended by the limit on the file. 8: an error status, to wget; 1: to that of busybox.
	case $ended:$status in
		153:*) status=long ;;
		[018]:[1-5][0-9][0-9]) ;;
		*) status=000 ;;
	esac
	[ -f "$work/got" ] || : >"$work/got"
}
received() { size=$(wc -c <"$work/got") && size=$((size)); }
need() { # path maxbytes code-if-longer: as get; anything but the whole file ends the attempt
	get "$1" "$2"
	# A transfer that was cut goes on where it ended, as long as each try brings something.
	size=0 tries=0
	while case $http$ended in curl18 | curl56) true ;; *) false ;; esac && [ $tries -lt 5 ]; do
		before=$size tries=$((tries + 1))
		received
		[ $size -gt $before ] || break
		get "$1" "$2" resume
	done
	case $status:$tries in
		200:* | 206:[1-9]) ;;
		long:*) refuse "$3" "$1" "longer than $2 bytes" ;;
		*) unreachable "$1" ;;
	esac
}
