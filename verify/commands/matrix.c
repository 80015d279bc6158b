/* See matrix.h. */
#include "matrix.h"

#include "case/expand.h"
#include "port/port.h"

#include <errno.h>
#include <sys/stat.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_PORTS = 8, MAX_OPS = 64, UNKNOWN = -1 };

/* Cases sorted by id, and the verdict of each of them on each port. */
typedef struct {
    case_list cases;
    int ports;                       /* those that backend_known names */
    int (*seen)[MAX_PORTS];          /* verdict of a case on a port; UNKNOWN: none yet */
    bool results;                    /* some were given */
    char answer[MAX_PORTS][MAX_OPS]; /* without results: has the port the op? */
    char absent[MAX_PORTS][600];     /* why it can't be asked, or "" */
    int64_t others;                  /* results of other cases or ports */
} matrix;

/* ---- results ---- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int port_named(const char *name)
{
    for (int b = 0; backend_known(b); b++)
        if (!strcmp(backend_known(b), name)) return b;
    return UNKNOWN;
}

static void store_verdict(matrix *m, const char *id, const char *backend_text, verdict v)
{
    char **const found = bsearch(&id, m->cases.id, (size_t)m->cases.count, sizeof *m->cases.id, by_text);
    int const b = port_named(backend_text);
    if (!found || b == UNKNOWN) {
        m->others++;
        return;
    }
    m->seen[found - m->cases.id][b] = (int)v;
}

static bool take_result(matrix *m, json_t *root)
{
    const char *id, *backend_text, *name;
    verdict v;
    bool const good = !json_unpack(root, "{s:s, s:s, s:s}", "id", &id, "backend", &backend_text, "verdict", &name) &&
                      verdict_of_name(name, &v);
    if (good) store_verdict(m, id, backend_text, v);
    return good;
}

/* The first and the last line say what the run was and how it ended. */
static bool read_line(matrix *m, const char *line, size_t length)
{
    json_t *const root = json_loadb(line, length, 0, NULL);
    bool const about = json_is_object(json_object_get(root, "run")) || json_is_object(json_object_get(root, "end"));
    bool const good = about || (root && take_result(m, root));
    json_decref(root);
    return good;
}

/* A later result of the same case and port replaces an earlier one. */
static int read_results(matrix *m, const char *path)
{
    char *line = NULL;
    size_t cap = 0;
    long number = 0;
    bool good = true;
    struct stat st;
    bool const device = !stat(path, &st) && (S_ISCHR(st.st_mode) || S_ISDIR(st.st_mode));
    FILE *const f = device ? NULL : fopen(path, "r");
    if (device)
        return usage_error("cannot read %s: it is no file; verify run --format=jsonl --out=DIR writes results", path);
    if (!f)
        return usage_error("cannot read %s: %s; verify run --format=jsonl --out=DIR writes results", path,
                           strerror(errno));
    for (ssize_t length; good && (length = getline(&line, &cap, f)) >= 0;) {
        number++;
        good = read_line(m, line, (size_t)length);
    }
    bool const whole = !ferror(f);
    fclose(f);
    free(line);
    if (!good)
        return usage_error("%s, line %ld is no result: it takes what verify run --format=jsonl writes", path, number);
    if (whole && !number) return usage_error("%s is empty; verify run --format=jsonl --out=DIR writes results", path);
    return whole ? EXIT_GOOD : usage_error("cannot read %s whole", path);
}

/* ---- without results: the ports are asked ---- */

static void ask_port(matrix *m, int b)
{
    complaint why;
    backend which;
    if (!backend_resolve(backend_known(b), &which, &why)) return;
    port *const p = port_open(&which, (port_limits){.timeout = 60});
    for (int i = 0; ops[i] && i < MAX_OPS; i++) m->answer[b][i] = port_has_op(p, ops[i]->name);
    if (port_is(p) != PORT_READY) snprintf(m->absent[b], sizeof m->absent[b], "%s", port_why(p));
    port_close(p);
}

/* ---- the table ---- */

static bool is_of(const char *id, const op *o)
{
    size_t const length = strlen(o->name);
    return !strncmp(id, o->name, length) && strchr("@:;", id[length]);
}

static int count_of(const matrix *m, const op *o)
{
    int count = 0;
    for (int i = 0; i < m->cases.count; i++) count += is_of(m->cases.id[i], o);
    return count;
}

