#!/bin/sh
# run.sh FOLDER SECONDS TARGET...   runs FOLDER/fuzz_TARGET so long from the seeds in unit/fuzz/seeds/TARGET, two at a time.
# A crash, a leak or an input that takes 10 s fails; its input stays in FOLDER.
folder=$1 seconds=$2
shift 2
one() {
    mkdir -p "$folder/found/$1"
    log=$folder/$1.log
    "$folder/fuzz_$1" -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -dict=unit/fuzz/words.dict -artifact_prefix="$folder/$1-" "$folder/found/$1" "unit/fuzz/seeds/$1" >"$log" 2>&1 && code=0 || code=$?
    execs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    if [ "$code" -eq 0 ] && [ "${execs:-0}" -gt 0 ]; then
        printf 'fuzz %-12s %9d inputs in %d s\n' "$1" "$execs" "$seconds"
    else
        tail -n 40 "$log"
        printf 'fuzz %-12s failed, see %s\n' "$1" "$log"
        return 1
    fi
}
bad=0
while [ $# -gt 0 ]; do
    second=
    one "$1" &
    first=$!
    shift
    if [ $# -gt 0 ]; then
        one "$1" &
        second=$!
        shift
    fi
    wait "$first" || bad=1
    [ -z "$second" ] || wait "$second" || bad=1
done
exit "$bad"
