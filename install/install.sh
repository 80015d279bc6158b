#!/bin/sh
# install.sh STAGE TARGET   copies the tree of STAGE.txt below TARGET, all of it or nothing
# install.sh --remove TARGET
# TARGET/lib/dsv3/installed.txt lists what was installed, a file or a folder/ that was made for it a line; removing follows it.
set -e
umask 022
end() {
    echo "make install: $1" >&2
    exit 2
}

# Removes files and then, from the inside, folders that were made for them, where they are empty. Reads the list.
remove() {
    grep -v -e '^/' -e '\.\./' | LC_ALL=C sort -r | while IFS= read -r name; do
        case $name in
        ./) rmdir "$target" 2>/dev/null || : ;;
        */) rmdir "$target/$name" 2>/dev/null || : ;;
        *) rm -f "$target/$name" ;;
        esac
    done
}

if [ "$1" = --remove ]; then
    target=$2 list=$2/lib/dsv3/installed.txt
    if [ ! -f "$list" ]; then
        echo "make uninstall: nothing is installed in $target: $list isn't there; name the PREFIX and DESTDIR of the installation" >&2
        exit 2
    fi
    [ -w "${list%/*}" ] || { echo "make uninstall: $target can't be written: become root" >&2; exit 2; }
    work=$(mktemp)
    trap 'rm -f "$work"' EXIT
    cp "$list" "$work"
    remove <"$work"
    echo "removed dsv3 from $target"
    exit 0
fi
stage=$1 target=$2 list=lib/dsv3/installed.txt part=.dsv3-part
work=$(mktemp -d)
trap 'undo; rm -rf "$work"' EXIT

# What was begun goes again.
undo() {
    [ -z "$begun" ] || { sed "s|\$|$part|" "$stage.txt" && cat "$work/list"; } | remove
}
begun=1
advice='become root, or choose another PREFIX, as in make install PREFIX=$HOME/.local'

# Folders, from the outside; of those that were there, the ones that an earlier installation made stay ours.
sed 's|[^/]*$||' "$stage.txt" | LC_ALL=C sort -u | while IFS= read -r folder; do
    at=
    while [ "$at" != "$folder" ]; do
        rest=${folder#"$at"}
        at=$at${rest%%/*}/
        [ -d "$target/$at" ] || echo "$at"
    done
done | LC_ALL=C sort -u >"$work/list"
[ -d "$target" ] || echo ./ >>"$work/list"
mkdir -p "$target" 2>/dev/null || end "$target can't be made: $advice"
grep -vx './' "$work/list" | while IFS= read -r folder; do
    mkdir "$target/$folder" 2>/dev/null || end "$target/$folder can't be made: $advice"
done
while IFS= read -r name; do
    cp "$stage/$name" "$target/$name$part" 2>"$work/said" || end "$(head -n 1 "$work/said"): $advice, or free some space"
done <"$stage.txt"

# All is there: names change, the list is written, and what an older version had and this one has not goes.
[ ! -f "$target/$list" ] || cp "$target/$list" "$work/old"
begun=
while IFS= read -r name; do mv -f "$target/$name$part" "$target/$name"; done <"$stage.txt"
[ ! -f "$work/old" ] || grep '/$' "$work/old" >>"$work/list" || :
{ cat "$stage.txt" "$work/list"; echo "$list"; } | LC_ALL=C sort -u >"$target/$list"
[ ! -f "$work/old" ] || grep -v '/$' "$work/old" | LC_ALL=C sort | LC_ALL=C comm -23 - "$target/$list" | remove
echo "installed dsv3 in $target: dsv3-verify --help"
