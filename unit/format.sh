#!/bin/sh
# The form of code and documents: clang-format; no member of a header torn from its type; columns of include/ and docs/.
bad=0
clang-format --dry-run -Werror $(git ls-files '*.c' '*.h' '*.cu' '*.cuh' '*.cpp') || bad=1
# clang-format breaks a member behind its type when its comment is too long: such a comment stands above the member.
awk '
FNR == 1 { type = "" }
type != "" && /^ +\**[a-z_0-9]+(\[[^]]*\])*;/ { print FILENAME ":" FNR ": a member torn from its type, " type; bad = 1 }
{ type = "" }
/^ +(const )?(unsigned )?[a-z_][a-z_0-9]*( \*+(const)?)?$/ && $1 !~ /^(else|do|return)$/ { type = $0; sub("^ +", "", type) }
END { exit bad }' $(git ls-files 'include/*.h' 'ref/*.h' 'verify/*.h') || bad=1
# Tables, the targets of links, and program output (between lines of ```) may be wider.
awk '
FNR == 1 { output = 0 }
/^```/ { output = !output }
output || /^\|/ { next }
{
    line = $0
    gsub(/\]\([^)]*\)/, "]", line)
    if (length(line) > 100) { print FILENAME ":" FNR ": " length(line) " columns, at most 100"; bad = 1 }
}
END { exit bad }' $(git ls-files 'include/*.h' 'docs/*.md') || bad=1
exit "$bad"
