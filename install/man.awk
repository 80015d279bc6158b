# Reads the --help of a program or a command and prints its manual page.
# -v name=dsv3-verify-run -v summary="judge ports on cases" -v version=1.2.3 -v date=2026-01-31 -v also="dsv3-verify(1), ..."
# A help is: usage lines; options, "  --name=VALUE   text"; paragraphs, some of them lists of "  word   text"; "example: ...";
# "exit: 0 ...; 1 ...". Deeper lines go on with the line before.

function plain(text) {
    gsub(/\\/, "\\e", text)
    gsub(/-/, "\\-", text)
    if (text ~ /^[.']/) text = "\\&" text
    return text
}
function heading(title) {
    if (title != printed) print ".SH " title
    printed = title
}
function trim(text) {
    sub(/^ +/, "", text)
    sub(/ +$/, "", text)
    return text
}
# An item of a list: what stands left of the gap, and what it means.
function item(left, right) { print ".TP\n.B " plain(left) "\n" plain(right) }
function split_item(line,   gap) {
    line = substr(line, 3)
    if (match(line, /   *[^ ]/)) item(substr(line, 1, RSTART - 1), trim(substr(line, RSTART)))
    else if (match(line, /^[a-z]+ /)) item(substr(line, 1, RLENGTH - 1), substr(line, RLENGTH + 1))
    else print ".TP\n.B " plain(line)
}
function put_usage(line) {
    sub(/^usage: /, "", line)
    line = trim(line)
    if (line ~ "^dsv3-" && used++) print ".br"
    print plain(line)
}
function flush_exit(   n, i, part) {
    if (codes == "") return
    heading("EXIT STATUS")
    n = split(codes, part, /; /)
    for (i = 1; i <= n; i++) {
        match(part[i], /^[^ ]+ /)
        item(substr(part[i], 1, RLENGTH - 1), substr(part[i], RLENGTH + 1))
    }
}
BEGIN {
    print ".\\\" Made from " name "'s --help by install/man.awk."
    printf ".TH %s 1 \"%s\" \"dsv3 %s\" \"User Commands\"\n", toupper(name), date, version
    print ".SH NAME\n" plain(name) " \\- " plain(summary)
    heading("SYNOPSIS")
    print ".nh\n.ad l"
    part = "usage"
}
/^$/ {
    if (part == "usage") part = ""
    gap = 1
    next
}
part == "usage" { put_usage($0); next }
/^exit: / || (part == "exit" && !gap) { part = "exit"; gap = 0; sub(/^exit: /, ""); codes = codes (codes == "" ? "" : " ") trim($0); next }
/ exit: 0 / { split($0, half, / exit: /); codes = half[2]; $0 = half[1]; part = "" }
/^example: / { heading("EXAMPLES"); print ".nf"; sub(/^example: */, ""); print plain($0) "\n.fi"; part = "text"; next }
/^  -/ { part = "options"; heading("OPTIONS"); gap = 0; split_item($0); next }
part == "options" && !gap { print plain(trim($0)); next }
{
    heading(printed == "OPTIONS" || printed == "NOTES" ? "NOTES" : "DESCRIPTION")
    if (/^  [^ ]/) split_item($0)
    else {
        if (gap || (listed && !/^    /)) print ".PP"
        print plain(trim($0))
    }
    listed = /^  /
    gap = 0
    part = "text"
}
END {
    flush_exit()
    heading("SEE ALSO")
    if (also != "") print plain(also)
    print ".PP\nThe documents that the texts name lie in share/doc/dsv3 of the prefix."
}
