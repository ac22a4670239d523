# Reads one JSON file in one pass and prints shell assignments, of checked values only: the shell evaluates them.
# Metadata must be minified, with sorted keys and in ASCII: then the signed bytes are the bytes of "signed", with \n in
# strings un-escaped, and they are written to signed_file for openssl. Anything else is refused as bad=….
#
# mode: root, timestamp, snapshot, targets (delegations), role (targets of a delegated role), and the unsigned forms
# boot (bootstrap.json), map (queues/channels.json), rollout and pointer (channels/*.json).

# The records are split at quotes, so that they are structure and string in turn.
BEGIN {
	RS = "\""
	hex_digits = "0123456789abcdef"
	is_metadata = mode ~ /^(root|timestamp|snapshot|targets|role)$/
	S = "signed|"
}

# value[path] is what the file says, with | after each name of the path; count[path] the length of a list there;
# container[path] is set for each object and list. prefix, key and kind belong to the open ones, by depth.
function bad(what) {
	gsub(/[^a-z0-9 .|_-]/, "", what)
	if (!failed) print "bad='" what "'"
	failed = 1
	exit
}
function keep(text, path) {
	path = prefix[depth] key[depth]
	if (depth < 1 || path in value) bad("structure")
	value[path] = text
	if (kind[depth] == "[") count[prefix[depth]] = key[depth]
}
function structure(text, i, c, n, path) {
	n = length(text)
	for (i = 1; i <= n; i++) {
		c = substr(text, i, 1)
		if (c == "{" || c == "[") {
			path = depth ? prefix[depth] key[depth] "|" : ""
			if (path in container || depth > 30 || literal != "") bad("structure")
			if (depth && kind[depth] == "[") count[prefix[depth]] = key[depth]
			container[path] = 1
			prefix[++depth] = path
			kind[depth] = c
			key[depth] = c == "[" ? 1 : ""
		} else if (c == "}" || c == "]") {
			if (literal != "") keep(literal)
			literal = ""
			if (--depth < 1 && substr(text, i + 1) ~ /[^ \n]/) bad("structure")
		} else if (c == ",") {
			if (literal != "") keep(literal)
			literal = ""
			if (kind[depth] == "[") key[depth]++; else key[depth] = ""
		} else if (c != ":" && c !~ /[ \t\r\n]/) literal = literal c
	}
}
function string(text) {
	while (match(text, /\\+$/) && RLENGTH % 2) {
		if ((getline) <= 0) bad("structure")
		text = text "\"" $0
	}
	if (kind[depth] == "{" && key[depth] == "") {
		if (text == "" || text ~ /\|/) bad("key")
		key[depth] = text
		if (is_metadata && depth == 1 && text != (++sections == 1 ? "signatures" : sections == 2 ? "signed" : "")) bad("structure")
	} else keep(text)
	if (copying) {
		gsub(/\\n/, "\n", text)
		printf "\"%s\"", text > signed_file
	}
}
{
	if (in_string) string($0)
	else {
		structure($0)
		if (copying) printf "%s", depth ? $0 : substr($0, 1, length($0) - 1) > signed_file
		else if (is_metadata && depth == 2 && prefix[2] == S && $0 == ":{") {
			copying = 1
			printf "{" > signed_file
		}
	}
	in_string = !in_string
}

