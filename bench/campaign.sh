#!/bin/sh
# campaign.sh [FILE]: what bench compare finds and what it doesn't, on this machine while its other processors are busy.
#
# Ten tries in which the second build is 5 % slower, twenty in which it is the first: JSON lines into FILE, a count on
# standard output. Exit 0: each case was found in nine of ten, and none was an alarm in twenty.
# PLANTED=N and EQUAL=N: other numbers of tries. A whole campaign takes about half an hour on a machine of its own.
# Each try is announced on standard error. The other processors are kept busy at the least priority; what else runs
# is noise.
cd "$(dirname "$0")/.." || exit
B=${BUILD:-build}
file=${1:-$B/campaign.jsonl}
cases='rmsnorm@v3:n_tokens=16 linear@v3:n_tokens=1,out_features=512 mla_decode@v3:num_attention_heads=16,kv_len=1024'
make -s bench "$B/planted/avx512.so" "$B/planted/slow.so" || exit 2

busy=
trap 'kill $busy 2>/dev/null' EXIT
trap 'exit 1' INT TERM
last=$(($(nproc) - 1))
for cpu in $(seq 1 "$last"); do
    nice -n 19 taskset -c "$cpu" sh -c 'while :; do :; done' &
    busy="$busy $!"
done

# tries COUNT PER_CENT NEXT: on the first processor.
tries() {
    for try in $(seq "$1"); do
        echo "$(date +%T) $2 % slower, try $try of $1" >&2
        load=$(cut -d ' ' -f 1 /proc/loadavg)
        SLOWED=$B/planted/avx512.so SLOWER=$2 taskset -c 0 "$B/bin/bench" compare --format=jsonl \
            "$B/planted/avx512.so" "$3" $cases |
            sed "s/^{/{\"study\":\"compare\",\"planted\":$2,\"try\":$try,\"load\":$load,/"
    done
}

{
    printf '{"study":"compare","command":"bench/campaign.sh","commit":"%s","cpu":"%s","busy":%d}\n' \
        "$(git describe --always --dirty)" "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1)" "$last"
    tries "${PLANTED:-10}" 5 "$B/planted/slow.so"
    tries "${EQUAL:-20}" 0 "$B/planted/avx512.so"
} >"$file"

# Per case: how often it was slower, of how many tries; a void run is none.
awk -v planted="${PLANTED:-10}" -v equal="${EQUAL:-20}" '
function value(key,   from) { from = substr($0, index($0, "\"" key "\":") + length(key) + 3); sub(/^"/, "", from)
                              sub(/("?,"|"?}).*/, "", from); return from }
/"verdict"/ { id = value("id"); n[id, value("planted"), value("verdict")]++; ids[id] = 1 }
END {
    for (id in ids) {
        printf "%s: 5 %% slower: found %d of %d, undecided %d, not %d, void %d; equal: alarms %d of %d, undecided %d, void %d\n",
               id, n[id, 5, "slower"], planted, n[id, 5, "undecided"], n[id, 5, "not slower"], n[id, 5, "void"],
               n[id, 0, "slower"], equal, n[id, 0, "undecided"], n[id, 0, "void"]
        if (n[id, 5, "slower"] * 10 < planted * 9 || n[id, 0, "slower"]) bad = 1
    }
    exit bad
}' "$file"
