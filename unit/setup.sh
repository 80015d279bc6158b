#!/bin/sh
# setup.sh              installs the Debian packages that are missing, after saying which
# setup.sh build        only those that verify and the ports need
# setup.sh --check SET  says in one sentence what SET lacks here, else nothing: build; bench (make install, too); tests
build='gcc make binutils libc6-dev libmpfr-dev libgmp-dev libjansson-dev libxxhash-dev libsleef-dev'
bench='libflint-dev libflint-arb-dev'
tests='g++ libcriterion-dev python3 python3-venv clang-format clang libclang-rt-14-dev xz-utils bible-kjv bible-kjv-text'

# The words, with commas.
list() { echo "$*" | sed 's/ /, /g'; }

# Is there such a header?
header() { echo "#include <$1>" | $CC -E - >/dev/null 2>&1; }

# What a set needs and this machine lacks.
absent() {
    programs="${CC:=gcc} ld ar objcopy" headers='stdio.h gmp.h mpfr.h jansson.h xxhash.h sleef.h'
    [ "$1" = build ] || headers="$headers arb.h"
    if [ "$1" = tests ]; then
        programs="$programs g++ python3" headers="$headers criterion/criterion.h"
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

# The sentence for who is not root and can't become it, in one line that root may run.
refuse() {
    echo "setup: packages are missing; as root run: apt-get install -y --no-install-recommends $1" >&2
    exit 2
}

# Becomes root by sudo, which may ask for a password here, before anything is overwritten.
become_root() {
    [ "$(id -u)" -ne 0 ] || return 0
    command -v sudo >/dev/null || refuse "$1"
    if [ -t 0 ]; then sudo -v || refuse "$1"; else sudo -n true 2>/dev/null || refuse "$1"; fi
    root=sudo
}

# install WHAT PACKAGE...: says the packages and no more, unless apt fails: then the end of its own words.
install() {
    what=$1
    shift
    packages=$(missing "$@")
    [ -n "$packages" ] || return 0
    if ! command -v apt-get >/dev/null; then
        echo "setup: there is no apt-get here; install these (Debian's names) by hand: $packages" >&2
        exit 2
    fi
    become_root "$packages"
    echo "Installing for $what: $packages" | fold -s -w 80
    [ -n "$updated" ] || unit/overwrite.sh '' $root apt-get update -q
    updated=yes
    unit/overwrite.sh "Installed for $what" $root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends $packages && return 0
    echo "setup: apt-get could not install the packages for $what" >&2
    exit 2
}

if [ "$1" = --check ]; then
    lacks=$(absent "$2")
    [ -z "$lacks" ] || echo "missing here: $(list $lacks); 'make setup' installs what is needed"
    exit 0
fi
root= updated=
install 'the build' $build
[ "$1" != build ] || exit 0
install 'bench' $bench
install 'the tests' $tests
