# awk -f launch.awk dsv3.h FILE.ptx FILE.launch   the host code, in C, of a launch table: which kernels of the PTX an op is, and what
# they get. docs/cuda.md describes the table. What it can't read is one sentence, and exit 2.

function stop(sentence) {
    printf "%s:%d: %s\n", FILENAME, FNR, sentence >"/dev/stderr"
    stopped = 1
    exit 2
}

# Splits at the commas outside of all parentheses.
function split_outside(text, part,    n, i, c, depth) {
    n = 0
    part[1] = ""
    if (text ~ /^[ \t]*$/) return 0
    n = 1
    for (i = 1; i <= length(text); i++) {
        c = substr(text, i, 1)
        depth += (c ~ /[([{]/) - (c ~ /[])}]/)
        if (c == "," && !depth) part[++n] = ""
        else part[n] = part[n] c
    }
    return n
}

# "weights.gate_proj.weight" and "weights.weight.stride"
function weight_in_c(name,    member) {
    member = name ~ /\.(stride|shape)$/ ? substr(name, match(name, /\.(stride|shape)$/) + 1) : "data"
    sub(/^weights\./, "", name)
    sub(/\.(stride|shape)$/, "", name)
    checks = checks "    if (!has_weight(&io->weights, \"" name "\")) return DSV3_INVALID;\n"
    return (member == "data" ? "(uintptr_t)" : "") "dsv3_find(&io->weights, \"" name "\")->" member
}

# A word of the table in C.
function in_c(word,    base) {
    if (word ~ /^[0-9]/) return word
    if (word ~ /^weights\./) return weight_in_c(word)
    base = word
    sub(/\..*/, "", base)
    if ((op, word) in field) return "p->" word
    if (!((op, base) in tensor)) stop(op " has no '" word "': what it has is in include/dsv3.h; a weight is weights.NAME")
    if (word == base) return "(uintptr_t)io->" word ".data"
    if (word != base ".stride" && word != base ".shape") stop("'" word "': of a tensor there are .stride[I] and .shape[I]")
    return "io->" word
}

function expression(text,    out) {
    out = ""
    while (match(text, /[0-9][0-9A-Za-z.]*|[A-Za-z_][A-Za-z0-9_.]*/)) {
        out = out substr(text, 1, RSTART - 1) in_c(substr(text, RSTART, RLENGTH))
        text = substr(text, RSTART + RLENGTH)
    }
    return out text
}

# "n_tokens" or "dim3(n_tokens, 4)"
function dimensions(text,    part, n, i, out) {
    gsub(/^[ \t]+|[ \t]+$/, "", text)
    if (text ~ /^dim3\(.*\)$/) text = substr(text, 6, length(text) - 6)
    n = split_outside(text, part)
    if (n < 1 || n > 3) stop("a grid or a block has one to three sizes")
    out = ""
    for (i = 1; i <= 3; i++) out = out (i > 1 ? ", " : "") (i <= n ? "(unsigned)(" expression(part[i]) ")" : "1")
    return "(dims){" out "}"
}

# NAME=VALUE of an op's line, as a condition.
function condition(text,    name, value) {
    name = value = text
    sub(/=.*/, "", name)
    sub(/^[^=]*=/, "", value)
    if (text !~ /=./) stop("'" text "' is not NAME=VALUE")
    if ((op, name) in field) return "p->" name " == " value
    if (value !~ /^(f32|bf16|f8_e4m3|i32)$/) stop("'" text "': a format is f32, bf16, f8_e4m3 or i32")
    if (name ~ /^weights\./) return "is_weight(&io->weights, \"" substr(name, 9) "\", DSV3_" toupper(value) ")"
    if (!((op, name) in tensor)) stop(op " has no '" name "'")
    return "io->" name ".dtype == DSV3_" toupper(value)
}

# The kernel of that name: the PTX's own, or that of a plain function of C++.
function find_kernel(name,    k, found) {
    found = 0
    for (k = 1; k <= kernels; k++)
        if (kernel[k] == name || index(kernel[k], "_Z" length(name) name) == 1) {
            if (found) stop("two kernels are called " name ": " kernel[found] " and " kernel[k])
            found = k
        }
    if (!found) stop("the PTX has no kernel " name)
    return found
}

function put_launch(name, config, arguments,    k, n, i, part, shape, type, list) {
    k = find_kernel(name)
    n = split_outside(arguments, part)
    if (n != params[k]) stop(name " takes " params[k] " arguments, and " n " are given")
    body = body "    {\n"
    list = ""
    for (i = 1; i <= n; i++) {
        type = param[k, i]
        if (!(type in c_type)) stop("parameter " i " of " name " is " type ": numbers and pointers are known")
        body = body "        " c_type[type] " a" i " = (" c_type[type] ")(" expression(part[i]) ");\n"
        list = list "&a" i ", "
    }
    n = split_outside(config, shape)
    if (n < 2 || n > 3) stop("it is <<<grid, block>>> or <<<grid, block, bytes of shared memory>>>")
    body = body "        void *const args[] = {" list "NULL};\n        if (!launch(kernel_" k ", " dimensions(shape[1]) \
        ", " dimensions(shape[2]) ", " (n == 3 ? expression(shape[3]) : "0") ", args)) return DSV3_FAILED;\n    }\n"
}