# Checks: what passes may stand in a shell assignment, in a list split at blanks and colons, and in a file name.
function number(path) {
	if (value[path] !~ /^[0-9]+$/ || length(value[path]) > 15) bad(path)
	return value[path]
}
function positive(path) {
	if (number(path) + 0 < 1) bad(path)
	return value[path]
}
function sha256(text) {
	if (length(text) != 64 || text ~ /[^0-9a-f]/) bad("hash")
	return text
}
function name(text) {
	if (text !~ /^[A-Za-z0-9_][A-Za-z0-9._\/@+-]*$/ || text ~ /\.\.|\/\/|\/$/) bad("name")
	return text
}
function assign(variable, text) {
	if (text !~ /^[][A-Za-z0-9 ._:,;\/@+*~%>\\-]*$/) bad(variable)
	print variable "='" text "'"
}
# Any printable text that is the same in JSON and out of it.
function assign_text(variable, text, i, n, part) {
	if (text !~ /^[ -~]*$/ || text ~ /\\/) bad(variable)
	n = split(text, part, "'")
	text = part[1]
	for (i = 2; i <= n; i++) text = text "'\\''" part[i]
	print variable "='" text "'"
}
# Bytes in hex -> octal escapes for printf; empty for what is longer than any ECDSA P-256 signature: another scheme's.
function octal(hex, i, escapes) {
	if (length(hex) % 2 || hex ~ /[^0-9a-f]/) bad("signature")
	if (length(hex) > 160) return ""
	for (i = 1; i < length(hex); i += 2)
		escapes = escapes sprintf("\\%03o", (index(hex_digits, substr(hex, i, 1)) - 1) * 16 + index(hex_digits, substr(hex, i + 1, 1)) - 1)
	return escapes
}
# Writes the P-256 keys of a list of keys to key_dir, each under its id and in one form only: SubjectPublicKeyInfo,
# uncompressed point, no spare bits. So that the same key under two ids is the same file. Other keys are left out.
function write_keys(list, path, id, body) {
	for (path in container) {
		if (index(path, list) != 1) continue
		id = substr(path, length(list) + 1)
		sub(/\|$/, "", id)
		if (id ~ /\|/ || id == "") continue
		if (value[path "keytype"] !~ /^ecdsa/ || value[path "scheme"] != "ecdsa-sha2-nistp256") continue
		body = value[path "keyval|public"]
		gsub(/-----[A-Z ]+-----|\\n/, "", body)
		if (length(body) != 124 || body !~ /^MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE[A-Za-z0-9+\/]+[AQgw]==$/) continue
		id = key_dir "/" sha256(id)
		printf "-----BEGIN PUBLIC KEY-----\n%s\n%s\n-----END PUBLIC KEY-----\n", substr(body, 1, 64), substr(body, 65) > id
		close(id)
	}
}
function ids(list, i, joined) {
	for (i = 1; i <= count[list]; i++) joined = joined (i > 1 ? "," : "") sha256(value[list i])
	return joined
}
# Numbers between dots and pluses, a dash before what has none; as compareVersions of the client.
function compare(a, b, i, n, u, v) {
	gsub(/-/, ".-1.", a)
	gsub(/-/, ".-1.", b)
	n = split(a, u, /[.+]/)
	i = split(b, v, /[.+]/)
	if (i > n) n = i
	for (i = 1; i <= n; i++) if (leading(u[i]) != leading(v[i])) return leading(u[i]) < leading(v[i]) ? -1 : 1
	return 0
}
function leading(text) {
	if (text != "-1") sub(/[^0-9].*/, "", text)
	return text + 0
}

