/*
 * ptx2c [--coverage] FILE.ptx: the C of its kernels, a statement a statement, on standard output. An opcode or a feature that it
 * doesn't know is one sentence that names the line, and exit 2: nothing is left out in silence. Source: NVIDIA, PTX ISA 9.0.
 */
#include "c_text.h"
#include "ptx_text.h"
#include "put.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put_instruction(const reader *r, instruction *i);

/* Takes a modifier out. False: there is none. */
static bool take_modifier(instruction *i, const char *word)
{
    for (int p = 1; p + 1 < i->parts; p++) {
        if (strcmp(i->part[p], word)) continue;
        memmove(&i->part[p], &i->part[p + 1], (size_t)(i->parts - p - 1) * sizeof *i->part);
        return i->parts--, true;
    }
    return false;
}

/* The format of what an instruction gives, and of what it takes. */
static const char *type_given(const instruction *i)
{
    bool const converts = !strcmp(i->part[0], "cvt");
    return !strcmp(i->part[0], "setp") ? "pred" : i->part[i->parts - 1 - converts];
}

/* .ftz: what goes in is flushed, then what comes out. */
static bool put_flushing(const reader *r, instruction *i)
{
    if (!take_modifier(i, "ftz")) return false;
    for (int k = 1; k < i->operands && !strcmp(type_of(i), "f32"); k++) {
        if (strchr("{[", *i->operand[k])) stop(r, "%s.ftz of pairs isn't known", i->part[0]);
        printf("uint32_t const r_ftz%d = bits_of_f32(flushed(%s)); ", k, value(r, i->operand[k], "f32"));
        sprintf(i->operand[k], "%%ftz%d", k);
    }
    char to[sizeof *i->operand];
    snprintf(to, sizeof to, "%s", i->operand[0]);
    bool const gives = !strcmp(type_given(i), "f32");
    put_instruction(r, i);
    if (gives) put(r, to, "f32", "flushed(of_bits_f32(%s))", c_name(to));
    return true;
}

/* .sat of a float. */
static bool put_saturating(const reader *r, instruction *i)
{
    const char *const type = type_given(i);
    char to[sizeof *i->operand];
    if (!is_float(type) || !take_modifier(i, "sat")) return false;
    snprintf(to, sizeof to, "%s", i->operand[0]);
    put_instruction(r, i);
    put(r, to, type, "saturated(of_bits_%s(%s))", type, c_name(to));
    return true;
}

static void put_instruction(const reader *r, instruction *i)
{
    const char *const head = i->part[0];
    if (!strcmp(head, "exit") && r->in_function)
        stop(r, "exit in a function isn't known");
    else if (!strcmp(head, "call"))
        put_call(r, i);
    else if (!strcmp(head, "ret") || !strcmp(head, "exit"))
        puts("return;");
    else if (!strcmp(head, "bra"))
        need(r, i, 1), printf("goto %s;\n", c_name(i->operand[0]));
    else if (!put_flushing(r, i) && !put_saturating(r, i) && !put_wgmma(r, i) && !put_memory(r, i) && !put_warp(r, i) &&
             !put_arithmetic(r, i))
        stop(r, "opcode %s with type .%s isn't known", head, type_of(i));
}

/* %r<27>, or t, of the registers of one type. */
static void put_register(reader *r, const char *text, const char *type)
{
    char name[200];
    int count = -1;
    if (sscanf(text, " %199[^< ]<%d>", name, &count) < 1) stop(r, "register %s isn't known", text);
    if (count < 0 && *name != '%' && r->bare.count < SYMBOLS)
        snprintf(r->bare.item[r->bare.count++].name, sizeof r->bare.item->name, "%s", name);
    if (!find(&r->registers, name) && r->registers.count < SYMBOLS)
        snprintf(r->registers.item[r->registers.count++].name, sizeof r->registers.item->name, "%s", name);
    printf("%s ", c_bits(r, type));
    if (count < 0) printf("%s", c_name(name));
    for (int k = 0; k < count; k++) printf("%s%s%d", k ? ", " : "", c_name(name), k);
    puts(";");
}

