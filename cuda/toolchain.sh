#!/bin/sh
# toolchain.sh            installs nvcc and what it needs in the user's cache (once), from PyPI's wheels of NVIDIA: those of
#                         toolchain.txt, by version and hash. make and cuda:FILE.cu find it there when there is no other nvcc
# toolchain.sh --remove   deletes every such folder
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/dsv3/cuda
python=${PYTHON:-python3}

end() {
    echo "cuda-toolchain: $1" >&2
    exit 2
}

if [ "$1" = --remove ]; then
    rm -rf "$cache"/toolchain-*
    echo "removed $cache/toolchain-*"
    exit 0
fi
[ "$(uname -sm)" = 'Linux x86_64' ] || end "the wheels of $here/toolchain.txt are for Linux on x86-64: install NVIDIA's CUDA toolkit by hand"
folder=$cache/toolchain-$(sha256sum "$here/toolchain.txt" | cut -c1-12)
mkdir -p "$cache" || end "$cache can't be made: set XDG_CACHE_HOME"
exec 9>"$cache/lock"
flock 9
if [ ! -x "$folder/bin/nvcc" ]; then
    echo "Installing $(sed -n 's/ --hash.*//p' "$here/toolchain.txt" | tr '\n' ' ')(260 MB, under NVIDIA's licence) into $folder"
    work=$(mktemp -d "$cache/work.XXXXXX") || end "nothing can be written in $cache"
    trap 'rm -rf "$work"' EXIT
    "$python" -m venv "$work/venv" >"$work/log" 2>&1 || end "$python has no venv: make setup"
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check --retries 1 --timeout 15 --no-deps --only-binary :all: \
        --require-hashes --target "$work/all" -r "$here/toolchain.txt" >"$work/log" 2>&1 ||
        end "pip can't get the wheels, for which it needs PyPI and a network: $(grep -m 1 '^ERROR' "$work/log" || tail -n 1 "$work/log")"
    ln -s lib "$work/all/nvidia/cu13/lib64"
    mv "$work/all/nvidia/cu13" "$folder" || end "$folder can't be made"
fi
echo "cuda-toolchain: ready, $folder/bin/nvcc"
