#!/bin/sh
# cuda/gpu_check.sh [all|judge|sanitize|sums|times]...: on a machine with a GPU, names it and does these, by default all:
# judge     builds, and judges all cases of ci, those of V3's sizes among them, on the device; each runs twice, to the same bits
# sanitize  NVIDIA's compute-sanitizer on small cases of every op: memcheck, racecheck, synccheck, initcheck
# sums      sums of its matrix units beside their models, to the bit (of compute capability 9.0: there are no others yet)
# times     products beside cuBLAS and a copy's bandwidth, in one run
# What it prints stands in build/gpu, too. Exit 77: no GPU, nothing was verified; 1: something failed, the rest was done.
cd "$(dirname "$0")/.." || exit 2
nvidia-smi --query-gpu=name,driver_version,compute_cap --format=csv,noheader 2>/dev/null || { echo "no GPU here: nothing was verified"; exit 77; }
[ $# -gt 0 ] || set -- all
for what in "$@"; do
    case $what in all | judge | sanitize | sums | times) ;; *)
        echo "gpu_check.sh: $what: it is all, judge, sanitize, sums or times" >&2
        exit 2
        ;;
    esac
done
make -s all || exit 1
mkdir -p build/gpu
bad=0

asked() {
    case " $* " in *" all "* | *" $step "*) ;; *) return 1 ;; esac
}

# say NAME COMMAND...: its output here and in build/gpu/NAME.
say() {
    log=build/gpu/$1
    shift
    echo "== $*"
    { "$@" 2>&1 && echo "passed" || echo "failed: $?"; } | tee "$log"
    [ "$(tail -n1 "$log")" = passed ] || bad=1
}

step=judge
asked "$@" && say judge build/bin/verify run @ci --backend=cuda --require=cuda --format=text,jsonl --out=build/gpu
step=sanitize
if asked "$@"; then
    build/bin/verify list --cases @ci | grep '@tiny' | awk -F'[@:]' 'n[$1]++ < 4' >build/gpu/small.txt
    for tool in memcheck racecheck synccheck initcheck; do
        say "$tool" compute-sanitizer --tool "$tool" --target-processes all --error-exitcode 1 \
            build/bin/verify run @build/gpu/small.txt --backend=cuda --require=cuda --jobs=1 --timeout=600
        if ! grep -q 'ERROR SUMMARY' "build/gpu/$tool"; then echo "$tool said nothing"; bad=1; fi
        if grep 'ERROR SUMMARY' "build/gpu/$tool" | grep -vq ' 0 errors'; then bad=1; fi
    done
fi
step=sums
if asked "$@"; then
    gpu=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n1 | tr -d .)
    if [ "$gpu" = 90 ]; then
        make -s build/cuda/unit_sums build/legal/selftest || exit 1
        build/cuda/unit_sums 3000 >build/gpu/sums.txt || bad=1
        say sums env SUMS="$PWD/build/gpu/sums.txt" build/legal/selftest --filter 'units/an_h100_sums_so'
    else
        echo "compute capability $gpu: no model of its sums to hold them against"
    fi
fi
step=times
if asked "$@"; then
    make -s build/cuda/gpu_times || exit 1
    say times build/cuda/gpu_times
fi
exit $bad