/* .reg .b32 %r<27>; or .reg .b32 t, u; */
static void put_registers(reader *r, char *text)
{
    char type[20];
    int names = 0;
    if (sscanf(text, " .reg .%19s %n", type, &names) < 1 || !names) stop(r, "%s isn't known", text);
    if (!width_of(type)) stop(r, "registers of type .%s aren't known", type);
    char *rest = NULL;
    for (char *name = strtok_r(text + names, ",", &rest); name; name = strtok_r(NULL, ",", &rest))
        put_register(r, name, type);
}

/* Arrays of a thread: nobody wrote them yet. */
static void put_local(reader *r, const char *text)
{
    enum { MOST = 1 << 16 }; /* the stack of a thread has twice that */
    read_symbol(r, text, &r->local);
    if (r->local.end > MOST) stop(r, "a thread's own arrays have %u bytes, at most %d are known", r->local.end, MOST);
    const symbol *const v = &r->local.item[r->local.count - 1];
    printf("uint8_t %s[%u] __attribute__((aligned(16))); memset(%s, 0xff, %u);\n", c_name(v->name), v->size,
           c_name(v->name), v->size);
}

/* .const .align 4 .b8 name[8] = {1, 2, 3, 4, 5}; 0 where nothing is said. */
static void put_array(reader *r, char *text)
{
    char *const is = strchr(text, '='), type[20] = "";
    if (is) *is = 0;
    read_symbol(r, text, &r->module);
    const symbol *const v = &r->module.item[r->module.count - 1];
    const char *const name = c_name(v->name), *const values = is ? trimmed(is + 1) : "{0}";
    for (const char *s = text; (s = strchr(s, '.')); s++) /* the last word with a dot that is a type */
        if (sscanf(s, ".%19[a-z0-9]", type) == 1 && width_of(type)) break;
    if (is && (is_float(type) || strspn(values, "{}-0123456789, \n\t\r") != strlen(values)))
        stop(r, "what %s begins with isn't known", v->name);
    printf("static %s %s[%u] __attribute__((aligned(16))) = %s%s%s;\n", c_type(r, type), name, v->size / width_of(type),
           *values == '{' ? "" : "{", values, *values == '{' ? "" : "}");
    printf("__attribute__((constructor)) static void announce_%s(void)\n{\n    runtime_memory(\"%s\", %s, %u);\n}\n",
           name, v->name, name, v->size);
}

/* Counts the instructions since the last place where some go another way. */
static void put_issued(reader *r)
{
    if (r->issued) printf("*issued += %d;\n", r->issued);
    r->issued = 0;
}

/* May blocks tell each other something by it, or time? */
static bool tells_blocks(const instruction *i)
{
    static const char *const words[] = {"volatile", "relaxed", "acquire", "release", "acq_rel"};
    const char *const head = i->part[0];
    bool tells = !strcmp(head, "atom") || !strcmp(head, "red");
    for (size_t w = 0; w < sizeof words / sizeof *words; w++) tells |= has(i, words[w]);
    if (!strcmp(head, "membar") || (!strcmp(head, "fence") && !has(i, "proxy"))) return true;
    for (int o = 0; o < i->operands; o++)
        if (!strncmp(i->operand[o], "%clock", 6) || !strncmp(i->operand[o], "%globaltimer", 12)) return true;
    return tells && !has(i, "shared");
}

