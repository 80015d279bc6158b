#!/bin/sh
# setup.sh              installs the Debian packages that are missing, after saying which
# setup.sh --check SET  says in one sentence what a build (SET build) or the tests (SET tests) lack here; else nothing
build='gcc g++ make binutils libc6-dev libmpfr-dev libgmp-dev libjansson-dev libxxhash-dev libsleef-dev'
tests='libcriterion-dev libflint-dev libflint-arb-dev python3 python3-venv clang-format clang libclang-rt-14-dev bible-kjv bible-kjv-text'
log=${TMPDIR:-/tmp}/dsv3-setup.$$
trap 'rm -f "$log"' EXIT

# The words, with commas.
list() { echo "$*" | sed 's/ /, /g'; }

# Is there such a header?
header() { echo "#include <$1>" | $CC -E - >/dev/null 2>&1; }

# What a build or the tests need and this machine lacks.
absent() {
    programs="${CC:=gcc} ld ar objcopy" headers='stdio.h gmp.h mpfr.h jansson.h xxhash.h sleef.h'
    if [ "$1" = tests ]; then
        programs="$programs g++ python3" headers="$headers criterion/criterion.h arb.h"
    fi
    lacks=
    for p in $programs; do command -v "$p" >/dev/null || lacks="$lacks $p"; done
    for p in ${CC%% *}; do command -v "$p" >/dev/null || { echo $lacks; return; }; done
    for h in $headers; do header "$h" || lacks="$lacks $h"; done
    echo $lacks
}

# The packages of a set that are not installed.
missing() {
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || printf '%s ' "$package"
    done
}

# install WHAT PACKAGE...: says the packages and no more, unless apt fails: then the end of its own words.
install() {
    what=$1
    shift
    packages=$(missing "$@")
    [ -n "$packages" ] || return 0
    echo "Installing for $what: $packages" | fold -s -w 100
    if ! command -v apt-get >/dev/null; then
        echo "setup: there is no apt-get here: install these packages (Debian's names) by hand" >&2
        exit 2
    fi
    [ -n "$updated" ] || $root apt-get update -qq >"$log" 2>&1
    updated=yes
    DEBIAN_FRONTEND=noninteractive $root apt-get install -y -qq --no-install-recommends $packages >>"$log" 2>&1 && return 0
    tail -n 5 "$log" >&2
    echo "setup: apt-get could not install the packages for $what" >&2
    exit 2
}

if [ "$1" = --check ]; then
    lacks=$(absent "$2")
    [ -z "$lacks" ] || echo "missing here: $(list $lacks); 'make setup' installs what is needed"
    exit 0
fi
root= updated=
if [ "$(id -u)" -ne 0 ]; then
    root=sudo
    if [ -n "$(missing $build $tests)" ] && ! command -v sudo >/dev/null; then
        echo "setup: run 'make setup' as root once, or install sudo: packages are missing" >&2
        exit 2
    fi
fi
install 'the build' $build
install 'the tests' $tests
