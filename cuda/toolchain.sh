#!/bin/sh
# toolchain.sh            installs nvcc and what it needs in the user's cache (once), from PyPI's wheels of NVIDIA: those of
#                         toolchain.txt, by version and hash. make and cuda:FILE.cu find it there when there is no other nvcc
# toolchain.sh --witness  likewise the headers of witness.txt, which tests compare with
# toolchain.sh --remove   deletes every such folder
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/dsv3/cuda
python=${PYTHON:-python3}
set=toolchain size='260 MB'
[ "$1" != --witness ] || set=witness size='44 MB'

end() {
    echo "cuda-$set: $1" >&2
    exit 2
}

# The wheels of the set, in $work/all.
install_wheels() {
    echo "Installing $(sed -n 's/ --hash.*//p' "$here/$set.txt" | tr '\n' ' ')($size, under NVIDIA's licence) into $folder"
    work=$(mktemp -d "$cache/work.XXXXXX") || end "nothing can be written in $cache"
    trap 'rm -rf "$work"' EXIT
    "$python" -m venv "$work/venv" >"$work/log" 2>&1 || end "$python has no venv: make setup"
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check --retries 1 --timeout 15 --no-deps --only-binary :all: \
        --require-hashes --target "$work/all" -r "$here/$set.txt" >"$work/log" 2>&1 ||
        end "pip can't get the wheels, for which it needs PyPI and a network: $(grep -m 1 '^ERROR' "$work/log" || tail -n 1 "$work/log")"
}

if [ "$1" = --remove ]; then
    rm -rf "$cache"/toolchain-* "$cache"/witness-*
    echo "removed $cache/toolchain-* and witness-*"
    exit 0
fi
[ "$(uname -sm)" = 'Linux x86_64' ] || end "the wheels of $here/$set.txt are for Linux on x86-64: install NVIDIA's CUDA toolkit by hand"
folder=$cache/$set-$(sha256sum "$here/$set.txt" | cut -c1-12)
mkdir -p "$cache" || end "$cache can't be made: set XDG_CACHE_HOME"
exec 9>"$cache/lock"
flock 9
if [ "$set" = witness ]; then
    if [ ! -d "$folder" ]; then
        install_wheels
        mv "$work/all/nvidia/cu13/include/cccl" "$work/all/cutlass_library/source/include" &&
            mv "$work/all/cutlass_library/source/include" "$folder" || end "$folder can't be made"
    fi
    echo "cuda-witness: ready, $folder"
    exit 0
fi
if [ ! -x "$folder/bin/nvcc" ]; then
    install_wheels
    ln -s lib "$work/all/nvidia/cu13/lib64"
    mv "$work/all/nvidia/cu13" "$folder" || end "$folder can't be made"
fi
echo "cuda-toolchain: ready, $folder/bin/nvcc"