/* One statement of a body: a label, a scope, a declaration or an instruction. False: the body ended. */
static bool put_statement(reader *r, int *depth)
{
    char text[TEXT];
    instruction *const i = calloc(1, sizeof *i);
    bool more = true;
    if (take(r, "{"))
        puts("{"), ++*depth;
    else if (take(r, "}"))
        put_issued(r), puts("}"), more = --*depth > 0;
    else if (!*r->at)
        stop(r, "the file ends inside a kernel");
    else if (take_until(r, ";:", text, sizeof text) == ':')
        put_issued(r), printf("%s:;\n", c_name(trimmed(text)));
    else if (!strncmp(trimmed(text), ".reg", 4))
        put_registers(r, trimmed(text));
    else if (!strncmp(trimmed(text), ".shared", 7))
        read_symbol(r, trimmed(text), &r->shared);
    else if (!strncmp(trimmed(text), ".param", 6))
        put_passed(r, trimmed(text));
    else if (!strncmp(trimmed(text), ".callprototype", 14))
        stop(r, "a call by address isn't known");
    else if (!strncmp(trimmed(text), ".local", 6))
        put_local(r, trimmed(text));
    else if (!strncmp(trimmed(text), ".pragma", 7) || !*trimmed(text))
        ;
    else if (*trimmed(text) == '.')
        stop(r, "%s isn't known here", trimmed(text));
    else {
        read_instruction(r, text, i);
        r->issued++;
        r->alone |= tells_blocks(i);
        if (!strcmp(i->part[0], "bra") || !strcmp(i->part[0], "ret")) put_issued(r);
        if (r->coverage) printf("reached[%d] |= 1; ", r->line);
        if (*i->guard) printf("if (%s) ", value(r, i->guard, "pred"));
        printf("{ ");
        if (r->coverage) printf("reached[%d] |= 2; ", r->line);
        put_touches(r, i);
        put_instruction(r, i);
        puts("}");
    }
    free(i);
    return more;
}

/* Behind ".entry": name, parameters, body. */
static void put_kernel(reader *r)
{
    char text[TEXT], name[400];
    int depth = 0;
    symbols const of_file = r->shared;
    bool const of_functions = r->alone;
    take_name(r, name, sizeof name);
    r->param = r->bare = r->registers = r->local = r->passed = (symbols){0};
    if (!take(r, "(")) stop(r, "kernel %s has no list of parameters", name);
    while (!take(r, ")")) {
        char const end = take_until(r, ",)", text, sizeof text);
        read_symbol(r, text, &r->param);
        if (end == ')') break;
    }
    while (skip_space(r), *r->at == '.') take_until(r, "\n", text, sizeof text); /* .maxntid and so on */
    if (r->kernels == KERNELS) stop(r, "more than %d kernels", KERNELS);
    snprintf(r->kernel[r->kernels].name, sizeof r->kernel->name, "%s", name);
    r->kernel[r->kernels].param = r->param;
    find_wgmma_registers(r);
    printf("static void k_%d(machine *m, const uint8_t *param)\n", r->kernels);
    puts("{ uint64_t *const issued = machine_issued(m);");
    put_wgmma_registers(r);
    while (put_statement(r, &depth)) continue;
    puts("}");
    r->kernel[r->kernels].alone = r->alone;
    r->kernel[r->kernels++].shared = r->shared.end;
    r->shared = of_file, r->alone = of_functions;
}

/* Behind ".func". */
static void put_function(reader *r)
{
    symbols const of_file = r->shared;
    int depth = 1;
    r->in_function = true, r->wgmma.count = 0;
    if (put_function_head(r))
        while (put_statement(r, &depth)) continue;
    if (r->shared.end != of_file.end) stop(r, "shared memory of a function isn't known");
    r->in_function = false;
}

static void put_table(const reader *r)
{
    for (int k = 0; k < r->kernels; k++) {
        const symbols *const p = &r->kernel[k].param;
        printf("static const uint32_t offset_%d[] = {0", k);
        for (int i = 0; i < p->count; i++) printf("%s%u", i ? ", " : " + ", p->item[i].offset);
        printf("}, size_%d[] = {0", k);
        for (int i = 0; i < p->count; i++) printf("%s%u", i ? ", " : " + ", p->item[i].size);
        puts("};");
    }
    puts("static const kernel kernels[] = {");
    for (int k = 0; k < r->kernels; k++)
        printf("    {\"%s\", \"%s\", k_%d, %u, %d, offset_%d, size_%d, \"%s\", %s},\n", r->kernel[k].name, r->path, k,
               r->kernel[k].shared, r->kernel[k].param.count, k, k, r->target,
               r->kernel[k].alone || r->alone ? "true" : "false");
    printf("};\n__attribute__((constructor)) static void announce(void)\n{\n    runtime_kernels(kernels, %d);\n}\n",
           r->kernels);
}

