#!/bin/sh
# stage.sh BUILD   makes BUILD/stage, the tree that make install copies, and its list BUILD/stage.txt, from what BUILD has
set -e
build=$1 new=$1/stage.new here=install

# put MODE FILE... FOLDER
put() {
    mode=$1
    shift
    for folder in "$@"; do :; done
    mkdir -p "$new/$folder"
    while [ $# -gt 1 ]; do
        install -m "$mode" "$1" "$new/$folder/"
        shift
    done
}

# A page of a command, or of the program: page NAME SUMMARY ALSO, with the help as input.
page() {
    awk -v name="$1" -v summary="$2" -v also="$3" -v version="$version" -v date="$date" -f $here/man.awk >"$new/share/man/man1/$1.1"
}

# Pages of a program and of each command whose help is its own.
pages() {
    program=$new/bin/$1 all= other=$3
    "$program" --help | awk -v program="$1" -f $here/commands.awk >"$build/commands.txt"
    tab=$(printf '\t')
    while IFS=$tab read -r command summary; do
        "$program" "$command" --help >"$build/help.txt" 2>/dev/null || continue
        head -n 1 "$build/help.txt" | grep -q "^usage: $1 $command" || continue
        page "$1-$command" "$summary" "$1(1)" <"$build/help.txt"
        all="$all$1-$command(1), "
    done <"$build/commands.txt"
    "$program" --help | page "$1" "$2" "$all$other(1)"
}

version=$(cat VERSION)
date=$(sed -n "s/^## \[$version\] - //p" CHANGELOG.md)
rm -rf "$new" "$build/stage" "$build/stage.txt"
put 755 "$build/bin/verify" "$build/bin/bench" bin
mv "$new/bin/verify" "$new/bin/dsv3-verify"
mv "$new/bin/bench" "$new/bin/dsv3-bench"
put 644 include/dsv3.h include
put 644 "$build"/cases/*.txt lib/dsv3/cases
put 644 "$build/perf.txt" "$build/layer.txt" "$build/exact.txt" "$build/peers.txt" lib/dsv3
put 755 "$build"/bin/ptx2c lib/dsv3/bin
put 755 "$build/ports/plain.so" "$build/ports/openblas.so" "$build/ports/onednn.so" lib/dsv3/ports
put 644 verify/ports/dsv3_port.py verify/ports/record.py verify/ports/convert.py lib/dsv3/ports
put 644 verify/ports/plain/*.[ch] lib/dsv3/ports/plain
put 644 "$build"/ports/cuda/*.[ho] "$build/ports/cuda/launch.awk" verify/ports/cuda/rmsnorm.* lib/dsv3/ports/cuda
put 755 "$build/ports/cuda/port.sh" lib/dsv3/ports/cuda
[ ! -f "$build/ports/cuda_machine.so" ] || put 755 "$build/ports/cuda_machine.so" lib/dsv3/ports
put 644 README.md CHANGELOG.md LICENSE share/doc/dsv3
put 644 docs/*.md share/doc/dsv3/docs
put 644 docs/components/*.md share/doc/dsv3/docs/components
put 644 docs/figures/*.svg share/doc/dsv3/docs/figures
mkdir -p "$new/share/pkgconfig" "$new/share/man/man1" "$new/share/bash-completion/completions"
sed "s/@VERSION@/$version/" $here/dsv3.pc >"$new/share/pkgconfig/dsv3.pc"
if ! "$new/bin/dsv3-verify" --version >/dev/null 2>&1; then
    echo "make install: $build/bin/verify doesn't run here, and manual pages are made from its --help: nothing is installed" >&2
    exit 2
fi
pages dsv3-verify 'decides whether a port of DeepSeek-V3 computes legal results' dsv3-bench
pages dsv3-bench 'what ports of DeepSeek-V3 cost, side by side in one run' dsv3-verify
for program in dsv3-verify dsv3-bench; do
    $here/completion.sh "$new/bin/$program" "$new/bin/dsv3-verify" >"$new/share/bash-completion/completions/$program"
done
chmod -R u=rwX,go=rX "$new"
(cd "$new" && find . -type f | sed 's|^\./||' | LC_ALL=C sort) >"$build/stage.list"
rm -f "$build/commands.txt" "$build/help.txt"
mv "$new" "$build/stage"
mv "$build/stage.list" "$build/stage.txt"
