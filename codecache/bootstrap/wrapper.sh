#!/bin/sh
# Pilotage wrapper: verifies runtime and pilot against the pinned root (TUF 1.0.31 section 5), then runs the pilot.
# Needs sh, awk, openssl, tar, gzip, curl or wget. Give it a directory with bootstrap.json as working directory.
# Last line on stdout: PILOTAGE-RESULT {...}. Exit: 0 ok, 2 bootstrap or node, 3 refused, 4 no cache, else the agent's.
# The pinned root: gzip, base64.
ROOT='@ROOT_GZIP@'
PIN=@ROOT_PIN@
set -uf
umask 077
lc=${LC_ALL-}
export LC_ALL=C
W= S= cache= child= nc=

# JSON in one pass, strings split at quotes: V[path]=value with | between keys. Metadata must be minified and sorted;
# the signed bytes are the bytes of "signed" with \n un-escaped. Prints assignments of checked values only.
J='function bad(m){gsub(/[^a-z0-9 .|_-]/,"",m);if(!X)print "bad='\''" m "'\''";X=1;exit}
function val(x, p){p=P[d] K[d];if(d<1||p in V)bad("structure");V[p]=x;if(Y[d]=="[")N[P[d]]=K[d]}
function st(t, i,c,n,q){n=length(t);for(i=1;i<=n;i++){c=substr(t,i,1)
if(c=="{"||c=="["){q=d?P[d] K[d] "|":"";if(q in C||d>30||L!="")bad("structure");if(d&&Y[d]=="[")N[P[d]]=K[d];C[q]=1;P[++d]=q;Y[d]=c;K[d]=c=="["?1:""}
else if(c=="}"||c=="]"){if(L!="")val(L);L="";if(--d<1&&substr(t,i+1)~/[^ \n]/)bad("structure")}
else if(c==","){if(L!="")val(L);L="";if(Y[d]=="[")K[d]++;else K[d]=""}
else if(c!=":"&&c!~/[ \t\r\n]/)L=L c}}
function num(p){if(V[p]!~/^[0-9]+$/||length(V[p])>15)bad(p);return V[p]}
function hex(x){if(length(x)!=64||x~/[^0-9a-f]/)bad("hash");return x}
function name(x){if(x!~/^[A-Za-z0-9_][A-Za-z0-9._\/@+-]*$/||x~/\.\.|\/\/|\/$/)bad("name");return x}
function out(k,x){if(x!~/^[][A-Za-z0-9 ._:,;\/@+*~%\\-]*$/)bad(k);print k "='\''" x "'\''"}
function oct(h, i,r){if(length(h)%2||length(h)>160||h~/[^0-9a-f]/)bad("signature");for(i=1;i<length(h);i+=2)r=r sprintf("\\%03o",(index(H,substr(h,i,1))-1)*16+index(H,substr(h,i+1,1))-1);return r}
function keys(b, p,i){for(p in C)if(index(p,b)==1){i=substr(p,length(b)+1);sub(/\|$/,"",i);if(i~/\|/||i=="")continue
if(V[p "keytype"]!~/^ecdsa/||V[p "scheme"]!="ecdsa-sha2-nistp256")continue;hex(i);x=V[p "keyval|public"];gsub(/\\n/,"\n",x);printf "%s",x>(kd "/" i);close(kd "/" i)}}
function ids(b, i,r){for(i=1;i<=N[b];i++)r=r (i>1?",":"") hex(V[b i]);return r}
function thr(p){if(num(p)+0<1)bad(p);return V[p]}
function cmp(a,b, i,n,u,v){gsub(/-/,".-1.",a);gsub(/-/,".-1.",b);n=split(a,u,/[.+]/);i=split(b,v,/[.+]/);if(i>n)n=i;for(i=1;i<=n;i++){sub(/[^0-9-].*/,"",u[i]);sub(/[^0-9-].*/,"",v[i]);if(u[i]+0!=v[i]+0)return u[i]+0<v[i]+0?-1:1}return 0}
BEGIN{D="signed|";RS="\"";H="0123456789abcdef";meta=m~/^(root|timestamp|snapshot|targets|role)$/}
{if(!q){st($0);if(o)printf "%s",d?$0:substr($0,1,length($0)-1)>sf;else if(meta&&d==2&&P[2]==D&&$0==":{"){o=1;printf "{">sf}}
else{s=$0;while(match(s,/\\+$/)&&RLENGTH%2){if((getline)<=0)bad("structure");s=s "\"" $0}
if(Y[d]=="{"&&K[d]==""){if(s==""||s~/\|/)bad("key");K[d]=s;if(meta&&d==1&&s!=(++top==1?"signatures":top==2?"signed":""))bad("structure")}else val(s)
if(o){gsub(/\\n/,"\n",s);printf "\"%s\"",s>sf}}
q=!q}
END{if(X)exit;if(d||!C[""]||meta&&!o)bad("structure")
if(meta){out("t",V[D "_type"]);out("v",num(D "version"));e=V[D "expires"]
if(e!~/^[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9]Z$/)bad("expires");gsub(/[^0-9]/,"",e);out("e",e)
for(i=1;i<=N["signatures|"];i++){k=hex(V["signatures|" i "|keyid"]);if(k in Z)bad("signatures");Z[k]=1;r=r " " k ":" oct(V["signatures|" i "|sig"])}out("sg",r)}
if(m=="root"){keys(D "keys|");n=split("root timestamp snapshot targets",a," ");for(i=1;i<=n;i++){p=D "roles|" a[i] "|";out("k_" a[i],ids(p "keyids|"));out("n_" a[i],thr(p "threshold"))}}
if(m=="timestamp"||m=="snapshot"){r="";for(p in V)if(p~/^signed\|meta\|[a-z0-9-]+\.json\|version$/){split(p,a,"|");b=D "meta|" a[3] "|";sub(/\.json$/,"",a[3]);r=r " " a[3] ":" num(p) ":" num(b "length") ":" hex(V[b "hashes|sha256"])}out("mt",r)
x=V[D "x-pilotage-signed-ms"];out("ms",x~/^[0-9][0-9][0-9][0-9]+$/?substr(x,1,length(x)-3):0)}
if(m=="targets"){keys(D "delegations|keys|");r="";for(i=1;i<=N[D "delegations|roles|"];i++){b=D "delegations|roles|" i "|";x="";for(j=1;j<=N[b "paths|"];j++)x=x V[b "paths|" j] ",";r=r " " name(V[b "name"]) ":" thr(b "threshold") ":" ids(b "keyids|") ":," x}out("dl",r)}
if(m=="role"){r="";n=split(want,a," ");for(i=1;i<=n;i++){b=D "targets|" a[i] "|";if(!(b in C))continue;r=r " " a[i] ":" num(b "length") ":" hex(V[b "hashes|sha256"]);b=b "custom|files|";for(p in V)if(index(p,b)==1)print (i==1?"pf":"rf"),hex(V[p]),name(substr(p,length(b)+1))>ff}out("tg",r)}
if(m=="boot"){r="";for(i=1;i<=N["caches|"];i++){x=V["caches|" i];sub(/\/+$/,"",x);if(x!~/^https?:\/\/[][A-Za-z0-9._:\/@%~-]+$/)bad("caches");r=r " " x}out("caches",r);out("queue",name(V["queue"]));b="floors|"
for(i=split("root timestamp snapshot signedTimeMs",a," ");i;i--)out("f_" a[i],(b in C)?num(b a[i]):0);r="";b=b "channelSerials|";for(p in V)if(index(p,b)==1)r=r " " name(substr(p,length(b)+1)) ":" num(p);out("f_serials",r)}
if(m=="map"){p="queues|" want;out("ch",name(p in V?V[p]:V["default"]))}
if(m=="pointer"){if(V["schema"]!="1"||V["product"]!="pilotage-pilot")bad("schema");out("pc",V["channel"]);out("serial",num("serial"));nb=num("not_before");c="current|";u=0
if(now+0<nb+0){if(!("previous|" in C))bad("not_before");c="previous|";u=nb}out("until",u);cv=name(V[c "version"]);out("cv",cv);y="";for(i=1;i<=N["yanked|"];i++)if(V["yanked|" i]==cv)y=1;out("yk",y)
x=V["min_version"];out("lo",x!="null"&&cmp(cv,x)<0?x:"");for(i=split("pilot runtimes|" arch,a," ");i;i--){b=c a[i] "|";if(!(b in C))bad(a[i]);out(i==1?"pp":"rp",name(V[b "path"]) ":" hex(V[b "sha256"]) ":" name(V[b "version"]))}}}'

