/*
 * Figures of what Hopper's matrix unit loses of FP8 products: the error of dot products against their length, by the unit alone,
 * promoted to binary32 every 128 products, and in binary32.
 */
#include "plot.h"

#include "json_lines.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- lines of bench accumulation --format=jsonl ---- */

static const char *const kinds[] = {"positive", "signed"};

enum { UNIT, PROMOTED, BINARY32, WAYS };
static const char *const ways[WAYS] = {"unit", "promoted", "binary32"};

static int index_of(const char *const *names, int n, const char *name)
{
    int i = 0;
    while (i < n && strcmp(names[i], name)) i++;
    return i;
}

static bool read_accumulation(const json_t *line, accumulation *a, const char **lacks)
{
    char study[16], kind[16], way[16];
    if (!json_text(line, *lacks = "study", study, sizeof study) || strcmp(study, "accumulation")) return false;
    if (!json_text(line, *lacks = "data", kind, sizeof kind) || (a->kind = index_of(kinds, 2, kind)) == 2) return false;
    if (!json_text(line, *lacks = "way", way, sizeof way) || (a->way = index_of(ways, WAYS, way)) == WAYS) return false;
    a->k = json_amount(line, *lacks = "k");
    if (!(a->k >= 1 && a->k == floor(a->k))) return false;
    a->sums = json_amount(line, *lacks = "sums");
    if (!(a->sums >= 1)) return false;
    a->median = json_amount(line, *lacks = "median");
    if (isnan(a->median)) return false;
    a->most = json_amount(line, *lacks = "most");
    return a->most >= a->median;
}

static bool take_line(void *own, const json_t *line, const char **lacks)
{
    accumulations *const all = own;
    accumulation *const more = realloc(all->line, ((size_t)all->count + 1) * sizeof *more);
    if (!more) return false;
    all->line = more;
    return read_accumulation(line, &all->line[all->count], lacks) && ++all->count;
}

bool accumulations_read(accumulations *a, const char *file, complaint *why)
{
    *a = (accumulations){.file = file};
    return json_lines_read(file, "bench accumulation --format=jsonl", take_line, a, why);
}

void accumulations_close(accumulations *a)
{
    free(a->line);
}

/* NULL: there is none. */
static const accumulation *line_of(const accumulations *a, int kind, int way, double k)
{
    for (int i = 0; i < a->count; i++)
        if (a->line[i].kind == kind && a->line[i].way == way && a->line[i].k == k) return &a->line[i];
    return NULL;
}

/* ---- checks ---- */

/* What positive numbers can lose: a step of the unit cuts 33 terms and its result, each by less than 2^-13 of the sum. */
static double bound_of(int way, double k)
{
    double const step = 34 * 0x1p-13, rounded = 0x1p-24;
    if (way == UNIT) return step * ceil(k / 32);
    return way == PROMOTED ? step * 4 + rounded * ceil(k / 128) : rounded * k;
}

static void check_bound(const accumulations *a, int way, checks *c)
{
    double most = 0;
    for (int i = 0; i < a->count; i++)
        if (!a->line[i].kind && a->line[i].way == way) most = fmax(most, a->line[i].most / bound_of(way, a->line[i].k));
    check(c, most <= 1, "positive, %s: at most %.3f of what can be lost at that length (no more than 1)", ways[way],
          most);
}

/* From 256 products on, the unit alone is worse than promoted, that worse than binary32. */
static void check_order(const accumulations *a, int kind, checks *c)
{
    int lengths = 0, good = 0;
    for (int i = 0; i < a->count; i++) {
        const accumulation *const unit = &a->line[i];
        if (unit->kind != kind || unit->way != UNIT || unit->k < 256) continue;
        const accumulation *const promoted = line_of(a, kind, PROMOTED, unit->k), *const chain = line_of(
                                                                                      a, kind, BINARY32, unit->k);
        lengths++, good += promoted && chain && unit->most > promoted->most && promoted->most > chain->most;
    }
    check(c, good == lengths, "%s: unit above promoted above binary32 at %d of %d lengths from 256 on", kinds[kind],
          good, lengths);
}

/* An error that somebody else found, and how far ours may be off. */
typedef struct {
    int kind, way;
    double k, found, factor;
    const char *who;
} anchor_point;

static const anchor_point anchors[] = {
    {0, UNIT, 512, 7.7e-3, 1.15, "another emulation"},
    {0, UNIT, 4096, 7.9e-2, 1.15, "another emulation"},
    {0, PROMOTED, 512, 8.0e-4, 1.3, "another emulation"},
    {0, PROMOTED, 4096, 6.6e-4, 1.3, "another emulation"},
    {1, UNIT, 4096, 2e-2, 2, "DeepSeek-V3 (arXiv 2412.19437, 3.3.2), on an H800"},
};

