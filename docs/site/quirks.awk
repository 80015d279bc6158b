# What verify list --quirks prints, as Markdown: a matrix of ops and mistakes, then a table for each op.
# A mistake has two lines: name, op and what is done; the evidence. A name is a letter, a number and words.

function plain(text) { gsub(/[|*<_\\]/, "\\\\&", text); return text }

function new_op() { if (!(op in rows)) ops[++op_count] = op }

function new_letter() { if (!(letter in column)) { column[letter] = ++columns; head[columns] = letter } }

NR % 2 {
    name = $1; op = $2
    new_op()
    letter = substr(name, 1, 1)
    new_letter()
    i = column[letter]
    number = substr(name, 2) + 0
    if (number > last) last = number
    links[op, i, number] = links[op, i, number] " [" number "](#" name " \"" name "\")"
    sub(/^[^ ]+ +[^ ]+ +/, "")
    what = $0
    next
}

{
    sub(/^ +/, "")
    rows[op] = rows[op] "| <a id=\"" name "\"></a>`" name "` | " plain(what) " | " plain($0) " |\n"
}

# The links of an op under a letter, by their numbers.
function cell(op, i,   n, text) {
    for (n = 0; n <= last; n++) text = text links[op, i, n]
    return text
}

END {
    top = "| op |"; rule = "|---|"
    for (i = 1; i <= columns; i++) { top = top " " head[i] " |"; rule = rule "---|" }
    print "\n" top "\n" rule
    for (o = 1; o <= op_count; o++) {
        row = "| [" plain(ops[o]) "](#" ops[o] ") |"
        for (i = 1; i <= columns; i++) row = row cell(ops[o], i) " |"
        print row
    }
    for (o = 1; o <= op_count; o++) {
        print "\n## " plain(ops[o]) "\n\nThe op: [" plain(ops[o]) "](components/" ops[o] ".md).\n"
        printf "%s", "| mistake | what is done | evidence |\n|---|---|---|\n" rows[ops[o]]
    }
}
