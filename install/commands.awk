# Reads the --help of a program: a line "NAME<tab>SUMMARY" for each of its commands. -v program=dsv3-verify
function clean(text) {
    sub(";? *[^ ]+ [^ ]+ --help$", "", text)
    return text
}
/^  [a-z][a-z_-]*( |$)/ && $1 != program {
    name = $1
    text = substr($0, 3)
    if (match(text, "   *[^ ].*$")) text = substr(text, RSTART)
    else text = substr(text, length(name) + 1)
    gsub("^ +", "", text)
    if (text == "") { waiting = name; next }
    if (!(name in seen)) { seen[name] = 1; print name "\t" clean(text) }
    next
}
waiting != "" {
    gsub("^ +", "")
    if (!(waiting in seen)) { seen[waiting] = 1; print waiting "\t" clean($0) }
    waiting = ""
}
