#!/bin/sh
# completion.sh PROGRAM VERIFY   prints bash's completion of PROGRAM (dsv3-verify or dsv3-bench), made from its --help and from
#                                the tables of ops that VERIFY lists
set -e
here=$(cd "$(dirname "$0")" && pwd)
program=$1 verify=$2 name=$(basename "$1")
commands=$("$program" --help | awk -v program="$name" -f "$here/commands.awk" | cut -f 1)
ops=$("$verify" list --cases @smoke | sed 's/@.*//' | sort -u)

# "run) words='--backend= --strict' ;;" of each command.
options() {
    for c in $commands; do
        words=$("$program" "$c" --help | sed -n 's/^  \(--[a-z-]*=\{0,1\}\).*/\1/p')
        [ -z "$words" ] || echo "    $c) words='"$words"' ;;"
    done
}

# Names that a --format may have, of those that the help of a command names.
formats() {
    for c in $commands; do
        help=$("$program" "$c" --help | sed -n '/^  --format/,/^  --[^f]/p')
        words=$(for f in text jsonl json csv md html junit f32 bf16; do echo "$help" | grep -qw "$f" && echo "$f"; done || :)
        [ -z "$words" ] || echo "    $c) words='"$words"' ;;"
    done
}

# "rmsnorm) words='n_tokens= ... x='; fills='real exact' ;;" of each op: its keys, among them tensors of which a format may be chosen.
keys() {
    "$verify" list --ops | awk '
        function flush() { if (op) print "    " op ") words=\047" words "\047 fills=\047" fills "\047 ;;" }
        /^[a-z]/ { flush(); op = $1; words = fills = ""; part = "" }
        /^  (keys|tensors|fills)$/ { part = $1; next }
        /^  [^ ]/ { part = "" }
        /^    [a-z]/ && part == "fills" { fills = fills (fills ? " " : "") $1; next }
        /^    [a-z]/ && (part == "keys" || $3 !~ /^\(/) && $1 !~ /#/ { words = words (words ? " " : "") $1 "=" }
        END { flush() }'
}

case $name in
*bench)
    lists='@perf @layer @exact @peers' cases='run compare exact peers'
    studies=$("$program" plot --help | sed -n '1s/^usage: [a-z0-9-]* plot \([a-z|]*\).*/\1/p' | tr '|' ' ')
    ;;
*) lists='@smoke @ci' cases='run show list bundle shrink' studies= ;;
esac
f=_$(echo "$name" | tr - _)
cat <<END
# bash's completion of $name, made from its --help and its tables by install/completion.sh.

# ${f}_options COMMAND, ${f}_formats COMMAND, ${f}_keys OP: words, and the op's fills.
${f}_options() {
    words=
    case \$1 in
$(options)
    esac
}
${f}_formats() {
    words=
    case \$1 in
$(formats)
    esac
}
${f}_keys() {
    words= fills=
    case \$1 in
$(keys)
    esac
}

