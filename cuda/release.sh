#!/bin/sh
# The PTX that nvcc made of the kernels, for a machine without nvcc: cuda/release (docs/cuda.md).
# release.sh --check               why the machine can't be made of it here, in one sentence; nothing: it can
# release.sh --write BUILD NVCC    makes it anew of BUILD's PTX
# release.sh --compare BUILD NVCC  is it what nvcc makes here? 1: no; 77: it can't be compared, and why
# release.sh --unpack FOLDER       its files
here=$(cd "$(dirname "$0")" && pwd)
made_of=$here/release/made_of.txt archive=$here/release/ptx.tar.xz

# What the kernels are compiled from.
kernels() {
    (cd "$here" && LC_ALL=C cat ./*.cu ./*.cuh ../include/dsv3.h | sha256sum | cut -d' ' -f1)
}

version() {
    "$1" --version | sed -n 's/.*, V//p'
}

# Of another tree or compiler? Says so.
other() {
    [ -s "$archive" ] || { echo "$archive is missing"; return; }
    [ "$(sed -n 's/^kernels //p' "$made_of")" = "$(kernels)" ] ||
        { echo 'the kernels changed since the PTX of cuda/release was made: make cuda-release, where nvcc is'; return; }
    [ -z "$1" ] || [ "$(sed -n 's/^nvcc //p' "$made_of")" = "$(version "$1")" ] ||
        echo "the PTX of cuda/release was made by nvcc $(sed -n 's/^nvcc //p' "$made_of"), and this is $(version "$1")"
}

# Copies of BUILD's PTX, with names that are alike everywhere.
alike() {
    mkdir -p "$2/wgmma"
    for ptx in "$1"/obj/cuda/*.compute_*.ptx "$1/obj/cuda/wgmma/products.ptx"; do
        awk -f "$here/own_names.awk" "$ptx" >"$2/${ptx#"$1"/obj/cuda/}" || exit 1
    done
}

case $1 in
--check)
    lacks=$(other)
    for tool in xz clang++; do
        [ -n "$lacks" ] || command -v "$tool" >/dev/null || lacks="$tool is missing, which the PTX of cuda/release wants: make setup"
    done
    echo "$lacks"
    ;;
--write)
    work=$(mktemp -d) || exit 1
    trap 'rm -rf "$work"' EXIT
    alike "$2" "$work"
    mkdir -p "$here/release"
    tar -C "$work" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX -cf - . | xz -9e -T1 >"$archive" || exit 1
    printf 'kernels %s\nnvcc %s\n' "$(kernels)" "$(version "$3")" >"$made_of"
    echo "$archive: $(wc -c <"$archive") bytes, $(find "$work" -name '*.ptx' | wc -l) files"
    ;;
--compare)
    lacks=$(other "$3")
    [ -z "$lacks" ] || { echo "$lacks"; exit 77; }
    work=$(mktemp -d) || exit 1
    trap 'rm -rf "$work"' EXIT
    mkdir "$work/theirs"
    alike "$2" "$work/ours"
    tar -C "$work/theirs" -xJf "$archive" && diff -rq "$work/theirs" "$work/ours"
    ;;
--unpack)
    mkdir -p "$2" && tar -C "$2" -xmJf "$archive"
    ;;
*)
    sed -n 's/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
