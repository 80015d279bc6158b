#!/bin/sh
# unit/cuda.sh BUILD CASE...: judges the CUDA backend's PTX on this processor: those cases by sm_80 on ampere's units, the smoke cases
# by sm_89 on ada's and by sm_90a on hopper's, and some products of these by wgmma, beside each other. Last line: N passed, N failed, N skipped.
build=$1
shift
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

# judge TARGET UNITS PORT CASE...: a log, and what verify returned.
judge() {
    target=$1 units=$2 port=$3
    shift 3
    DSV3_CUDA_GPU=$units "$build/bin/verify" run "$@" --backend="$port" --jobs=1 >"$work/$target" 2>&1
    echo $? >"$work/$target.code"
}

judge sm_80 ampere "$build/ports/cuda_machine.so" "$@" &
judge sm_89 ada "$build/ports/cuda_machine_sm_89.so" @smoke
judge sm_90a hopper "$build/ports/cuda_machine_sm_90a.so" @smoke &
judge wgmma hopper "$build/ports/cuda_machine_wgmma.so" linear@odd:n_tokens=17,in_features=320,out_features=129 \
    linear@odd:n_tokens=65,in_features=193,out_features=66,weight=f8_e4m3 linear@odd:n_tokens=512,out_features=1024 \
    experts@odd:n_tokens=64 mla@odd:n_tokens=33
wait
code=0
for target in sm_80 sm_89 sm_90a wgmma; do
    echo "== $target"
    cat "$work/$target"
    [ "$(cat "$work/$target.code")" = 0 ] || code=1
done
tail -qn1 "$work/sm_80" "$work/sm_89" "$work/sm_90a" "$work/wgmma" |
    awk '{ p += $1; f += $3; s += $5 } END { print p " passed, " f " failed, " s " skipped" }'
exit $code
