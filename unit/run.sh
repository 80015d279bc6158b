#!/bin/sh
# run.sh TEST...    Runs Criterion suites, and Python scripts (*.py) that end with such a line, two at a time in this order, says how long
# each took and adds up their counts.
# First line: how many there are. On a terminal one line says which began last, "N of M: NAME".
# Last line: N passed, N failed, N skipped; before it once more what a suite that failed printed. A suite that runs no test fails:
# Criterion itself would call that a success. Two that run beside each other write no file that both know.

# A count of the whole suite: the first of its name in Criterion's report.
count_of() {
    sed -n "s/^  \"$1\": \([0-9]*\),\$/\1/p" "$report" 2>/dev/null | head -n 1
}

# Runs the suite, or script, and prints "PASSED FAILED SKIPPED"; what it printed itself is in $log.
run_suite() {
    "$1" --short-filename --json="$report" >"$log" 2>&1 && code=0 || code=$?
    good=$(count_of passed) bad=$(count_of failed) crashed=$(count_of errored) omitted=$(count_of skipped)
    good=${good:-0} bad=$((${bad:-0} + ${crashed:-0})) omitted=${omitted:-0}
    if [ $((good + bad + omitted)) -eq 0 ]; then bad=1; fi
    if [ "$code" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
    # Criterion passes a test in which a sanitizer complained
    if grep -q 'SUMMARY: .*Sanitizer' "$log"; then bad=$((bad > 0 ? bad : 1)); fi
    echo "$good $bad $omitted"
}
# The counts of a script are the numbers of its last line.
run_script() {
    "$1" >"$log" 2>&1 && code=0 || code=$?
    counts=$(tail -n 1 "$log" | sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p')
    # shellcheck disable=SC2086
    set -- ${counts:-0 1 0}
    [ "$code" -eq 0 ] || [ "$2" -gt 0 ] || set -- "$1" 1 "$3"
    echo "$@"
}

# On a terminal: what runs, hidden before something is printed.
show() {
    [ ! -t 1 ] || [ -z "$1" ] || printf '\r%s\033[K' "$1"
}
hide() {
    [ ! -t 1 ] || printf '\r\033[K'
}

# One of them, number $1 of all: $2. It prints while no other does.
run_one() {
    number=$1 test=$2 name=${2##*/} since=$(date +%s) log=$work/log.$1 report=$work/report.$1
    echo "$number of $total: $name" >"$work/running.$number"
    show "$number of $total: $name"
    case $test in *.py) counts=$(run_script "$test") ;; *) counts=$(run_suite "$test") ;; esac
    rm "$work/running.$number"
    # shellcheck disable=SC2086
    set -- ${counts:-0 1 0}
    {
        flock 9
        hide
        if [ "$2" -gt 0 ] || [ -n "$VERBOSE" ]; then cat "$log"; fi
        if [ "$2" -gt 0 ]; then { echo "$name failed:" && tail -n 14 "$log"; } >>"$work/failed"; fi
        printf '%-16s %3d passed, %d failed, %d skipped, %d s\n' "$name" "$@" $(($(date +%s) - since))
        echo "$@" >>"$work/counts"
        show "$(cat "$work"/running.* 2>/dev/null)"
    } 9>>"$work/lock"
    rm -f "$log" "$report"
}

if [ "$1" = --one ]; then
    work=$2 total=$3
    run_one "$4" "$5"
    exit 0
fi
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
touch "$work/failed" "$work/counts"
printf '%s\n' "$@" | awk '{ if (/\.py$/) scripts++; else suites++ } END { printf "tests: %d suites, %d scripts\n", suites, scripts }'
printf '%s\n' "$@" | awk '{ print NR, $0 }' | xargs -P 2 -L 1 "$0" --one "$work" $#
hide
cat "$work/failed"
# One that left no counts, for it was ended from outside, is a failure.
awk -v total=$# '{ p += $1; f += $2; s += $3 } END { f += total - NR; printf "%d passed, %d failed, %d skipped\n", p, f, s; exit f > 0 || !p }' \
    "$work/counts"
