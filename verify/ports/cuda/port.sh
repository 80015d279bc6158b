#!/bin/sh
# port.sh FILE.cu|FILE.ptx   makes a port of somebody's own kernels that runs on the machine of cuda/emu, below the user's cache, and
#                   prints its path and what its PTX is for (sm_80). Exit 2: it can't, 77: there is no nvcc; one sentence says why
# What can be said of lines goes to standard error. NVCC, CC, CXX and nvcc's own NVCC_APPEND_FLAGS are heeded.
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/dsv3/cuda
flags='-std=gnu11 -O1 -w -ffp-contract=off -fPIC'
log=

# end CODE SENTENCE, with the first lines of what a tool said.
end() {
    [ ! -s "$log" ] || head -n 12 "$log" >&2
    rm -rf "$work"
    echo "$2"
    exit "$1"
}

# The compiler that is named, on the path, in the cache (make cuda-toolchain), or where NVIDIA puts it.
find_nvcc() {
    for nvcc in ${NVCC:-nvcc "$cache"/toolchain-*/bin/nvcc /usr/local/cuda/bin/nvcc}; do
        command -v "$nvcc" >/dev/null 2>&1 && return
    done
    end 77 'nvcc is missing: install NVIDIA'\''s CUDA toolkit, name it by NVCC=, or try make cuda-toolchain'
}

# The source: its host code, and its PTX.
compile() {
    "$nvcc" -O2 -std=c++17 -arch=sm_80 -lineinfo -I"$here" -Xcompiler -fPIC -keep -keep-dir "$work" -c "$1" -o "$work/host.o" \
        >"$log" 2>&1 || end 2 'nvcc does not compile it'
}

# The PTX, and the host code that its launch table stands for.
read_table() {
    [ -f "$2" ] || end 2 "its launch table, $2, isn't there: docs/cuda.md describes it"
    cp "$1" "$work/$name.ptx"
    awk -f "$here/launch.awk" "$here/dsv3.h" "$1" "$2" >"$work/host.c" 2>"$log" || tell
    ${CC:-gcc} $flags -I"$here" -c "$work/host.c" -o "$work/host.o" 2>"$log" || end 2 "the C of $2 does not compile"
}

# Ends with what one of our own tools said, a sentence.
tell() {
    said=$(sed 's/^ptx2c: //' "$log") log=
    end 2 "$said"
}

# Everything that the port is made of is in its name: what is there already needn't be made again.
content() { cat "$work"/*.ptx "$work/host.o" "$here"/*.o "$here"/*.h "$here/../../bin/ptx2c" | sha256sum | cut -c1-16; }

# Why the linker stopped.
name_absent() {
    absent=$(sed -n 's/.*undefined reference to `\(.*\)'\''.*/\1/p' "$log" | sort -u | head -n 3 | paste -sd, | sed 's|,|, |g')
    if [ -n "$absent" ]; then echo "it calls $absent: cuda/emu/runtime.c has no such function"; else echo 'it does not link'; fi
}

[ -f "$1" ] || end 2 'there is no such file'
[ -n "$XDG_CACHE_HOME$HOME" ] || end 2 'there is no folder to work in: set HOME or XDG_CACHE_HOME'
case $1$cache in *\"*) end 2 "a path with a quotation mark, which compilers do not take: rename it, or set XDG_CACHE_HOME" ;; esac
case ${DSV3_CUDA_ORDER-up} in up | down | shuffled) ;; *) end 2 "DSV3_CUDA_ORDER=$DSV3_CUDA_ORDER: it is up, down or shuffled" ;; esac
case ${DSV3_CUDA_GPU-ampere} in
ampere | ada | hopper | blackwell) ;;
*) end 2 "DSV3_CUDA_GPU=$DSV3_CUDA_GPU: it is ampere, ada, hopper or blackwell" ;;
esac
case ${DSV3_CUDA_THREADS-1} in [1-9] | [1-5][0-9] | 6[0-4]) ;; *) end 2 "DSV3_CUDA_THREADS=$DSV3_CUDA_THREADS: it is a whole number from 1 to 64" ;; esac
if [ -n "${DSV3_CUDA_COUNT+set}" ] && ! (: >>"$DSV3_CUDA_COUNT") 2>/dev/null; then
    end 2 "DSV3_CUDA_COUNT=$DSV3_CUDA_COUNT: it can't be written: name a file by its whole path"
fi
name=$(basename "${1%.*}" | tr -c 'A-Za-z0-9_\n' _)
case $1 in *.cu) find_nvcc ;; *.ptx) ;; *) end 2 'it is neither FILE.cu nor FILE.ptx' ;; esac
mkdir -p "$cache" 2>/dev/null && work=$(mktemp -d "$cache/$name.XXXXXX" 2>/dev/null) || end 2 "the folder $cache can't be made: set XDG_CACHE_HOME"
log=$work/log
case $1 in *.cu) compile "$1" ;; *) read_table "$1" "${1%.ptx}.launch" ;; esac
for ptx in "$work"/*.ptx; do [ -s "$ptx" ] && [ -s "$work/host.o" ] || end 2 'the compiler wrote no PTX or no object'; done
for ptx in "$work"/*.ptx; do target=$(sed -n 's/^\.target \([a-z0-9_]*\).*/\1/p' "$ptx"); done
port=$cache/$name-$(content)
if [ ! -f "$port/$name.so" ]; then
    mkdir -p "$port" && mv "$ptx" "$port/$name.ptx" && ptx=$port/$name.ptx
    "$here/../../bin/ptx2c" "$ptx" >"$work/kernels.c" 2>"$log" || tell
    ${CC:-gcc} $flags -I"$here" -c "$work/kernels.c" -o "$work/kernels.o" 2>"$log" || end 2 'the C of its kernels does not compile'
    ${CXX:-g++} -shared -Wl,-Bsymbolic -Wl,-z,defs "$work/host.o" "$work/kernels.o" "$here"/*.o -o "$work/port.so" -lm \
        2>"$log" || end 2 "$(name_absent)"
    mv "$work/port.so" "$port/$name.so"
fi
rm -rf "$work"
touch "$port"
find "$cache" -mindepth 1 -maxdepth 1 -name "$name[-.]*" -mtime +30 -exec rm -rf {} + # what nobody judged for a month
printf '%s\n' "$port/$name.so" "$target"