say(){ printf 'pilotage-wrapper: %s\n' "$*" >&2; }
unlock(){ [ ! -f "$W/held" ] || rm -rf "$S/lock" "$W/held"; }
fin(){ # code exit cache message
	[ -z "$W" ] || { unlock; rm -rf "$W"; }
	m=$4
	case $m in *[\"\\]* | *[!\ -~]*) say "$m" && m='see log' ;; esac
	printf 'PILOTAGE-RESULT {"code":"%s","exit":%s,"cache":"%s","message":"%s"}\n' "$1" "$2" "$3" "$m"
	exit "$2"
}
no(){ # code file message: this attempt is refused
	say "$1 $cache/$2: $3"
	echo "$1 $cache $2: $3" >"$W/err"
	unlock
	exit 3
}
# Ends of an try that several steps share.
form(){ no E_TUF_FORMAT "$1" "${2:-$bad}"; }
gone(){ no E_CACHE_UNREACHABLE "$1" "no answer (status $code)"; }
disk(){ no E_STORE_WRITE "$1" 'cannot be written'; }
wait_for(){ child=$1 rc=0; wait "$child" || rc=$?; child=; }
get(){ # path maxbytes: body in $W/got, status in $code; bounded in size, connect time, stall and, with curl, time
	rm -f "$W/got"
	if [ "$tool" = curl ]; then
		(ulimit -f $(($2 / 512 + 8)); exec curl -qs -o "$W/got" -w '%{http_code}\n' --connect-timeout 5 --speed-limit 1 --speed-time 20 --max-time $(($2 / 8192 + 120)) ${nc:+"-HCache-Control: no-cache"} "$cache/$1") >"$W/code" 2>/dev/null &
		wait_for $!
		code=000
		read -r code <"$W/code" || :
	else
		(ulimit -f $(($2 / 512 + 8)); exec wget -S -O "$W/got" -T 20 -t 1 ${nc:+"--header=Cache-Control: no-cache"} "$cache/$1") >/dev/null 2>"$W/code" &
		wait_for $!
		while read -r x code y; do
			case $x in HTTP/*) break ;; esac
			code=000
		done <"$W/code"
	fi
	case $rc:$code in 153:*) code=long ;; [018]:[1-5][0-9][0-9]) ;; *) code=000 ;; esac
	case $tool$rc in curl23 | wget3) disk "$W" ;; esac
	[ -f "$W/got" ] || : >"$W/got"
}
need(){ # path maxbytes code-if-longer: as get; anything but 200 ends the attempt
	get "$1" "$2"
	case $code in
		200) ;;
		long) no "$3" "$1" "longer than $2 bytes" ;;
		*) gone "$1" ;;
	esac
}
parse(){ # file mode [awk options]
	bad= f=$1 m=$2
	shift 2
	eval "$(awk -v m="$m" -v sf="$W/s" -v kd="$W/$m" "$@" "$J" "$f" 2>/dev/null || echo bad=awk)"
	[ -z "$bad" ]
}
sum(){ h=$(openssl dgst -sha256 -r "$1" 2>/dev/null) || h=; h=${h%% *}; }
holds(){ # keydir keyids threshold: that many distinct keys signed $W/s
	n=0
	for x in $sg; do
		id=${x%%:*}
		case ",$2," in *",$id,"*) ;; *) continue ;; esac
		[ -f "$W/$1/$id" ] || continue
		printf "${x#*:}" >"$W/sig"
		openssl dgst -sha256 -verify "$W/$1/$id" -signature "$W/sig" "$W/s" >/dev/null 2>&1 && n=$((n + 1))
		[ "$n" -lt "$3" ] || return 0
	done
	return 1
}
signed(){ holds "$3" "$4" "$5" || no E_TUF_SIGNATURE "$2" "$n of $5 signatures of $1 hold"; }
fresh(){ [ "$2" -gt "$now" ] || no E_TUF_EXPIRED "$3" "role $1 expired at $2, it is $now"; }
floor(){ [ "$2" -ge "$3" ] || no E_TUF_STALE "$4" "$1 version $2 is below $3"; }
move(){ mv -f "$1" "$2" || disk "$2"; }

roots(){ # follows the chain from the trusted root; $rcode is the answer for the next one, in $W/next
	while [ "$rcode" = 200 ]; do
		i=$((rv + 1)) rf=metadata/$((rv + 1)).root.json ok=$k_root on=$n_root y=$k_timestamp:$k_snapshot
		rm -rf "$W/old"
		mv "$W/root" "$W/old"
		mkdir "$W/root"
		parse "$W/next" root || form "$rf"
		[ "$t" = root ] || form "$rf" "a $t"
		signed root "$rf" old "$ok" "$on"
		signed root "$rf" root "$k_root" "$n_root"
		[ "$v" = "$i" ] || no E_TUF_ROLLBACK "$rf" "version $v"
		rv=$v re=$e
		# New online keys: what the old ones signed may be fast-forwarded (TUF 1.0.31 section 5.3.11).
		[ $y = $k_timestamp:$k_snapshot ] || rm -f "$T" "$M/snapshot.json"
		move "$W/next" "$M/root.json"
		nroot
	done
}
nroot(){
	rf=metadata/$((rv + 1)).root.json
	get "$rf" 1048576
	rcode=$code
	case $code in 200) move "$W/got" "$W/next" ;; 404 | 403) rcode=404 ;; long) form "$rf" 'longer than 1 MiB' ;; *) gone "$rf" ;; esac
}
trust(){ # the newest root this node has verified, else the pinned one
	rm -rf "$W/root" "$W/targets"
	mkdir "$W/root" "$W/targets"
	parse "$M/root.json" root && [ "$t" = root ] && holds root "$k_root" "$n_root" || {
		echo "$ROOT" | openssl base64 -d | gzip -dc >"$W/pin"
		parse "$W/pin" root || no E_BOOTSTRAP wrapper.sh "$bad"
		ln "$W/pin" "$M/root.json" 2>/dev/null
	}
	rv=$v re=$e
}
timestamp(){
	ov=0 om=0
	if [ -f "$T" ] && parse "$T" timestamp && holds root "$k_timestamp" "$n_timestamp"; then
		look snapshot && ov=$v om=$mv
	fi
	parse "$W/ts" timestamp || form $f0
	[ "$t" = timestamp ] || form $f0 "a $t"
	signed timestamp $f0 root "$k_timestamp" "$n_timestamp"
	floor timestamp "$v" "$ov" $f0
	floor timestamp "$v" "$f_timestamp" $f0
	clock "$ms"
	look snapshot || form $f0 'no snapshot'
	[ "$mv" -ge "$om" ] || no E_TUF_ROLLBACK $f0 "snapshot $mv after $om"
	fresh timestamp "$e" $f0
	state="e timestamp $v $e
"
	sg_ms=$ms
	[ "$v" = "$ov" ] || { cp "$W/ts" "$W/got" && move "$W/got" "$T"; }
}
clock(){ [ $((epoch + 300)) -ge "$1" ] && [ $((epoch + 300)) -ge $((f_signedTimeMs / 1000)) ] || no E_CLOCK "the clock of this node" "it says $epoch, before the metadata was signed"; }
look(){ # role: mv ml mh as the metadata above names them
	for x in $mt; do
		case $x in "$1":*)
			x=${x#*:} mv=${x#*:}
			mv=${x%%:*} x=${x#*:}
			ml=${x%%:*} mh=${x#*:}
			return 0 ;;
		esac
	done
	return 1
}
role(){ # role mode keydir keyids threshold [awk options]: loads, verifies, keeps
	r=$1 md=$2 kd=$3 ki=$4 th=$5
	shift 5
	look "$r" || no E_TARGET_UNKNOWN "$r" 'not in the snapshot'
	rf=metadata/$mv.$r.json use=$M/$r.json h=
	[ -f "$use" ] && sum "$use"
	if [ "$h" != "$mh" ]; then
		need "$rf" "$ml" E_TUF_HASH
		use=$W/got
		sum "$use"
		[ "$h" = "$mh" ] || no E_TUF_HASH "$rf" "sha256 $h not $mh"
	fi
	rv_=$mv
	parse "$use" "$md" "$@" || form "$rf"
	case $md:$t in role:targets | targets:targets | snapshot:snapshot) ;; *) form "$rf" "a $t" ;; esac
	signed "$r" "$rf" "$kd" "$ki" "$th"
	[ "$v" = "$rv_" ] || no E_TUF_ROLLBACK "$rf" "it says version $v"
	fresh "$r" "$e" "$rf"
	state="${state}e $r $v $e
"
}
kept(){ [ "$use" != "$W/got" ] || move "$W/got" "$M/$r.json"; }
snapshot(){
	om=
	if [ -f "$M/snapshot.json" ]; then
		tm=$mt
		parse "$M/snapshot.json" snapshot && holds root "$k_snapshot" "$n_snapshot" && om=$mt
		mt=$tm
	fi
	role snapshot snapshot root "$k_snapshot" "$n_snapshot"
	floor snapshot "$v" "$f_snapshot" "$rf"
	for y in $om; do
		z=${y%%:*} y=${y#*:}
		look "$z" && [ "$mv" -ge "${y%%:*}" ] || no E_TUF_ROLLBACK "$rf" "$z was at version ${y%%:*}"
	done
	kept
}
deleg(){ # role path [awk options]: the role must be deleg exactly this path
	dr=$1 dp=$2 dk= dn=
	shift 2
	for x in $dl; do
		case $x in "$dr":*",$dp,"*)
			x=${x#*:}
			dn=${x%%:*} x=${x#*:}
			dk=${x%%:*}
			break ;;
		esac
	done
	[ -n "$dk" ] || no E_TARGET_UNKNOWN "$dr" "targets does not delegate $dp to it"
	role "$dr" role targets "$dk" "$dn" -v ff="$W/files" "$@"
	kept
}
find_(){ # path: tl ts_ as the role just loaded signs it
	for x in $tg; do
		case $x in "$1":*) x=${x#*:} && tl=${x%%:*} th_=${x#*:} && return 0 ;; esac
	done
	no E_TARGET_UNKNOWN "targets/$1" "$r signs no such target"
}
blob(){ # path length sha256: into $W/got, verified
	b=targets/${1%/*}/$3.${1##*/}
	need "$b" "$2" E_TARGET_LENGTH
	x=$(wc -c <"$W/got")
	[ $((x)) = "$2" ] || no E_TARGET_LENGTH "$b" "$((x)) bytes not $2"
	sum "$W/got"
	[ "$h" = "$3" ] || no E_TARGET_HASH "$b" "sha256 $h not $3"
}
small(){ # path: verified small target, left in $o
	find_ "$1"
	o=$S/objects/$th_ h=
	[ -f "$o" ] && sum "$o"
	[ "$h" = "$th_" ] || { blob "$1" "$tl" "$th_" && move "$W/got" "$o"; }
}
full(){ # everything, in the order of the specification; ends with a new state file
	roots
	fresh root "$re" root.json
	floor root "$rv" "$f_root" root.json
	timestamp
	snapshot
	role targets targets root "$k_targets" "$n_targets"
	kept
	cf=queues/channels.json
	deleg queues 'queues/*.json' -v want=$cf
	small $cf
	parse "$o" map -v want="$queue" || form $cf
	cf=channels/$ch.json
	deleg "$ch" $cf -v want=$cf
	small $cf
	parse "$o" pointer -v arch="$arch" -v now="$epoch" || form $cf
	[ "$pc" = "$ch" ] || no E_CHANNEL_MISMATCH $cf "it is of channel $pc"
	[ -z "$yk" ] || no E_CHANNEL_YANKED $cf "release $cv was withdrawn"
	[ -z "$lo" ] || no E_CHANNEL_FLOOR $cf "release $cv is below $lo"
	: >"$W/files"
	deleg releases 'pilot/*/*' -v want="${pp%%:*} ${rp%%:*}"
	build "$pp"
	state="${state}c $ch $serial $until $sg_ms
p $ap $ah $av $tl
"
	build "$rp"
	state="${state}r $ap $ah $av $tl
"
	{
		read -r x <"$T" || :
		printf '%s\ne root %s %s\n%s' "$x" "$rv" "$re" "$state"
		cat "$W/files"
	} >"$W/state" && move "$W/state" "$SF"
}
build(){ # path:sha256:version of the pointer, which must be what releases signed
	ap=${1%%:*} ah=${1#*:}
	av=${ah#*:} ah=${ah%%:*}
	find_ "$ap"
	[ "$th_" = "$ah" ] || no E_CHANNEL_MISMATCH $cf "releases signs another $ap"
}
warm(){ # the last verification still stands: the same timestamp byte for byte and no newer root
	[ "$rcode" = 404 ] && [ -f "$SF" ] && [ -f "$T" ] || return 1
	a= b= c=
	read -r a <"$W/ts" || :
	read -r b <"$SF" || :
	read -r c <"$T" || :
	[ -n "$a" ] && [ "$a" = "$b" ] && [ "$a" = "$c" ] || return 1
	judge
}
judge(){ # the state of a full verification, against clock and floors of now; 1: it must be made anew
	ml= pf= rtf=
	while read -r k a b c d; do
		case $k in
			e)
				fresh "$a" "$c" "metadata/$a.json"
				case $a in
					root) floor root "$b" "$f_root" root.json ;;
					timestamp) floor timestamp "$b" "$f_timestamp" $f0 ;;
					snapshot) floor snapshot "$b" "$f_snapshot" metadata/snapshot.json ;;
				esac
				ml=$ml,\"$a\":$b ;;
			c)
				ch=$a serial=$b
				[ "$c" = 0 ] || [ "$epoch" -lt "$c" ] || return 1
				clock "$d"
				for x in $f_serials; do
					[ "${x%%:*}" != "$a" ] || [ "$b" -ge "${x#*:}" ] || no E_CHANNEL_FLOOR "channels/$a.json" "serial $b is older than ${x#*:}"
				done ;;
			p) pp=$a ph=$b pv=$c pl=$d ;;
			r) rp=$a rh=$b rn=$c rl=$d ;;
			pf) pf="$pf $a $b" ;;
			rf) rtf="$rtf $a $b" ;;
		esac
	done <"$SF"
	[ -n "$pf" ] && [ -n "$rtf" ]
}
intact(){ # dir "sha256 path ...": every signed file is there with its bytes
	[ -d "$1" ] || return 1
	d=$1 x= y=
	set -- $2
	while [ $# -gt 1 ]; do
		x="$x
$1 *$2" y="$y $2"
		shift 2
	done
	z=$(cd "$d" && openssl dgst -sha256 -r $y 2>/dev/null)
	[ "
$z" = "$x" ]
}
install(){ # pilot and runtime whole in unpacked/<sha256>; both archives are verified before either is unpacked
	intact "$S/unpacked/$ph" "$pf" && intact "$S/unpacked/$rh" "$rtf" && return
	lock
	archive "$pp" "$ph" "$pl" "$pf"
	archive "$rp" "$rh" "$rl" "$rtf"
	unpack "$pp" "$ph" "$pf"
	unpack "$rp" "$rh" "$rtf"
}
archive(){ # path sha256 length files
	intact "$S/unpacked/$2" "$4" || { blob "$1" "$3" "$2" && move "$W/got" "$W/$2"; }
}
unpack(){ # path sha256 files
	[ -f "$W/$2" ] || return 0
	mkdir "$W/x"
	tar -xzof "$W/$2" -C "$W/x" 2>/dev/null && [ -z "$(find "$W/x" ! -type f ! -type d)" ] && intact "$W/x" "$3" || no E_ARCHIVE_UNSAFE "$1" 'not what was signed'
	rm -rf "$S/unpacked/$2" "$W/$2"
	move "$W/x" "$S/unpacked/$2"
}
me(){ # pid: when it started, so that a reused pid is not taken for its first owner
	x=
	read -r x 2>/dev/null <"/proc/$1/stat" || { kill -0 "$1" 2>/dev/null && echo unknown; return; }
	set -- ${x##*) }
	echo "${20:-unknown}"
}
lock(){ # one process per node fetches; after half an hour go on without, since every write is atomic
	[ ! -f "$W/held" ] || return 0
	i=0
	until mkdir "$S/lock" 2>/dev/null; do
		i=$((i + 1)) own= was=
		[ $i -lt 18000 ] || return 0
		if [ $((i % 20)) = 5 ]; then
			read -r own was 2>/dev/null <"$S/lock/pid" || :
			if [ -n "$own" ] || [ $i -gt 50 ]; then
				[ -n "$own" ] && [ "$(me "$own")" = "$was" ] || mv "$S/lock" "$W/stale.$i" 2>/dev/null
			fi
		fi
		sleep 0.1 2>/dev/null || { sleep 1; i=$((i + 9)); }
	done
	: >"$W/held"
	echo "$$ $(me $$)" >"$S/lock/pid"
	set +f
	find "$S"/tmp.* -prune -mtime +0 -exec rm -rf {} +
	set -f
}
try(){ # one cache, whole; writes verified.json and $W/run
	trap 'kill $child 2>/dev/null; unlock; exit 143' TERM INT
	rm -f "$W/err"
	trust
	nroot
	need $f0 65536 E_TUF_FORMAT
	mv "$W/got" "$W/ts"
	if ! warm; then
		lock
		y=$rv
		trust
		[ "$y" = "$rv" ] || nroot
		warm || { full && judge; } || form metadata 'releases names no files'
	fi
	install
	unlock
	tick t1
	printf '{"bootstrapMs":%s,"cache":"%s","release":{"channel":"%s","channelSerial":%s,"metadata":{%s},"name":"pilotage-pilot","runtimeVersion":"%s","sha256":"%s","version":"%s"}}\n' \
		$((t1 - t0)) "$cache" "$ch" "$serial" "${ml#,}" "$rn" "$ph" "$pv" >verified.json.tmp &&
		mv verified.json.tmp verified.json || disk verified.json
	printf '%s\n' "$S/unpacked/$rh" "$S/unpacked/$ph" "release $pv ($ph), runtime $rn, channel $ch serial $serial" >"$W/run"
	exit 0
}
tick(){ # name: milliseconds, from the node's uptime
	read -r x y </proc/uptime || x=0.00
	eval "$1=$((${x%.*} * 1000 + 1${x#*.}0 - 1000))"
}

tick t0
sum "$0"
say "wrapper sha256 $h"
tool=
for x in awk openssl tar gzip; do command -v $x >/dev/null || fin E_NODE_TOOL 2 "" "this node has no $x"; done
for x in wget curl; do command -v $x >/dev/null && tool=$x; done
[ -n "$tool" ] || fin E_NODE_TOOL 2 "" 'this node has no curl, no wget'
case $(uname -m) in x86_64) arch=linux-x64 ;; aarch64) arch=linux-arm64 ;; *) fin E_ARCH_UNSUPPORTED 2 "" "no runtime for $(uname -m)" ;; esac
if [ -z "${PILOTAGE_STORE:-}" ]; then
	PILOTAGE_STORE=${TMPDIR:-/tmp}/pilotage-store-$(id -u)