/* Where statements note that they ran (coverage.h). */
static void put_coverage(const reader *r)
{
    int lines = r->line + 1;
    for (const char *s = r->at; *s; s++) lines += *s == '\n';
    printf("#include \"coverage.h\"\nstatic uint8_t unkept[%d], *reached = unkept;\n", lines);
    printf("__attribute__((constructor)) static void keep(void)\n{\n    reached = kept_lines(\"%s\", unkept, %d);\n}\n",
           r->path, lines);
}

static void put_all(reader *r)
{
    char text[TEXT];
    bool version = false;
    puts("#include \"translated.h\"");
    if (r->coverage) put_coverage(r);
    for (skip_space(r); *r->at; skip_space(r)) {
        r->external |= !strncmp(r->at, ".extern", 7);
        if (take(r, ".visible") || take(r, ".weak") || take(r, ".extern")) continue;
        if (take(r, ".entry"))
            put_kernel(r);
        else if (take(r, ".func"))
            put_function(r), r->external = false;
        else if (!strncmp(r->at, ".shared", 7))
            take_until(r, ";", text, sizeof text), read_symbol(r, text, &r->shared);
        else if (!strncmp(r->at, ".const", 6) || !strncmp(r->at, ".global", 7))
            take_until(r, ";", text, sizeof text), put_array(r, text);
        else if (take(r, ".target"))
            take_until(r, "\n", text, sizeof text), sscanf(text, " %15[a-z0-9_]", r->target);
        else if (!strncmp(r->at, ".version", 8) || !strncmp(r->at, ".address_size", 13))
            version = true, take_until(r, "\n", text, sizeof text);
        else {
            take_name(r, text, sizeof text);
            stop(r, "%s isn't known at the level of the file", text);
        }
    }
    if (!version) stop(r, "it is no PTX: .version isn't there");
    if (r->kernels) put_table(r);
}

static char *read_file(const char *path)
{
    FILE *const f = fopen(path, "rb");
    size_t room = 1 << 16, n = 0, got;
    char *text = f ? malloc(room + 1) : NULL;
    while (text && (got = fread(text + n, 1, room - n, f)) > 0)
        if ((n += got) == room) text = realloc(text, (room *= 2) + 1);
    if (f) fclose(f);
    if (text) text[n] = 0;
    return text;
}

/* What says which lines of a source the code came from (nvcc -lineinfo) is no code. */
static void blank_source_lines(char *text)
{
    bool section = false;
    for (char *s = text; *s; s += *s == '\n') {
        size_t const n = strcspn(s, "\n");
        const char *const word = s + strspn(s, " \t");
        section |= !strncmp(word, ".section", 8);
        bool const last = section && *word == '}', loc = !strncmp(word, ".loc", 4) && isspace((unsigned char)word[4]);
        if (section || loc || !strncmp(word, ".file", 5)) memset(s, ' ', n);
        section &= !last;
        s += n;
    }
}

int main(int argc, char **argv)
{
    bool const coverage = argc == 3 && !strcmp(argv[1], "--coverage");
    if (argc != 2 + coverage)
        return fputs("usage: ptx2c [--coverage] FILE.ptx\n\nThe C of its kernels, on standard output.\n", stderr), 2;
    const char *const path = argv[1 + coverage];
    char *const text = read_file(path);
    reader *const r = calloc(1, sizeof *r);
    if (!text || !r) return fprintf(stderr, "ptx2c: %s: it can't be read\n", path), 2;
    blank_comments(text);
    blank_source_lines(text);
    *r = (reader){.path = path, .at = text, .line = 1, .coverage = coverage};
    put_all(r);
    free(text), free(r);
    return 0;
}
