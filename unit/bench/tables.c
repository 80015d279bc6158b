/* Tables in docs/ hold the numbers of the committed data, row by row. */
#include "command.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>

TestSuite(tables);

enum { MOST_ROWS = 400 };

typedef struct {
    json_t *row[MOST_ROWS];
    int count;
} rows;

static rows read_rows(const char *path)
{
    static char text[1 << 18];
    rows r = {.count = 0};
    read_file(path, text, sizeof text);
    for (char *line = strtok(text, "\n"); line && r.count < MOST_ROWS; line = strtok(NULL, "\n")) {
        r.row[r.count] = json_loads(line, 0, NULL);
        cr_assert(r.row[r.count++] != NULL, "%s: %s", path, line);
    }
    return r;
}

static void free_rows(rows *r)
{
    for (int i = 0; i < r->count; i++) json_decref(r->row[i]);
}

static const char *word(const json_t *row, const char *key)
{
    const char *const text = json_string_value(json_object_get(row, key));
    return text ? text : "";
}

static double number(const json_t *row, const char *key)
{
    const json_t *const value = json_object_get(row, key);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

/* How many lines of a text begin so. */
static int lines_like(const char *text, const char *begins, const char *holds)
{
    int n = 0;
    for (const char *at = text; (at = strstr(at, begins)); at++) {
        const char *const end = strchr(at, '\n'), *const held = strstr(at, holds);
        n += (at == text || at[-1] == '\n') && held && held < end;
    }
    return n;
}

static void expect_line(const char *text, const char *line)
{
    cr_expect(strstr(text, line) != NULL, "the table lacks %s", line);
}

Test(tables, limits_of_fast_are_those_of_the_data)
{
    static char text[1 << 16];
    char line[300];
    rows r = read_rows("docs/data/perf_zen4.jsonl");
    read_file("docs/fast.md", text, sizeof text);
    for (int i = 0; i < r.count; i++) {
        const json_t *const row = r.row[i];
        double const seconds = number(row, "seconds");
        snprintf(line, sizeof line, "\n| `%s` | %.2f | %.1f | %.1f |\n", word(row, "id"),
                 number(row, "floor") / seconds, number(row, "operations") / seconds * 1e-9,
                 number(row, "bytes") / seconds * 1e-9);
        expect_line(text, line);
    }
    cr_expect_gt(r.count, 20);
    cr_expect_eq(lines_like(text, "| `", "@v3"), r.count, "a row has no data");
    free_rows(&r);
}

Test(tables, peers_are_those_of_the_data)
{
    static char text[1 << 16];
    char line[400];
    int listed = 0;
    const json_t *ours = NULL;
    rows r = read_rows("docs/data/peers_zen4.jsonl");
    cr_assert_gt(r.count, 20);
    cr_expect(*word(r.row[0], "command") && *word(r.row[0], "commit") && *word(r.row[0], "cpu"));
    read_file("docs/bench.md", text, sizeof text);
    for (int i = 1; i < r.count; i++) {
        const json_t *const row = r.row[i];
        if (!strcmp(word(row, "port"), "avx512")) ours = row;
        if (row == ours || isnan(number(row, "seconds"))) continue;
        snprintf(line, sizeof line, "\n| `%s` | %s | %.2f | %.2f | %.2f | %.1e | %.1e |\n", word(row, "id"),
                 word(row, "port"), number(row, "ratio"), number(row, "limit"), number(ours, "limit"),
                 number(row, "error"), number(ours, "error"));
        expect_line(text, line);
        listed++;
    }
    cr_expect_eq(lines_like(text, "| `", "@v3") - lines_like(text, "| `", " of "), listed, "a row has no data");
    free_rows(&r);
}

/* Seconds of a case on a path; NaN: it wasn't measured. */
static double seconds_on(const rows *r, const char *path, const char *id)
{
    for (int i = 0; i < r->count; i++)
        if (!strcmp(word(r->row[i], "path"), path) && !strcmp(word(r->row[i], "id"), id))
            return number(r->row[i], "seconds");
    return (double)NAN;
}

static void ratio_text(double ratio, char text[16])
{
    snprintf(text, 16, isnan(ratio) ? "-" : "%.1f", ratio);
}

Test(tables, paths_are_those_of_the_data)
{
    static char text[1 << 16];
    char line[400], pairs[16], amx[16];
    int listed = 0;
    rows r = read_rows("docs/data/paths_xeon.jsonl");
    read_file("docs/fast.md", text, sizeof text);
    for (int i = 0; i < r.count; i++) {
        const char *const id = word(r.row[i], "id");
        if (strcmp(word(r.row[i], "path"), "fma")) continue;
        double const fma = number(r.row[i], "seconds");
        ratio_text(fma / seconds_on(&r, "dpbf16", id), pairs), ratio_text(fma / seconds_on(&r, "amx", id), amx);
        snprintf(line, sizeof line, "\n| %s | %s | `%s` |\n", pairs, amx, id);
        expect_line(text, line);
        listed++;
    }
    cr_expect_gt(listed, 5);
    cr_expect_eq(lines_like(text, "| ", " | `linear@v3"), listed, "a row has no data");
    free_rows(&r);
}

/* A number of each of three runs that have so many rows, from row i of the first on. */
static void three_text(const rows *r, int pitch, int i, const char *over, const char *format, char text[64])
{
    for (int run = 0, used = 0; run < 3; run++) {
        const json_t *const row = r->row[run * pitch + i];
        double const v = over ? number(row, over) / number(row, "seconds") : number(row, "seconds") * 1e6;
        used += snprintf(text + used, 64 - (size_t)used, run ? ", " : ""),
            used += snprintf(text + used, 64 - (size_t)used, format, v);
    }
}

/* The last row of five is the sum of those before it. */
static void expect_sum(const rows *r, int run, const char *key)
{
    double sum = 0;
    for (int i = 0; i < 4; i++) sum += number(r->row[run * 5 + i], key);
    cr_expect_float_eq(number(r->row[run * 5 + 4], key), sum, 1e-8 * sum, "run %d: %s", run, key);
}

Test(tables, layer_is_that_of_the_data)
{
    static char text[1 << 16];
    char line[400], times[64], shares[64], name[200];
    rows r = read_rows("docs/data/layer_zen4.jsonl");
    read_file("docs/fast.md", text, sizeof text);
    cr_assert_eq(r.count, 15, "three runs of four cases and their sum");
    for (int run = 0; run < 3; run++) expect_sum(&r, run, "seconds"), expect_sum(&r, run, "floor");
    for (int i = 0; i < 5; i++) {
        three_text(&r, 5, i, NULL, "%.1f", times), three_text(&r, 5, i, "floor", "%.2f", shares);
        snprintf(name, sizeof name, i < 4 ? "`%s`" : "the sum", word(r.row[i], "id"));
        snprintf(line, sizeof line, "\n| %s | %s | %s |\n", times, shares, name);
        expect_line(text, line);
    }
    free_rows(&r);
}

/* How many verdicts a case had, of the run that line `run` began (0, 1), with builds so much slower. */
static int verdicts(const rows *r, int run, const char *id, int planted, const char *verdict)
{
    int at = -1, n = 0;
    for (int i = 0; i < r->count; i++) {
        const json_t *const row = r->row[i];
        if (*word(row, "command")) at++;
        n += at == run && !strcmp(word(row, "id"), id) && number(row, "planted") == planted &&
             (!verdict || !strcmp(word(row, "verdict"), verdict));
    }
    return n;
}

Test(tables, campaign_is_that_of_the_data)
{
    static const char *const ids[] = {"rmsnorm@v3:n_tokens=16", "linear@v3:n_tokens=1,out_features=512",
                                      "mla_decode@v3:num_attention_heads=16,kv_len=1024"};
    static char text[1 << 16];
    char line[300], undecided[40] = "";
    rows r = read_rows("docs/data/campaign.jsonl");
    read_file("docs/bench.md", text, sizeof text);
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        int const open = verdicts(&r, 0, ids[i], 5, "undecided");
        snprintf(undecided, sizeof undecided, open ? ", %d undecided" : "", open);
        snprintf(line, sizeof line, "\n| `%s` | %d of %d%s | %d of %d | %d of %d |\n", ids[i],
                 verdicts(&r, 0, ids[i], 5, "slower"), verdicts(&r, 0, ids[i], 5, NULL), undecided,
                 verdicts(&r, 1, ids[i], 5, "slower"), verdicts(&r, 1, ids[i], 5, NULL),
                 verdicts(&r, 0, ids[i], 0, "slower"), verdicts(&r, 0, ids[i], 0, NULL));
        expect_line(text, line);
    }
    cr_expect_eq(lines_like(text, "| `", " of 20 |"), (int)(sizeof ids / sizeof *ids), "a row has no data");
    free_rows(&r);
}
