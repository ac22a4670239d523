# What is said, and how an attempt or the wrapper ends.

say() { printf 'pilotage-wrapper: %s\n' "$*" >&2; }
finish() { # code exit cache message: frees what is held and ends the wrapper
	[ -z "$work" ] || {
		unlock
		rm -rf "$work"
	}
	message=$4
	case $message in *[\"\\]* | *[!\ -~]*) say "$message" && message='see log' ;; esac
	result "$1" "$2" "$3" "$message"
}
refuse() { # code file message: ends this attempt
	say "$1 $cache/$2: $3"
	printf '%s %s %s: %s\n' "$1" "$cache" "$2" "$3" >"$work/refusal"
	exit 3
}
malformed() { refuse E_TUF_FORMAT "$1" "${2:-$bad}"; }
unreachable() {
	[ -z "$retry_after" ] || printf '%s\n' "$retry_after" >"$work/retry-after"
	refuse E_CACHE_UNREACHABLE "$1" "no answer (status $status)"
}
unwritable() { refuse E_STORE_WRITE "$1" 'cannot be written'; }
move() { mv -f "$1" "$2" || unwritable "$2"; }

milliseconds() { # variable: of the node's uptime
	read -r up rest </proc/uptime || up=0.00
	eval "$1=$((${up%.*} * 1000 + 1${up#*.}0 - 1000))"
}
look_at_clock() { # now: YYYYMMDDhhmmss; epoch: seconds
	now=$(date -u '+%Y%m%d%H%M%S %s')
	epoch=${now#* } now=${now% *}
	milliseconds clock_read
}
passing_time() { # epoch, by the uptime: without starting a program
	milliseconds up
	epoch=$((epoch + (up - clock_read) / 1000)) clock_read=$((clock_read + (up - clock_read) / 1000 * 1000))
}
