# PTX without comments, in which names of what is a file's own are alike everywhere: nvcc's have a hash and its process in them. The
# number before such a name is its length. Theirs is what g++ and clang say, or that of -v own=NAME.
/^\/\// { next }
BEGIN { if (!own) own = "12_GLOBAL__N_1" }
{
    line = ""
    while (match($0, /[0-9]+(_GLOBAL__N_|_INTERNAL_)/)) {
        line = line substr($0, 1, RSTART - 1) own
        $0 = substr($0, RSTART)
        digits = match($0, /_/) - 1
        $0 = substr($0, digits + 1 + substr($0, 1, digits))
    }
    print line $0
}
