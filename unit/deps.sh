#!/bin/sh
# Who may include whom (unit/arrows.txt), and words that belong to one folder alone. unit may see everything, nothing includes it.
bad=0
complain() {
    if [ -n "$1" ]; then
        printf '%s: %s\n' "$2" "$1" >&2
        bad=1
    fi
}
sources=$(git ls-files 'include/*.h' 'ref/*.[chd]*' 'fast/*.[ch]' 'cuda/*.cu' 'cuda/*.cuh' 'cuda/*.[ch]' 'verify/*.[ch]' 'bench/*.[ch]' 'train/*.[ch]')
# The folder of an include is read off its path; a bare name is the file's own folder's, or include/'s, ref/'s, verify/'s.
awk '
BEGIN {
    while ((getline line < "unit/arrows.txt") > 0) {
        if (line ~ /^#/) continue
        split(line, half, ":")
        n = split(half[2], target, " ")
        known[half[1]] = 1
        for (i = 1; i <= n; i++) arrow[half[1], target[i]] = 1
    }
}
function exists(path,   line, found) { found = (getline line < path) > 0; close(path); return found }
function folder(path) { sub("/[^/]*$", "", path); return path }
function inner(name) { return name != "ref.h" && !(from == "bench" && name ~ /^(ball|centre_dd|kernel)\.h$/) }
function wrong(text) { print "deps: " text; bad = 1 }
FNR == 1 { from = folder(FILENAME); sub("^verify/ports/.*", "verify/ports", from) }
/^ *#include "/ {
    split($0, part, "\"")
    name = part[2]
    if (name ~ /^\.\.\/[^\/]*$/) to = folder(from)
    else if (name ~ /^\.\.\//) to = folder(substr(name, 4))
    else if (name ~ /\// && exists(folder(FILENAME) "/" name)) to = folder(FILENAME) "/" folder(name)
    else if (name ~ /\//) to = "verify/" folder(name)
    else if (exists(folder(FILENAME) "/" name)) next
    else if (exists("include/" name)) to = "include"
    else if (exists("ref/" name)) to = "ref"
    else if (exists("verify/" name)) to = "verify"
    else to = "?"
    drawn[from " " to] = 1
    if (!known[from]) wrong(from " has no row in unit/arrows.txt")
    else if (!((from, to) in arrow)) wrong(FILENAME ": " from " may not include " name " of " to)
    else if (to == "fast" && from == "bench" && name !~ /tiles_here/) wrong(FILENAME ": of fast/ bench knows tiles_here.h alone")
    else if (to == "ref" && from != "ref/sampled" && inner(name)) wrong(FILENAME ": " name " is inside ref/; from outside there is ref.h alone")
}
END {
    for (a in drawn) count++
    if (!bad) print "deps: " count " arrows between folders, all in unit/arrows.txt"
    exit bad
}' $sources || bad=1
complain "$(git grep -nE 'dsv3_backend_(avx512|cuda)' -- 'verify/*.c' 'verify/*.h' ':!verify/port/backends.c' | head -3)" "backends are named in verify/port/backends.c alone"
complain "$(git grep -nE 'mpfr|sleef|Sleef' -- 'verify/*.c' 'verify/*.h' 'cuda/' | head -3)" "MPFR belongs to ref/, SLEEF to fast/"
complain "$(git grep -nE 'ffast-math|Ofast|funsafe-math|use_fast_math' -- ':!docs' ':!*.md' ':!unit/deps.sh' | head -3)" "fast-math is allowed nowhere"
exit "$bad"
