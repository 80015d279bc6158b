#!/bin/sh
# overwrite.sh WHAT COMMAND...   runs a command whose output nobody needs to read while it goes well. On a terminal its
# lines are overwritten in one; elsewhere they are only counted. At its end a line says WHAT and how many there were, or,
# if it fails, what it said last; no WHAT: no line. Exit code: the command's.
what=$1
shift
log=$(mktemp) || exit 2
trap 'rm -f "$log" "$log.code"' EXIT
columns=$(stty size 2>/dev/null </dev/tty | cut -d ' ' -f 2)
[ "${columns:-0}" -gt 20 ] || columns=80
since=$(date +%s)

# Shows each line over the one before.
show() {
    while IFS= read -r line; do
        printf '%s\n' "$line" >>"$log"
        printf '\r%.*s\033[K' "$((columns - 1))" "$line"
    done
    printf '\r\033[K'
}

if [ -t 1 ]; then
    { "$@" 2>&1; echo $? >"$log.code"; } | show
    code=$(cat "$log.code")
else
    "$@" >"$log" 2>&1
    code=$?
fi
lines=$(grep -c -v '^make' "$log")
if [ "$code" -ne 0 ]; then
    grep -E -v '^(CC|LD|AR|CP|SED|TEXT) ' "$log" | tail -n 30 >&2
    exit "$code"
fi
[ -z "$what" ] || [ "$lines" -eq 0 ] || echo "$what: $lines steps, $(($(date +%s) - since)) s"
