/* The ports that come with the harness; the only place that names them. */
#include "backends.h"

#include "files/products.h"
#include "files/unknown_word.h"
#include "kernels.h"
#include "printable.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

extern const dsv3_backend dsv3_backend_avx512, dsv3_backend_portable, dsv3_backend_cuda;

typedef struct {
    const char *name;
    backend_kind kind;
    const dsv3_backend *table;
    const char *path;   /* below the folder of build products */
    const char *absent; /* when the file isn't there */
} known;

static const known list[] = {
    {"plain", BACKEND_SHARED_OBJECT, NULL, "ports/plain.so", "not built: make"},
    {"avx512", BACKEND_BUILT_IN, &dsv3_backend_avx512, NULL, NULL},
    {"portable", BACKEND_BUILT_IN, &dsv3_backend_portable, NULL, NULL},
    {"cuda", BACKEND_BUILT_IN, &dsv3_backend_cuda, NULL, NULL},
    {"transformers", BACKEND_PROGRAM, NULL, "ports/transformers", "not installed: make transformers-port"},
};
#define UNNAMED  "exec" /* a program that hasn't said its name */
#define NAMELESS "port" /* one that has none: a file .so */
enum { KNOWN = sizeof list / sizeof *list };

const char *backend_known(int i)
{
    return i >= 0 && i < KNOWN ? list[i].name : NULL;
}

/* Without a device the CUDA backend runs on the machine of cuda/emu, where that was built. */
static void resolve_cuda(const char *folder, backend *out)
{
    bool const device = !access("/dev/nvidiactl", F_OK) || !access("/dev/dxg", F_OK);
    char path[sizeof out->target];
    out->shows_device = true;
    snprintf(path, sizeof path, "%s/ports/cuda_machine.so", folder);
    if (device || access(path, F_OK)) return;
    *out = (backend){.kind = BACKEND_SHARED_OBJECT, .emulated = true};
    snprintf(out->name, sizeof out->name, "cuda(" CUDA_TARGET " PTX on CPU)");
    snprintf(out->target, sizeof out->target, "%s", path);
}

static bool resolve_known(const known *k, backend *out)
{
    struct stat st;
    char folder[512];
    out->kind = k->kind;
    out->table = k->table;
    snprintf(out->name, sizeof out->name, "%s", k->name);
    products_folder(folder, sizeof folder);
    if (k->table == &dsv3_backend_cuda) resolve_cuda(folder, out);
    if (!k->path) return true;
    snprintf(out->target, sizeof out->target, "%s/%s", folder, k->path);
    const char *const where = program_is_installed() ? ", in the source tree, and take its build/bin/verify" : "";
    if (stat(out->target, &st) != 0) snprintf(out->absent, sizeof out->absent, "%s%s", k->absent, where);
    return true;
}

/* A name that may stand between double quotes, or at the beginning of a line, in any report or log, and that is seen there. */
static void set_name(backend *out, const char *name)
{
    if (!name[strspn(name, " ")]) name = NAMELESS;
    printable(out->name, sizeof out->name, name, strlen(name), false);
    for (char *c = out->name; *c; c++)
        if (*c == '"' || *c == '\\' || (*c == ':' && c == out->name)) *c = '_';
}

/* ".so", or ".so.1", at the end of a name; NULL: there is none. */
static char *ending_of(char *name)
{
    for (char *dot = strstr(name, ".so"); dot; dot = strstr(dot + 1, ".so"))
        if (!dot[3] || dot[3] == '.') return dot;
    return NULL;
}

static void name_after_file(const char *path, backend *out)
{
    const char *const slash = strrchr(path, '/');
    set_name(out, slash && slash[1] ? slash + 1 : path);
    char *const end = ending_of(out->name);
    if (end) *end = 0;
    if (!out->name[strspn(out->name, " ")]) set_name(out, NAMELESS);
}

void backend_call(backend *b, const char *name)
{
    if (*name && !strcmp(b->name, UNNAMED)) set_name(b, name);
}

void backends_number(backend all[], int count)
{
    for (int i = count - 1; i > 0; i--) {
        int number = 1;
        for (int k = 0; k < i; k++) number += !strcmp(all[k].name, all[i].name);
        char end[16] = "";
        if (number > 1) snprintf(end, sizeof end, "#%d", number);
        size_t const room = sizeof all[i].name - 1 - strlen(end), length = strlen(all[i].name);
        strcpy(all[i].name + (length < room ? length : room), end);
    }
}

static bool refuse_unknown(const char *text, complaint *why)
{
    unknown_word u = {.word = text};
    refuse(why, "unknown backend '%.100s'", text);
    for (int i = 0; i < KNOWN; i++) unknown_word_offer(&u, list[i].name);
    unknown_word_refuse(&u, "it takes", why);
    return u.nearest ? false : refuse_more(why, ", a path such as ./port.so, cuda:./kernels.cu, or exec:'command'");
}

bool backend_is_program(const char *text)
{
    for (int i = 0; i < KNOWN; i++)
        if (!strcmp(list[i].name, text)) return list[i].kind == BACKEND_PROGRAM;
    return !strncmp(text, "exec:", 5);
}

double start_seconds(bool program, port_limits limits)
{
    if (limits.start > 0) return limits.start;
    return program ? START_SECONDS : limits.timeout;
}

bool backend_resolve(const char *text, backend *out, complaint *why)
{
    memset(out, 0, sizeof *out);
    for (int i = 0; i < KNOWN; i++)
        if (!strcmp(list[i].name, text)) return resolve_known(&list[i], out);
    if (!strcmp(text, "cuda:")) return refuse(why, "'cuda:' names no file: write it behind, as in cuda:./kernels.cu");
    if (!strncmp(text, "cuda:", 5)) {
        out->kind = BACKEND_SHARED_OBJECT;
        return kernels_build(text + 5, out, why);
    }
    bool const program = backend_is_program(text);
    if (!program && !strchr(text, '/')) {
        return refuse_unknown(text, why);
    }
    const char *const target = program ? text + 5 : text;
    if (!*target) return refuse(why, "backend '%.40s' names no %s", text, program ? "command" : "file");
    if (strlen(target) >= sizeof out->target)
        return refuse(why, "backend '%.40s...' is too long: it has %zu bytes, and at most %zu are read", text,
                      strlen(target), sizeof out->target - 1);
    out->kind = program ? BACKEND_PROGRAM : BACKEND_SHARED_OBJECT;
    snprintf(out->target, sizeof out->target, "%s", target);
    if (program)
        snprintf(out->name, sizeof out->name, UNNAMED);
    else
        name_after_file(target, out);
    return true;
}
