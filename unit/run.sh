#!/bin/sh
# Runs Criterion suites and adds up their counts; last line: N passed, N failed, N skipped.
# A suite that runs no test fails: Criterion itself would call that a success.
passed=0 failed=0
for suite in "$@"; do
    log=$("$suite" --short-filename 2>&1) && code=0 || code=$?
    line=$(printf '%s\n' "$log" | grep 'Synthesis: Tested: ')
    tested=$(printf '%s' "$line" | sed -n 's/.*Tested: \([0-9]*\).*/\1/p')
    bad=$(printf '%s' "$line" | sed -n 's/.*Failing: \([0-9]*\).*/\1/p')
    if [ "${tested:-0}" -eq 0 ]; then tested=1 bad=1; fi
    if [ "$code" -ne 0 ] && [ "${bad:-0}" -eq 0 ]; then bad=1; fi
    # Criterion passes a test in which a sanitizer complained
    if printf '%s\n' "$log" | grep -q 'SUMMARY: .*Sanitizer'; then bad=$((bad > 0 ? bad : 1)); fi
    [ "$bad" -eq 0 ] && [ -z "$VERBOSE" ] || printf '%s\n' "$log"
    printf '%-16s %3d passed, %d failed\n' "${suite##*/}" $((tested - bad)) "$bad"
    passed=$((passed + tested - bad)) failed=$((failed + bad))
done
printf '%d passed, %d failed, 0 skipped\n' "$passed" "$failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
