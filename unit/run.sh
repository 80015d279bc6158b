#!/bin/sh
# Runs Criterion suites, and beside them Python scripts that end with such a line, says how long each took and adds up their counts.
# First line: how many there are. On a terminal one line says which is running, "N of M: NAME".
# Last line: N passed, N failed, N skipped; before it once more what a suite that failed printed. A suite that runs no test fails:
# Criterion itself would call that a success.
passed=0 failed=0 skipped=0 over=0

# How many of the scripts that run beside the suites have ended.
over_beside() {
    grep -sc ' skipped, [0-9]* s$' "$work/beside" || :
}

# What a suite printed, if it failed; again at the end, where it is looked for.
tell() {
    [ "$2" -eq 0 ] && [ -z "$VERBOSE" ] || printf '%s\n' "$3"
    [ "$2" -eq 0 ] || printf '%s failed:\n%s\n' "$1" "$3" | tail -n 15 >>"${FAILED:-$work/failed}"
}

# Shows what is running, and hides it before something is printed.
show() {
    [ ! -t 1 ] || printf '\r%d of %d: %s\033[K' $((over + $(over_beside) + 1)) "$total" "$1"
}
hide() {
    [ ! -t 1 ] || printf '\r\033[K'
}

# The counts of a script, which are the numbers of its last line.
run_script() {
    since=$(date +%s)
    show "${1##*/}"
    log=$("$1" 2>&1) && code=0 || code=$?
    over=$((over + 1))
    hide
    counts=$(printf '%s\n' "$log" | tail -n 1 | sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p')
    set -- "${1##*/}" ${counts:-0 1 0}
    [ "$code" -eq 0 ] || [ "$3" -gt 0 ] || set -- "$1" "$2" 1 "$4"
    tell "$1" "$3" "$log"
    printf '%-16s %3d passed, %d failed, %d skipped, %d s\n' "$@" $(($(date +%s) - since))
    passed=$((passed + $2)) failed=$((failed + $3)) skipped=$((skipped + $4))
}

# A count of the whole suite: the first of its name in Criterion's report.
count_of() {
    sed -n "s/^  \"$1\": \([0-9]*\),\$/\1/p" "$report" 2>/dev/null | head -n 1
}

# Waits for the scripts, and says which is running.
wait_beside() {
    while [ -t 1 ] && kill -0 "$1" 2>/dev/null; do
        name=$(sed -n "$(($(over_beside) + 1))s|.*/||p" "$work/scripts")
        [ -z "$name" ] || show "$name"
        sleep 1
    done
    wait
    hide
}

# Where there are both, the scripts run beside the suites.
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
report=$work/report
suites=0 scripts=0
for suite in "$@"; do
    case $suite in *.py) scripts=$((scripts + 1)) ;; *) suites=$((suites + 1)) ;; esac
done
total=$((suites + scripts))
[ -n "$BESIDE" ] || echo "tests: $suites suites, $scripts scripts"
if [ "$suites" -gt 0 ] && [ "$scripts" -gt 0 ]; then
    for suite in "$@"; do
        shift
        case $suite in *.py) printf '%s\n' "$suite" >>"$work/scripts" ;; *) set -- "$@" "$suite" ;; esac
    done
    BESIDE=1 FAILED=$work/failed xargs "$0" <"$work/scripts" >"$work/beside" 2>&1 &
    beside=$!
fi
for suite in "$@"; do
    case $suite in *.py) run_script "$suite"; continue ;; esac
    since=$(date +%s)
    : >"$report"
    show "${suite##*/}"
    log=$("$suite" --short-filename --json="$report" 2>&1) && code=0 || code=$?
    over=$((over + 1))
    hide
    good=$(count_of passed) bad=$(count_of failed) crashed=$(count_of errored) omitted=$(count_of skipped)
    good=${good:-0} bad=$((${bad:-0} + ${crashed:-0})) omitted=${omitted:-0}
    if [ $((good + bad + omitted)) -eq 0 ]; then bad=1; fi
    if [ "$code" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
    # Criterion passes a test in which a sanitizer complained
    if printf '%s\n' "$log" | grep -q 'SUMMARY: .*Sanitizer'; then bad=$((bad > 0 ? bad : 1)); fi
    tell "${suite##*/}" "$bad" "$log"
    printf '%-16s %3d passed, %d failed, %d skipped, %d s\n' "${suite##*/}" "$good" "$bad" "$omitted" \
        $(($(date +%s) - since))
    passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + omitted))
done
[ -z "$beside" ] || wait_beside "$beside"
if [ -s "$work/scripts" ]; then
    sed '$d' "$work/beside"
    counts=$(sed -n '$s/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p' "$work/beside")
    # shellcheck disable=SC2086
    set -- ${counts:-0 1 0}
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
fi
[ -n "$BESIDE" ] || cat "$work/failed" 2>/dev/null
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
