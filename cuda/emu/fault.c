/* What went wrong on the machine, for whoever judges a port that was linked with it: in the words of the kernel's own source, where its
 * PTX has the lines of one (nvcc -lineinfo). */
#include "runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KNOWN = 256, LINE = 2000 };

/* A line of a source, whose file PTX has a number for. file 0: none. */
typedef struct {
    int file, line;
} spot;

/* Inlined code is known by where it was called; a call stands before what it calls. The last so many. */
typedef struct {
    int count;
    struct {
        spot at, called;
    } item[KNOWN];
} calls;

static spot called_from(const calls *c, spot at)
{
    for (int i = c->count - 1; i >= 0 && i >= c->count - KNOWN; i--)
        if (c->item[i % KNOWN].at.file == at.file && c->item[i % KNOWN].at.line == at.line)
            return c->item[i % KNOWN].called;
    return at;
}

/* A .loc of the PTX: where in the kernel what follows comes from. */
static void read_loc(const char *text, calls *c, spot *now)
{
    spot at, inlined;
    if (sscanf(text, " .loc %d %d", &at.file, &at.line) != 2 || !at.line) return;
    const char *const in = strstr(text, "inlined_at");
    *now = in && sscanf(in, "inlined_at %d %d", &inlined.file, &inlined.line) == 2 ? called_from(c, inlined) : at;
    c->item[c->count % KNOWN].at = at;
    c->item[c->count++ % KNOWN].called = *now;
}

/* The line of the source that a line of PTX was made of. */
static spot find_spot(FILE *ptx, int line)
{
    static calls c;
    char text[LINE];
    spot found = {0, 0};
    c.count = 0;
    for (int i = 1; i <= line && fgets(text, sizeof text, ptx); i++) {
        if (!strncmp(text, ".visible .entry", 15) || !strncmp(text, ".entry", 6)) found = (spot){0, 0};
        read_loc(text, &c, &found);
        if (!strchr(text, '\n')) i--; /* it is longer */
    }
    return found;
}

static bool find_file(FILE *ptx, int number, char *name, size_t cap)
{
    char text[LINE], path[LINE];
    int n;
    while (fgets(text, sizeof text, ptx)) {
        if (sscanf(text, " .file %d \"%1999[^\"]", &n, path) != 2 || n != number) continue;
        const char *const slash = strrchr(path, '/');
        snprintf(name, cap, "%.199s", slash ? slash + 1 : path);
        return true;
    }
    return false;
}

/* "kernels.cu:27" for a line of kernels.ptx; false: it has no lines of a source. */
static bool name_source(const char *ptx, int line, char *text, size_t cap)
{
    char name[200];
    FILE *const f = fopen(ptx, "r");
    spot const s = f ? find_spot(f, line) : (spot){0, 0};
    bool const good = s.file && find_file(f, s.file, name, sizeof name);
    if (good) snprintf(text, cap, "%s:%d", name, s.line);
    if (f) fclose(f);
    return good;
}

extern char *__cxa_demangle(const char *mangled, char *buffer, size_t *length, int *status);

/* As its author calls it, without what it takes. */
static void name_kernel(const char *mangled, char *text, size_t cap)
{
    static const char nameless[] = "(anonymous namespace)::";
    int status;
    char *const whole = __cxa_demangle(mangled, NULL, NULL, &status);
    const char *name = whole ? whole : mangled;
    if (!strncmp(name, "void ", 5)) name += 5;
    if (!strncmp(name, nameless, sizeof nameless - 1)) name += sizeof nameless - 1;
    snprintf(text, cap, "%.*s", (int)strcspn(name, "("), name);
    free(whole);
}

#pragma GCC diagnostic ignored "-Wmissing-prototypes" /* it is looked up by name */

/* One sentence, which names kernel, line and thread; NULL: nothing went wrong. */
const char *dsv3_machine_fault(void)
{
    static char said[1000];
    char file[400], entry[300], source[300], name[200];
    int line, end = 0;
    const char *const fault = runtime_fault();
    if (!*fault) return NULL;
    if (sscanf(fault, "%399[^:]:%d: %299[^,]%n", file, &line, entry, &end) != 3 || !end) return fault;
    const char *const slash = strrchr(file, '/'), *const ptx = slash ? slash + 1 : file;
    name_kernel(entry, name, sizeof name);
    if (name_source(file, line, source, sizeof source))
        snprintf(said, sizeof said, "%s: %s%s (%s:%d)", source, name, fault + end, ptx, line);
    else
        snprintf(said, sizeof said, "%s:%d: %s%s", ptx, line, name, fault + end);
    return said;
}