# role_type role_version role_expires signatures ("keyid:octal …")
function say_metadata(i, id, seen, list) {
	assign("role_type", value[S "_type"])
	assign("role_version", number(S "version"))
	i = value[S "expires"]
	if (i !~ /^[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9]Z$/) bad("expires")
	gsub(/[^0-9]/, "", i)
	assign("role_expires", i)
	for (i = 1; i <= count["signatures|"]; i++) {
		id = sha256(value["signatures|" i "|keyid"])
		if (id in seen) bad("signatures")
		seen[id] = 1
		list = list " " id ":" octal(value["signatures|" i "|sig"])
	}
	assign("signatures", list)
}
# keys_<role> threshold_<role>
function say_root(i, roles, path) {
	write_keys(S "keys|")
	for (i = split("root timestamp snapshot targets", roles, " "); i; i--) {
		path = S "roles|" roles[i] "|"
		assign("keys_" roles[i], ids(path "keyids|"))
		assign("threshold_" roles[i], positive(path "threshold"))
	}
}
# listed ("role:version:length:sha256 …") signed_at (epoch seconds)
function say_versions(path, part, list) {
	for (path in value) {
		if (path !~ /^signed\|meta\|[a-z0-9-]+\.json\|version$/) continue
		split(path, part, "|")
		path = S "meta|" part[3] "|"
		sub(/\.json$/, "", part[3])
		list = list " " part[3] ":" positive(path "version") ":" number(path "length") ":" sha256(value[path "hashes|sha256"])
	}
	assign("listed", list)
	path = value[S "x-pilotage-signed-ms"]
	assign("signed_at", path ~ /^[0-9][0-9][0-9][0-9]+$/ ? substr(path, 1, length(path) - 3) : 0)
}
# delegations ("role:threshold:keyid,keyid:,path,path, …")
function say_delegations(i, j, path, patterns, list) {
	write_keys(S "delegations|keys|")
	for (i = 1; i <= count[S "delegations|roles|"]; i++) {
		path = S "delegations|roles|" i "|"
		patterns = ""
		for (j = 1; j <= count[path "paths|"]; j++) patterns = patterns value[path "paths|" j] ","
		list = list " " name(value[path "name"]) ":" positive(path "threshold") ":" ids(path "keyids|") ":," patterns
	}
	assign("delegations", list)
}
# targets ("path:length:sha256 …") of those in want; the files in a build are appended to files_out
function say_targets(i, j, n, wanted, path, list) {
	n = split(want, wanted, " ")
	for (i = 1; i <= n; i++) {
		path = S "targets|" wanted[i] "|"
		if (!(path in container)) continue
		list = list " " wanted[i] ":" number(path "length") ":" sha256(value[path "hashes|sha256"])
		path = path "custom|files|"
		for (j in value)
			if (index(j, path) == 1) print (i == 1 ? "pilot-file" : "runtime-file"), sha256(value[j]), name(substr(j, length(path) + 1)) > files_out
	}
	assign("targets", list)
}
# caches (in the order to try), queue, site, floor_<role>, floor_serials ("channel:serial …")
function say_bootstrap(i, j, n, member, url, list, path) {
	for (i = 1; i <= count["caches|"]; i++) {
		n = split(value["caches|" i], member, /\|/)
		# Any of a group may be first; the order of the groups stays.
		for (j = 1; j <= n; j++) {
			url = member[(random + j) % n + 1]
			sub(/\/+$/, "", url)
			if (url !~ /^(http:\/\/[][A-Za-z0-9._:-]+>http|https?):\/\/[][A-Za-z0-9._:\/@%~-]+$/) bad("caches")
			list = list " " url
		}
	}
	assign("caches", list)
	assign("queue", name(value["queue"]))
	assign("site", "site" in value ? name(value["site"]) : "none")
	for (i = split("root timestamp snapshot signedTimeMs", member, " "); i; i--)
		assign("floor_" member[i], ("floors|" in container) ? number("floors|" member[i]) : 0)
	list = ""
	path = "floors|channelSerials|"
	for (j in value) if (index(j, path) == 1) list = list " " name(substr(j, length(path) + 1)) ":" number(j)
	assign("floor_serials", list)
}
# pointer_channel pointer_serial not_before percent seed takes_part (this site may), has_previous
function say_rollout(i) {
	if (value["schema"] != "1" || value["product"] != "pilotage-pilot") bad("schema")
	assign("pointer_channel", value["channel"])
	assign("pointer_serial", positive("serial"))
	assign("not_before", number("not_before"))
	assign("percent", number("rollout|percent"))
	assign_text("seed", value["rollout|seed"])
	assign("has_previous", "previous|" in container)
	takes_part = !count["rollout|sites|"]
	for (i = 1; i <= count["rollout|sites|"]; i++) if (value["rollout|sites|" i] == site) takes_part = 1
	assign("takes_part", takes_part)
}
# version withdrawn below pilot runtime ("path:sha256:version") of the build that which names
function say_pointer(i, path, version, found) {
	version = name(value[which "|version"])
	assign("version", version)
	for (i = 1; i <= count["yanked|"]; i++) if (value["yanked|" i] == version) found = 1
	assign("withdrawn", found)
	i = value["min_version"]
	assign("below", i != "null" && compare(version, i) < 0 ? i : "")
	assign("pilot", artefact(which "|pilot|"))
	path = which "|runtimes|" arch "|"
	assign("runtime", path in container ? artefact(path) : "")
}
function artefact(path) {
	return name(value[path "path"]) ":" sha256(value[path "sha256"]) ":" name(value[path "version"])
}
END {
	if (failed) exit
	if (depth || !container[""] || is_metadata && !copying) bad("structure")
	if (is_metadata) say_metadata()
	if (mode == "root") say_root()
	if (mode == "timestamp" || mode == "snapshot") say_versions()
	if (mode == "targets") say_delegations()
	if (mode == "role") say_targets()
	if (mode == "boot") say_bootstrap()
	if (mode == "map") assign("channel", name(("queues|" want) in value ? value["queues|" want] : value["default"]))
	if (mode == "rollout") say_rollout()
	if (mode == "pointer") say_pointer()
}
