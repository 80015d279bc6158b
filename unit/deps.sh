#!/bin/sh
# Who may include whom. include: nothing of ours. ref: include. fast, cuda: include. verify: include, ref/ref.h, and
# backends by name in backends.c alone. bench: verify's library and ref/ref.h, ref/ball.h, ref/kernel.h. Nothing else includes
# verify, nothing includes bench. unit may see everything.
bad=0
complain() {
    if [ -n "$1" ]; then
        printf '%s: %s\n' "$2" "$1" >&2
        bad=1
    fi
}
# includes FOLDER ALLOWED...: quoted includes of a folder that are neither its own headers nor allowed
includes() {
    folder=$1
    shift
    own=$(git ls-files "$folder/*.h" "$folder/*.cuh" "$folder/*.def" | sed 's,.*/,,')
    git ls-files "$folder/*.c" "$folder/*.h" "$folder/*.cu" "$folder/*.cuh" "$folder/*.cpp" | while read -r file; do
        sed -n 's/^ *#include "\([^"]*\)".*/\1/p' "$file" | sed 's,.*/,,' | while read -r header; do
            for good in dsv3.h dsv3_config.h $own "$@"; do [ "$header" = "$good" ] && continue 2; done
            echo "$file includes $header"
        done
    done
}
complain "$(includes include)" "include/ knows nobody"
complain "$(includes ref)" "ref/ knows include/ alone"
complain "$(includes fast)" "fast/ knows include/ alone"
complain "$(includes cuda)" "cuda/ knows include/ alone"
# verify: its own folders and ref/ref.h
complain "$(includes bench ref.h ball.h centre_dd.h kernel.h op.h problem.h verdict.h fill.h judge.h process.h)" "bench/ knows ref/ and verify's library"
complain "$(git grep -nE 'dsv3_backend_(avx512|cuda)' -- 'verify/*.c' 'verify/*.h' ':!verify/port/backends.c' | head -3)" "backends are named in verify/port/backends.c alone"
complain "$(git grep -nE 'mpfr|sleef|Sleef' -- 'verify/*.c' 'verify/*.h' 'cuda/' | head -3)" "MPFR belongs to ref/, SLEEF to fast/"
complain "$(git grep -nE 'ffast-math|Ofast|funsafe-math|use_fast_math' -- ':!docs' ':!*.md' ':!unit/deps.sh' | head -3)" "fast-math is allowed nowhere"
[ "$bad" -eq 0 ] && echo "deps: arrows are as drawn"
exit "$bad"
