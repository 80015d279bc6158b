#!/bin/sh
# Installs the Debian packages that are missing, after saying which.
needed='gcc g++ make binutils libc6-dev libmpfr-dev libgmp-dev libjansson-dev libcriterion-dev libflint-dev
libflint-arb-dev clang-format clang libclang-rt-14-dev python3 python3-venv'
missing=
for package in $needed; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
if ! command -v apt-get >/dev/null; then
    echo "setup: these packages (Debian's names) are missing, and there is no apt-get to install them:$missing" >&2
    exit 2
fi
root=
[ "$(id -u)" -eq 0 ] || root=sudo
echo "Installing with apt-get:$missing"
$root apt-get update -qq && DEBIAN_FRONTEND=noninteractive $root apt-get install -y -qq --no-install-recommends $missing >/dev/null && exit 0
echo "setup: apt-get could not install:$missing" >&2
exit 2