/* "97/20/0", and "?3" when three have no result; nothing of a port without any. */
static void describe_counts(const matrix *m, const op *o, int b, char *text, size_t cap)
{
    int count[3] = {0}, unknown = 0;
    for (int i = 0; i < m->cases.count; i++) {
        if (!is_of(m->cases.id[i], o)) continue;
        if (m->seen[i][b] == UNKNOWN)
            unknown++;
        else
            count[verdict_counts_as((verdict)m->seen[i][b], false)]++;
    }
    bool const any = count[COUNT_PASSED] + count[COUNT_SKIPPED] + count[COUNT_FAILED] > 0;
    int const used =
        snprintf(text, cap, any ? "%d/%d/%d" : "-", count[COUNT_PASSED], count[COUNT_SKIPPED], count[COUNT_FAILED]);
    if (any && unknown) snprintf(text + used, cap - (size_t)used, " ?%d", unknown);
}

static void describe_answer(const matrix *m, int i, int b, char *text, size_t cap)
{
    snprintf(text, cap, "%s", *m->absent[b] ? "absent" : m->answer[b][i] ? "yes" : "-");
}

/* Of the longest name. */
static int width_of_ops(void)
{
    size_t width = 0;
    for (int i = 0; ops[i]; i++) width = strlen(ops[i]->name) > width ? strlen(ops[i]->name) : width;
    return (int)width;
}

static void print_row(const matrix *m, int i)
{
    char text[64];
    printf("%-*s %5d  %-3s", width_of_ops(), ops[i]->name, count_of(m, ops[i]),
           op_reference(ops[i], &ref_dd) ? "yes" : "-");
    for (int b = 0; b < m->ports; b++) {
        if (m->results)
            describe_counts(m, ops[i], b, text, sizeof text);
        else
            describe_answer(m, i, b, text, sizeof text);
        printf(b + 1 < m->ports ? "  %-11s" : "  %s", text);
    }
    putchar('\n');
}

static void print_matrix(const matrix *m)
{
    printf("%-*s %5s  %-3s", width_of_ops(), "op", "cases", "ref");
    for (int b = 0; b < m->ports; b++) printf(b + 1 < m->ports ? "  %-11s" : "  %s", backend_known(b));
    putchar('\n');
    for (int i = 0; ops[i]; i++) print_row(m, i);
    putchar('\n');
    if (m->results)
        printf("passed/skipped/failed; ?N: N cases without a result; -: no result at all\n");
    else
        printf("yes: the port has the op; what it passes: verify list --matrix --results=FILE\n");
    for (int b = 0; b < m->ports; b++)
        if (*m->absent[b]) printf("absent: %s: %s\n", backend_known(b), m->absent[b]);
    if (m->others) printf("results of other cases or ports, not counted: %lld\n", (long long)m->others);
}

/* ---- the command ---- */

static int read_cases(matrix *m, const operands *cases)
{
    complaint why;
    for (int i = 0; i < cases->count; i++)
        if (!cases_add(&m->cases, cases->word[i], &why)) return usage_error("%s", why.text);
    if (!m->cases.count && !cases_add(&m->cases, "@ci", &why)) return usage_error("%s", why.text);
    cases_sort(&m->cases);
    return EXIT_GOOD;
}

static int open_matrix(matrix *m)
{
    while (backend_known(m->ports) && m->ports < MAX_PORTS) m->ports++;
    m->seen = malloc((size_t)m->cases.count * sizeof *m->seen);
    if (!m->seen) return usage_error("no memory");
    for (int i = 0; i < m->cases.count; i++)
        for (int b = 0; b < MAX_PORTS; b++) m->seen[i][b] = UNKNOWN;
    return EXIT_GOOD;
}

static int fill_matrix(matrix *m, const option_list *results)
{
    int code = EXIT_GOOD;
    m->results = results->count > 0;
    for (int i = 0; i < results->count && !code; i++) code = read_results(m, results->item[i]);
    for (int b = 0; !m->results && b < m->ports; b++) ask_port(m, b);
    return code;
}

int list_matrix(const operands *cases, const option_list *results)
{
    matrix m = {.ports = 0};
    int code = read_cases(&m, cases);
    if (!code) code = open_matrix(&m);
    if (!code) code = fill_matrix(&m, results);
    if (!code) print_matrix(&m);
    free(m.seen);
    cases_free(&m.cases);
    return code;
}