fi
S=$PILOTAGE_STORE
[ -d "$S" ] || mkdir -p "$S" 2>/dev/null
[ -d "$S" ] && [ ! -L "$S" ] && [ -O "$S" ] && case $(ls -ld "$S") in drwx------*) ;; *) false ;; esac ||
	fin E_STORE_UNSAFE 2 "" "$PILOTAGE_STORE must be this user's, mode 0700"
S=$(CDPATH= cd "$S" && pwd)
W=$S/tmp.$$.$t0
M=$S/metadata/$PIN
mkdir -p "$W" "$S/objects" "$S/unpacked" "$M" || fin E_STORE_WRITE 2 '' "$S cannot be written"
[ -r bootstrap.json ] || fin E_BOOTSTRAP 2 "" 'no bootstrap.json here'
parse bootstrap.json boot && [ -n "$caches" ] || fin E_BOOTSTRAP 2 "" "bootstrap.json cannot be read: $bad"
SF=$M/state-$queue-$arch T=$M/timestamp.json f0=metadata/timestamp.json
now=$(date -u '+%Y%m%d%H%M%S %s')
epoch=${now#* } now=${now% *}

agent= try=
stop(){ # signal
	if [ -n "$agent" ]; then kill "-$1" "$agent" 2>/dev/null; return; fi
	[ -z "$try" ] || { kill "$try" 2>/dev/null; wait "$try"; }
	fin E_ABORTED 143 "$cache" "stopped by SIG$1"
}
trap 'stop TERM' TERM
trap 'stop INT' INT

worst= rc=4
for cache in $caches; do
	for nc in '' 1; do
		try &
		try=$!
		rc=0
		wait $try || rc=$?
		try=
		[ $rc != 0 ] || break 2
		code= x=
		read -r code x m <"$W/err" 2>/dev/null || code=E_STORE_WRITE m="$S cannot be written"
		case $code:$worst in E_CACHE_UNREACHABLE:?*) ;; *) worst=$code wc=$cache wm=$m ;; esac
		case $code in E_CLOCK | E_STORE_WRITE | E_BOOTSTRAP) break 2 ;; E_CACHE_UNREACHABLE) break ;; esac
	done
done
if [ $rc != 0 ]; then
	case $worst in E_CACHE_UNREACHABLE) x=4 ;; E_STORE_WRITE | E_BOOTSTRAP) x=2 ;; *) x=3 ;; esac
	fin "$worst" $x "$wc" "$wm"
fi
{ read -r rt && read -r pd && read -r x; } <"$W/run"
say "verified $x through $cache"
rm -rf "$W"
W=
LC_ALL=$lc
[ -n "$lc" ] || unset LC_ALL
"$rt/bin/node" "$pd/pilot.mjs" run --bootstrap bootstrap.json --verified verified.json &
agent=$!
while :; do
	rc=0
	wait $agent || rc=$?
	kill -0 $agent 2>/dev/null || break
done
x=
[ ! -f payload.pgid ] || read -r x <payload.pgid
case $x in '' | 0* | 1 | *[!0-9]*) ;; *) kill -9 "-$x" 2>/dev/null && say "ended the payload $x" ;; esac
if [ $rc = 0 ]; then code=ok m='the pilot ended'; else code=E_AGENT_EXIT m="the pilot ended with $rc"; fi
[ -z "$worst" ] || m="$m; $worst at $wc"
echo
fin $code $rc "$cache" "$m"
