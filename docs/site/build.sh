#!/bin/sh
# build.sh FOLDER   README.md and docs/ as HTML pages in FOLDER, by pandoc with template.html, style.css and pages.lua
# build.sh --check  says in one sentence that pandoc is missing, else nothing
# Every page is made of a Markdown file that lies beside it: a copy of the repository's, or one made here of what
# verify lists. BUILD: the folder of bin/verify; RESULTS: what verify run --format=jsonl wrote, if there is such a file.
set -eu
BUILD=${BUILD:-build} RESULTS=${RESULTS:-$BUILD/ci/results.jsonl}
site=${0%/*}

# Page and name in the navigation, in its order. A document that isn't named here comes last, under its title.
order='README.md Start
porting.md Porting guide
learning.md Learning the model
support.md What is judged
components/index.md Components
quirks.md Known mistakes
numerics.md Numerics
claims.md Claims
harness.md Harness
bench.md Speed
studies.md Studies
fast.md AVX-512 backend
formats.md Formats
glossary.md Glossary
adding-an-op.md Adding an op'

title_of() { sed -n '/^# /{s///p;q;}' "$1"; }

html_of() { case $1 in README.md) echo index.html ;; *) echo "${1%md}html" ;; esac; }

# ---- pages made of what verify lists ----

quirks() {
    listed=$("$BUILD/bin/verify" list --quirks)
    echo '# Known mistakes'
    echo
    echo 'A row of the matrix is an op, a column the letter that names of mistakes begin with;'
    echo 'the numbers in a cell are those behind the letter, and lead to what is done.'
    echo 'Evidence: [V3] seen in code for DeepSeek-V2 or V3, [SIB] in a sibling that has the same mechanism,'
    echo '[GEN] in other engines; INFERRED: the mechanism is plain, no public case was found.'
    printf '%s\n' "$listed" | awk -f "$site/quirks.awk"
}

components() {
    listed=$("$BUILD/bin/verify" list --ops)
    echo '# Components'
    echo
    echo '| op | what it gives |'
    echo '|---|---|'
    printf '%s\n' "$listed" | awk '
        /^[a-z]/ { op = $0; next }
        op { sub(/^ */, ""); gsub(/[|*<_\\]/, "\\\\&"); print "| [" op "](" op ".md) | " $0 " |"; op = "" }'
}

# The first word of each row is a link to the page of the op.
support() {
    echo '# What is judged'
    echo
    sed -n '/^| op | formats/,/^$/p' README.md | sed '1!s,^| \([a-z_][a-z_]*\),| [\1](components/\1.md),'
    [ -f "$RESULTS" ] || return 0
    listed=$("$BUILD/bin/verify" list --matrix "--results=$RESULTS")
    echo '## What passed'
    echo
    echo "Counted from results of $(date -r "$RESULTS" +%F):"
    echo
    printf '%s\n' "$listed" | awk -F '  +' '
        !NF { behind = 1; print; next }
        behind { gsub(/[|*<_\\]/, "\\\\&"); print "- " $0; next }
        NR > 1 { $1 = "[" $1 "](components/" $1 ".md)" }
        { row = "|"; rule = "|"; for (i = 1; i <= NF; i++) { row = row " " $i " |"; rule = rule "---|" }; print row }
        NR == 1 { print rule }'
}

# ---- the folder ----

sources() {
    mkdir -p "$out/components" "$out/figures"
    cp README.md docs/*.md "$site/style.css" "$out"
    cp docs/components/*.md "$out/components"
    cp docs/figures/*.svg "$out/figures"
    quirks >"$out/quirks.md"
    components >"$out/components/index.md"
    support >"$out/support.md"
}

# All pages with their names, in the order of the navigation: components behind the page that lists them.
pages() {
    echo "$order" | while read -r page name; do
        echo "$page $name"
        [ "$page" = components/index.md ] || continue
        for component in docs/components/*.md; do echo "components/${component##*/} $(basename "$component" .md)"; done
    done
    for document in docs/*.md; do
        echo "$order" | grep -q "^${document##*/} " || echo "${document##*/} $(title_of "$document")"
    done
}

# navigation PAGE ROOT: the list of all pages, as PAGE links to them; ROOT leads from PAGE to the folder.
navigation() {
    pages | while read -r page name; do
        kind=document mark=
        case $page in components/index.md) ;; components/*) kind=component ;; esac
        [ "$page" != "$1" ] || mark=' aria-current="page"'
        echo "<li class=\"$kind\"><a href=\"$2$(html_of "$page")\"$mark>$name</a></li>"
    done
}

# The path in the repository of what a page is made of.
source_of() {
    case $1 in
    README.md) echo README.md ;;
    quirks.md) echo 'verify list --quirks' ;;
    support.md) echo 'README.md and verify list --matrix' ;;
    components/index.md) echo 'verify list --ops' ;;
    *) echo "docs/$1" ;;
    esac
}

make_page() {
    root=
    case $1 in */*) root=../ ;; esac
    toc=
    [ "$(grep -c '^###* ' "$out/$1")" -lt 3 ] || toc='--toc --toc-depth=3'
    ROOT=$root QUIRKS="$out/quirks.md" pandoc --from=gfm --to=html5 --no-highlight --wrap=preserve $toc \
        --template="$site/template.html" --lua-filter="$site/pages.lua" --variable=root="$root" \
        --variable=file="${1##*/}" --variable=source="$(source_of "$1")" \
        --variable=navigation="$(navigation "$1" "$root")" \
        --output="$out/$(html_of "$1")" "$out/$1"
}

if ! command -v pandoc >/dev/null; then
    echo "docs: pandoc is missing here: install Debian's package pandoc (apt-get install pandoc)" >&2
    exit 2
fi
if [ "$#" -ne 1 ]; then
    echo "build.sh: the folder that the pages go to is missing, or too much is given: build.sh build/docs" >&2
    exit 2
fi
[ "$1" != --check ] || exit 0
out=$1
sources
pages | while read -r page name; do make_page "$page"; done
