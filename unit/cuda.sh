#!/bin/sh
# unit/cuda.sh BUILD CASE...: judges the CUDA backend's PTX on this processor: those cases by sm_80 on ampere's units, the smoke cases
# by sm_89 on ada's and by sm_90a on hopper's, some products of these by wgmma, and E4M3 by sm_89 on hopper's, beside each other.
# BUILD/cuda_ci.jsonl: what was judged, and by which PTX. Last line: N passed, N failed, N skipped.
build=$1
shift
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

# judge TARGET GPU PORT CASE...: a log, and what verify returned. GPU may be empty: the first that runs that PTX.
judge() {
    target=$1 gpu=$2 port=$3
    shift 3
    env ${gpu:+DSV3_CUDA_GPU="$gpu"} "$build/bin/verify" run --proofs --timeout=600 "$@" --backend="$port" --jobs=1 --format=text,jsonl --out="$work/$target.d" >"$work/$target" 2>&1
    echo $? >"$work/$target.code"
}

# The PTX of a target: a hash of all kernels, but for names of what is a file's own.
ptx_of() {
    cat "${KERNELS:-$build/obj/cuda}"/*.compute_"${1#sm_}".ptx | awk -v own=own -f cuda/own_names.awk | sha256sum | cut -d' ' -f1
}

# Whose PTX it is: nvcc's here, or of the one that made cuda/release.
version() {
    if [ -n "$NVCC" ]; then "$NVCC" --version | sed -n 's/.*, V//p'; else sed -n 's/^nvcc //p' cuda/release/made_of.txt; fi
}

# digest TARGET UNITS: a line an op, how many cases have which verdict, and how many elements were judged.
digest() {
    sed -n 's/^{"id":"\([a-z_]*\).*"verdict":"\([A-Z]*\)".*/\1 \2/p' "$work/$1.d/results.jsonl" | sort | uniq -c |
        awk -v head="{\"target\":\"$1\",\"units\":\"$2\"" '
            $2 != op { if (op) print line "}"; op = $2; line = head ",\"op\":\"" op "\"" }
            { line = line ",\"" $3 "\":" $1 }
            END { if (op) print line "}" }'
}

judge sm_80 "" "$build/ports/cuda_machine.so" "$@" &
codes='linear@odd:n_tokens=3|65,in_features=320,out_features=129,x=f8_e4m3,x_scale=u8|f32;fill=real|adversarial'
judge sm_89 "" "$build/ports/cuda_machine_sm_89.so" @smoke "$codes"
judge sm_89_hopper hopper "$build/ports/cuda_machine_sm_89.so" "$codes"
judge sm_90a "" "$build/ports/cuda_machine_sm_90a.so" @smoke &
judge wgmma "" "$build/ports/cuda_machine_wgmma.so" linear@odd:n_tokens=17,in_features=320,out_features=129 \
    linear@odd:n_tokens=65,in_features=193,out_features=66,weight=f8_e4m3 linear@odd:n_tokens=512,out_features=1024 \
    experts@odd:n_tokens=64 mla@odd:n_tokens=33 "$codes"
wait
code=0
{
    printf '{"commit":"%s","cases":"%s","nvcc":"%s"' "$(git rev-parse HEAD 2>/dev/null)" "$*" "$(version)"
    for target in sm_80 sm_89 sm_90a; do printf ',"%s":"%s"' "$target" "$(ptx_of "$target")"; done
    echo '}'
    digest sm_80 ampere
    digest sm_89 ada
    digest sm_90a hopper
    digest sm_89_hopper hopper
    digest wgmma hopper
} >"$build/cuda_ci.jsonl"
for target in sm_80 sm_89 sm_89_hopper sm_90a wgmma; do
    echo "== $target"
    cat "$work/$target"
    [ "$(cat "$work/$target.code")" = 0 ] || code=1
done
# What was judged whole stands in docs/data.
if [ "$(head -n1 "$build/cuda_ci.jsonl" | sed 's/.*"nvcc"/"nvcc"/')" = "$(head -n1 docs/data/cuda_ci.jsonl 2>/dev/null | sed 's/.*"nvcc"/"nvcc"/')" ]; then
    echo 'its PTX is that of docs/data/cuda_ci.jsonl'
else
    echo 'its PTX, or nvcc, is not that of docs/data/cuda_ci.jsonl'
fi
tail -qn1 "$work/sm_80" "$work/sm_89" "$work/sm_89_hopper" "$work/sm_90a" "$work/wgmma" |
    awk '{ p += $1; f += $3; s += $5 } END { print p " passed, " f " failed, " s " skipped" }'
exit $code