# The row that was being read is whole.
function end_row() {
    if (!op) return
    if (body == "") stop("the row of " op " above has no kernel")
    rows[op]++
    test = "static bool fits_" op "_" rows[op] "(const dsv3_" op "_prob *p, const dsv3_" op "_io *io)\n{\n" \
        "    (void)p, (void)io;\n    return true" fits ";\n}\n"
    code = code test "static dsv3_status run_" op "_" rows[op] "(const dsv3_" op "_prob *p, const dsv3_" op "_io *io)\n{\n" \
        "    (void)p, (void)io;\n" checks body "    return DSV3_OK;\n}\n"
    says[op, rows[op]] = numerics
    op = ""
}

BEGIN {
    c_type[".u64"] = c_type[".s64"] = c_type[".b64"] = "uint64_t"
    c_type[".u32"] = c_type[".s32"] = c_type[".b32"] = "uint32_t"
    c_type[".u16"] = c_type[".s16"] = c_type[".b16"] = "uint16_t"
    c_type[".u8"] = c_type[".s8"] = c_type[".b8"] = "uint8_t"
    c_type[".f32"] = "float"
    c_type[".f64"] = "double"
}

FNR == 1 { file++ }

# The ops, their problems and tensors.
file == 1 && /^struct dsv3_[a-z_]*_(prob|io) \{/ { of = $2; sub(/^dsv3_/, "", of); sub(/_(prob|io)$/, "", of); known[of] = 1 }
file == 1 && /^}/ { of = "" }
file == 1 && of && /^    (int64_t|int32_t|double|dsv3_tensor) [^;]*;/ {
    line = $0
    sub(/;.*/, "", line)
    gsub(/,/, " ", line)
    n = split(line, word, " ")
    for (i = 2; i <= n; i++)
        if (word[1] == "dsv3_tensor") tensor[of, word[i]] = 1
        else field[of, word[i]] = 1
}

# The kernels and what they take.
file == 2 && /\.entry / {
    name = $0
    sub(/.*\.entry +/, "", name)
    sub(/[( ].*/, "", name)
    kernel[++kernels] = name
    params[kernels] = 0
}
file == 2 && kernels && /^[ \t]*\.param / { param[kernels, ++params[kernels]] = $2 }

file < 3 || /^[ \t]*(#.*)?$/ { next }
/^[a-z]/ {
    end_row()
    op = $1
    body = checks = fits = numerics = ""
    if (!(op in known)) stop("there is no op " op)
    for (i = 2; i <= NF; i++) fits = fits " && " condition($i)
    next
}
!op { stop("a row begins with an op, at the left edge") }
$1 == "numerics" {
    numerics = $0
    sub(/^[ \t]*numerics[ \t]+/, "", numerics)
    if (numerics ~ /["\\]/) stop("numerics are words, without quotes")
    next
}
/^[ \t]+[A-Za-z_][A-Za-z0-9_$]*<<<.*>>>\(.*\)[ \t]*$/ {
    name = config = arguments = $0
    gsub(/^[ \t]+|<<<.*/, "", name)
    sub(/^.*<<</, "", config)
    sub(/>>>.*/, "", config)
    sub(/^.*>>>\(/, "", arguments)
    sub(/\)[ \t]*$/, "", arguments)
    put_launch(name, config, arguments)
    next
}
{ stop("it is neither kernel<<<grid, block>>>(arguments) nor numerics") }

END {
    if (stopped) exit 2
    end_row()
    if (stopped) exit 2
    print "#include \"launch.h\""
    for (k = 1; k <= kernels; k++) printf "static const char kernel_%d[] = \"%s\";\n", k, kernel[k]
    printf "__attribute__((constructor)) static void announce_kernels(void)\n{\n"
    for (k = 1; k <= kernels; k++) printf "    know_kernel(kernel_%d);\n", k
    printf "}\n%s", code
    for (o in rows) {
        printf "static dsv3_status op_%s(dsv3_ctx *ctx, const dsv3_%s_prob *p, const dsv3_%s_io *io)\n{\n    (void)ctx;\n", o, o, o
        for (i = 1; i <= rows[o]; i++) printf "    if (fits_%s_%d(p, io)) return run_%s_%d(p, io);\n", o, i, o, i
        print "    return DSV3_UNSUPPORTED;\n}"
    }
    print "static const char *numerics(const char *op, const void *prob, const void *io)\n{"
    for (o in rows)
        for (i = 1; i <= rows[o]; i++)
            printf "    if (!strcmp(op, \"%s\") && fits_%s_%d(prob, io)) return %s;\n", o, o, i,
                says[o, i] == "" ? "NULL" : "\"" says[o, i] "\""
    print "    return NULL;\n}"
    printf "PORT(numerics"
    for (o in rows) printf ", .%s = op_%s", o, o
    print ")"
}