static void check_anchor(const accumulations *a, const anchor_point *p, checks *c)
{
    const accumulation *const line = line_of(a, p->kind, p->way, p->k);
    if (!line) return;
    double const off = line->most > p->found ? line->most / p->found : p->found / line->most;
    check(c, off <= p->factor, "%s, %s, k = %.0f: %.2g, and %.2g by %s (a factor of %.2f, no more than %.2f)",
          kinds[p->kind], ways[p->way], p->k, line->most, p->found, p->who, off, p->factor);
}

static bool has_kind(const accumulations *a, int kind)
{
    for (int i = 0; i < a->count; i++)
        if (a->line[i].kind == kind) return true;
    return false;
}

void accumulation_check(const accumulations *a, checks *c)
{
    for (int way = 0; has_kind(a, 0) && way < WAYS; way++) check_bound(a, way, c);
    for (int kind = 0; kind < 2; kind++)
        if (has_kind(a, kind)) check_order(a, kind, c);
    for (size_t i = 0; i < sizeof anchors / sizeof *anchors; i++) check_anchor(a, &anchors[i], c);
}

/* ---- figures ---- */

static const double floor_drawn = 1e-8; /* of a logarithmic axis: a median may be 0 */

static int by_length(const void *a, const void *b)
{
    const accumulation *const x = *(const accumulation *const *)a, *const y = *(const accumulation *const *)b;
    return (x->k > y->k) - (x->k < y->k);
}

/* Length, largest, median. Returns the largest of the longest; NaN: there is none. */
static double print_way(FILE *g, const accumulations *a, int kind, int way)
{
    const accumulation **const list = malloc((size_t)a->count * sizeof *list);
    int n = 0;
    for (int i = 0; list && i < a->count; i++)
        if (a->line[i].kind == kind && a->line[i].way == way) list[n++] = &a->line[i];
    if (n) qsort(list, (size_t)n, sizeof *list, by_length);
    fprintf(g, "$%s << EOD\n", ways[way]);
    for (int i = 0; i < n; i++)
        fprintf(g, "%.0f %.4g %.4g\n", list[i]->k, fmax(list[i]->most, floor_drawn),
                fmax(list[i]->median, floor_drawn));
    fprintf(g, "EOD\n");
    double const last = n ? fmax(list[n - 1]->most, floor_drawn) : (double)NAN;
    free(list);
    return last;
}

static void draw_kind(FILE *g, const accumulations *a, int kind)
{
    static const char *const titles[] = {"positive numbers: errors of the sum", "signed numbers: errors of the sum"};
    static const char *const sizes[] = {"the exact sum", "RMS of the exact sums"};
    static const char *const names[WAYS] = {"the unit alone", "promoted every 128", "binary32"};
    static const char *const colours[WAYS] = {"#d95f02", "#1f78b4", "#444444"};
    double longest = 32;
    for (int i = 0; i < a->count; i++) longest = fmax(longest, a->line[i].k);
    fprintf(g,
            "set title 'FP8 products by Hopper''s wgmma, %s of k of them'\n"
            "set logscale x 2\nset logscale y\nset format y '10^{%%T}'\nset xrange [*:%.0f]\nset yrange [%g:1]\n"
            "set rmargin 22\nset xlabel 'k, products in a sum'\n"
            "set ylabel 'error over %s: the largest, down to the median'\n",
            titles[kind], longest, floor_drawn, sizes[kind]);
    const char *between = "";
    bool there[WAYS];
    for (int way = 0; way < WAYS; way++) {
        double const last = print_way(g, a, kind, way);
        there[way] = !isnan(last);
        if (there[way])
            fprintf(g, "set label '%s' at %.0f,%.4g offset 1,0 textcolor rgb '%s'\n", names[way], longest, last,
                    colours[way]);
    }
    fprintf(g, "plot ");
    for (int way = 0; way < WAYS; way++) {
        if (!there[way]) continue;
        fprintf(g,
                "%s$%s using 1:3:2 with filledcurves fs transparent solid 0.15 noborder lc rgb '%s', \\\n"
                "     '' using 1:2 with linespoints pt 7 ps 0.5 lw 2 lc rgb '%s'",
                between, ways[way], colours[way], colours[way]);
        between = ", \\\n     ";
    }
    fprintf(g, "\n");
}

bool accumulation_figures(const accumulations *a, const char *folder, complaint *why)
{
    static const char *const names[] = {"accumulation", "accumulation_signed"};
    figure_source const from = {"accumulation", a->file, "build/bin/bench accumulation --format=jsonl",
                                "sums of the unit, emulated bit for bit"};
    for (int kind = 0; kind < 2; kind++) {
        figure f;
        if (!has_kind(a, kind)) {
            fprintf(stderr, "bench: %s: it has no %s numbers: no figure of them\n", a->file, kinds[kind]);
            continue;
        }
        if (!figure_begin(&f, folder, names[kind], &from, why)) return false;
        draw_kind(f.script, a, kind);
        if (!figure_end(&f, why)) return false;
    }
    return true;
}