# Words that may stand where \$word has begun, each with what \$word has before it.
${f}_words() {
    local op stem= words fills name= i
    # A value of an option that takes a case is a case.
    case \$word in --case=*) name=--case word=\${word#--case=} ;; esac
    op=\${word%%@*}
    case \$word in
    --format=*) ${f}_no_files; ${f}_formats "\$command"; stem=\${word%"\${word##*[=,]}"} ;;
    --backend=* | --require=*) words='$(echo $("$verify" list --backends | awk '/^[a-z]/ && $1 !~ /[.:\/]/ { print $1 }'))'; stem=\${word%"\${word##*[=,]}"} ;;
    --out=* | --model=*) case \$command\$word in record--out=*) ;; *) ${f}_folders ;; esac; return ;;
    --balance=*) words='none aux bias'; stem=--balance= ;;
    --dtype=*) words='f32 bf16'; stem=--dtype= ;;
    --profile=*) words='$(echo $("$verify" list --profiles | sed -n 's/^\([a-z][^:]*\):.*/\1/p'))'; stem=--profile= ;;
    --peer=*) words='openblas onednn torch vllm'; stem=--peer= ;;
    --shard=*) words=auto; stem=--shard= ;;
    --tensors=*) words=f32; stem=--tensors= ;;
    -*=*) return ;;
    -*) [ -n "\$command" ] || { ${f}_operands; return; }; ${f}_options "\$command"; words+=' --help' ;;
    *[\;/]fill=*) ${f}_keys "\$op"; words=\$fills; stem=\${word%"\${word##*[=|]}"} ;;
    *@*\;*) words='fill= seed='; stem=\${word%"\${word##*;}"} ;;
    [a-z]*@*=*) case \${word##*[:,]} in *=*) ${f}_no_files; return ;; esac; ${f}_keys "\$op"; stem=\${word%"\${word##*[:,]}"} ;;
    [a-z]*@*[:,]*) ${f}_keys "\$op"; stem=\${word%"\${word##*[:,]}"} ;;
    [a-z]*@*) words='v3 tiny odd edge'; stem=\$op@ ;;
    *) if [ -n "\$name" ]; then ${f}_cases; else ${f}_operands; fi; return ;;
    esac
    # Each once, in a list with commas.
    case \$stem in
    --*=*,) words=\$(for i in \$words; do case ",\${stem#*=}" in *,"\$i",*) ;; *) echo "\$i" ;; esac; done) ;;
    esac
    words=\$(compgen -P "\$stem" -W "\$words" -- "\${word#"\$stem"}")
    candidates=(\$words)
}
# Not even where there are no candidates.
${f}_no_files() {
    compopt +o default 2>/dev/null
}
${f}_cases() {
    candidates=(\$(compgen -W '$lists $(echo $ops | sed 's/\([a-z_0-9]*\)/\1@/g')' -- "\$word"))
}
${f}_folders() {
    local begun=\$word
    case \$word in --*=*) begun=\${word#*=} ;; esac
    mapfile -t candidates < <(compgen -P "\${word%"\$begun"}" -d -- "\$begun")
    compopt -o filenames 2>/dev/null
}
# Where a file stands there are no candidates: bash offers files then.
${f}_operands() {
    local words=
    case \$command\$COMP_CWORD in
    bundle2) candidates=(make); return ;;
    bundle3 | new3 | model2) ${f}_folders; return ;;
    compare[23] | exact[23]) return ;;
    plot2) candidates=(\$(compgen -W '$studies' -- "\$word")); return ;;
    new2) candidates=(\$(compgen -W 'c python' -- "\$word")); return ;;
    help2) candidates=(\$(compgen -W '$(echo $commands)' -- "\$word")); return ;;
    list2 | declare*) candidates=(\$(compgen -W '$(echo $ops)' -- "\$word")); return ;;
    esac
    case " $cases " in *" \$command "*) ${f}_cases; return ;; esac
    [ -n "\$command" ] || words='$(echo $commands) help --help --version'
    candidates=(\$(compgen -W "\$words" -- "\$word"))
}

$f() {
    local line=\${COMP_LINE:0:COMP_POINT} word words command= candidates=() i before quoted=
    word=\${line##*[[:blank:]]}
    # A value may stand behind a blank, too.
    line=\${line%"\$word"} line=\${line%"\${line##*[![:blank:]]}"} line=\${line##*[[:blank:]]}
    [ "\$COMP_CWORD" -lt 2 ] || command=\${COMP_WORDS[1]}
    ${f}_options "\$command"
    case \$line in --*) case " \$words " in *" \$line= "*) word=\$line=\$word ;; esac ;; esac
    case \$word in [\\'\\"]*) quoted=1 word=\${word:1} ;; esac
    ${f}_words
    # What bash takes for a word begins behind the last of COMP_WORDBREAKS, but for a quoted one.
    before=\${word%"\${word##*["\$COMP_WORDBREAKS"]}"}
    [ -z "\$quoted" ] || before=
    COMPREPLY=()
    for i in "\${candidates[@]}"; do COMPREPLY+=("\${i#"\$before"}"); done
    if [ "\${#COMPREPLY[@]}" -eq 1 ]; then case \${candidates[0]} in *[=@]) compopt -o nospace 2>/dev/null ;; esac; fi
}
complete -o default -F $f $name
END
