#!/bin/sh
# Signs with an EC P-256 key in a PKCS#11 token: the command of a release key (pilotage release key new NAME --public … -- pkcs11.sh).
# Bytes to sign on stdin, signature on stdout (ECDSA in DER). Needs OpenSC's pkcs11-tool and openssl.
#
#   PKCS11_MODULE    the token's library, for example /usr/lib/x86_64-linux-gnu/opensc-pkcs11.so
#   PKCS11_TOKEN     label of the token; without it the first one
#   PKCS11_KEY       label of the key
#   PKCS11_PIN_FILE  file of mode 0600 whose first line is the PIN; without it the PIN is asked for at the terminal
set -eu

fail() {
  echo "pkcs11.sh: $*" >&2
  exit 1
}

: "${PKCS11_MODULE:?names the library of the token}" "${PKCS11_KEY:?names the label of the key}"

# The PIN goes to pkcs11-tool by its environment: arguments can be seen by every user of the machine.
if [ -n "${PKCS11_PIN_FILE:-}" ]; then
  case $(ls -lnd -- "$PKCS11_PIN_FILE") in
  -??-------*) ;;
  *) fail "others can read $PKCS11_PIN_FILE, or it is no file: chmod 600" ;;
  esac
  IFS= read -r PKCS11_PIN <"$PKCS11_PIN_FILE" || [ -n "$PKCS11_PIN" ] || fail "$PKCS11_PIN_FILE is empty"
else
  exec 3<>/dev/tty || fail 'set PKCS11_PIN_FILE: there is no terminal to ask for the PIN at'
  trap 'stty echo <&3' EXIT
  trap 'exit 130' INT TERM
  stty -echo <&3
  printf 'PIN of the token for %s: ' "${PILOTAGE_KEY_NAME:-$PKCS11_KEY}" >&3
  IFS= read -r PKCS11_PIN <&3
  printf '\n' >&3
  stty echo <&3
fi
export PKCS11_PIN

[ "${PILOTAGE_KEY_SCHEME:-ecdsa-sha2-nistp256}" = ecdsa-sha2-nistp256 ] || fail 'this script signs with EC P-256 keys only'
set -- --mechanism ECDSA --signature-format openssl
[ -z "${PKCS11_TOKEN:-}" ] || set -- "$@" --token-label "$PKCS11_TOKEN"

# Not every token hashes by itself; all of them sign a hash that was made here.
openssl dgst -sha256 -binary |
  pkcs11-tool --module "$PKCS11_MODULE" --login --pin env:PKCS11_PIN --sign --label "$PKCS11_KEY" "$@"
