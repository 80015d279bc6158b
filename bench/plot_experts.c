/*
 * The figure of an expert's product by the tokens that it gets: which fraction of its limit it reaches, and beneath it how many
 * tokens experts got in trainings.
 */
#include "plot.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

enum { POINTS = 10 }; /* 1, 2, 4 .. 512 tokens */

typedef enum { BF16, FP8, FORMATS } format;
static const char *const format_key[FORMATS] = {"", ",weight=f8_e4m3"}, *const format_name[FORMATS] = {"BF16", "FP8"},
                         *const colour[FORMATS] = {"#1f78b4", "#d95f02"};

static const measured *of_tokens(const measurements *m, format f, int tokens)
{
    char id[200];
    snprintf(id, sizeof id, "linear@v3:n_tokens=%d,out_features=2048%s", tokens, format_key[f]);
    return measurement_of(m, id);
}

static double fraction(const measured *r)
{
    return r->floor / r->seconds;
}

/* ---- checks of times ---- */

/* The least fraction of the limit at 1, 2, 4 .. 512 tokens. */
static double const least_fraction[FORMATS][POINTS] = {{0.50, 0.60, 0.60, 0.50, 0.60, 0.60, 0.60, 0.65, 0.65, 0.70},
                                                       {0.60, 0.60, 0.35, 0.50, 0.40, 0.45, 0.50, 0.55, 0.60, 0.65}};

static bool complete(const measurements *m, checks *c)
{
    int missing = 0, refused = 0;
    for (int i = 0; i < POINTS; i++)
        for (format f = 0; f < FORMATS; f++) missing += !of_tokens(m, f, 1 << i);
    for (int i = 0; i < m->count; i++) refused += strcmp(m->row[i].verdict, "PASS") != 0;
    check(c, !missing, "%d cases of the figure are missing in %s", missing, m->file);
    check(c, !refused, "%d of %d timed cases were not a PASS", refused, m->count);
    return !missing;
}

static void check_fractions(const measurements *m, checks *c)
{
    for (format f = 0; f < FORMATS; f++)
        for (int i = 0; i < POINTS; i++) {
            double const reached = fraction(of_tokens(m, f, 1 << i));
            check(c, reached >= least_fraction[f][i] && reached <= 1.15,
                  "%s, %d tokens: %.2f of the limit (%.2f .. 1.15)", format_name[f], 1 << i, reached,
                  least_fraction[f][i]);
        }
}

/* One token reads every weight once: half the bytes, half the time, or nearly. */
static void check_bytes(const measurements *m, checks *c)
{
    const measured *const wide = of_tokens(m, BF16, 1), *const narrow = of_tokens(m, FP8, 1);
    double const ratio = wide->seconds / narrow->seconds, bytes = wide->bytes / narrow->bytes;
    check(c, ratio > 1.2 && ratio < 1.25 * bytes,
          "one token: BF16 takes %.2f times as long as FP8, and %.2f times the bytes", ratio, bytes);
}

/* ---- loads ---- */

/* How many experts got 0, 1, 2-3, 4-7 .. tokens in the steps whose loads are logged. */
enum { BINS = 20 };
typedef struct {
    double experts, near, bin[BINS]; /* near: within half and twice the mean of its step; bin[0]: no token */
} histogram;

static int bin_of(double tokens)
{
    return tokens < 1 ? 0 : (int)fmin(floor(log2(tokens)) + 1, BINS - 1);
}

/* Tokens of an expert when all get as many. */
static double mean_load(const training_log *log)
{
    return plan_number(log, "batch") * plan_number(log, "length") * plan_number(log, "num_experts_per_tok") /
           plan_number(log, "n_routed_experts");
}

static void add_layers(const training_log *log, const json_t *line, histogram *h)
{
    int const experts = (int)plan_number(log, "n_routed_experts");
    double const mean = mean_load(log);
    for (int l = 0; l < main_layers(log); l++)
        for (int e = 0; e < experts; e++) {
            double const tokens = lists_number(line, "load", l, e);
            h->bin[bin_of(tokens)]++, h->experts++;
            h->near += tokens >= mean / 2 && tokens < mean * 2;
        }
}

/* Biases that move by less are too slow for trainings of hundreds of steps (docs/studies.md). */
static double const least_speed = 0.001;

static bool is_balanced(const training_log *log)
{
    return !strcmp(plan_word(log, "balance"), "bias") && plan_number(log, "bias_update_speed") >= least_speed;
}

/* Of the trainings with biases, or of those without balancing. */
static histogram loads_of(const training_logs *t, bool balanced)
{
    histogram h = {.experts = 0};
    for (int i = 0; i < t->count; i++) {
        const training_log *const log = &t->log[i];
        if (balanced ? !is_balanced(log) : strcmp(plan_word(log, "balance"), "none") != 0) continue;
        for (int s = 0; s < log->numbers[LINE_LOADS]; s++) add_layers(log, log->of[LINE_LOADS][s].line, &h);
    }
    return h;
}

static void check_loads(const training_logs *t, checks *c)
{
    histogram const balanced = loads_of(t, true), none = loads_of(t, false);
    check(c, balanced.experts > 0 && none.experts > 0,
          "%s: loads of %.0f experts with biases, of %.0f without balancing", t->file, balanced.experts, none.experts);
    if (balanced.experts <= 0 || none.experts <= 0) return;
    double const with = balanced.near / balanced.experts, without = none.near / none.experts;
    check(c, with > without, "half to twice the mean get %.0f %% of the experts with biases, %.0f %% without balancing",
          100 * with, 100 * without);
}

void experts_check(const experts_data *d, checks *c)
{
    if (complete(&d->times, c)) {
        check_fractions(&d->times, c);
        check_bytes(&d->times, c);
    }
    check_loads(&d->loads, c);
}

/* ---- the figure ---- */

static void print_fractions(FILE *g, const measurements *m, format f)
{
    fprintf(g, "$%s << EOD\n", format_name[f]);
    for (int i = 0; i < POINTS; i++) {
        const measured *const r = of_tokens(m, f, 1 << i);
        fprintf(g, "%d %.4g %.4g %.4g\n", 1 << i, fraction(r), r->floor / r->most, r->floor / r->least);
    }
    fprintf(g, "EOD\n");
}

/* Half a bin each: left edge, right edge, share. No tokens: left of 1. */
static void print_loads(FILE *g, const char *name, const histogram *h, bool right)
{
    fprintf(g, "$%s << EOD\n", name);
    for (int b = 0; b < BINS; b++)
        if (h->bin[b] > 0)
            fprintf(g, "%.4g %.4g %.4g\n", exp2(b - 1 + 0.06 + 0.44 * right), exp2(b - 1 + 0.5 + 0.44 * right),
                    h->bin[b] / h->experts);
    fprintf(g, "EOD\n");
}

static void draw_experts(FILE *g, const experts_data *d)
{
    histogram const balanced = loads_of(&d->loads, true), none = loads_of(&d->loads, false);
    for (format f = 0; f < FORMATS; f++) print_fractions(g, &d->times, f);
    print_loads(g, "none", &none, false);
    print_loads(g, "bias", &balanced, true);
    fprintf(
        g,
        "set title 'One projection of an expert (7168 to 2048) by the tokens that it gets'\n"
        "set logscale x 2\nset xrange [0.45:2900]\nset yrange [-0.62:1.05]\nset xlabel 'tokens of the expert'\n"
        "set ylabel 'fraction of the limit of the same minute' offset 0,3\n"
        "set xtics ('none' 0.64, '1' 1, '2' 2, '4' 4, '8' 8, '16' 16, '32' 32, '64' 64, '128' 128, '256' 256, "
        "'512' 512, '1024' 1024, '2048' 2048)\n"
        "set ytics ('0' 0, '0.2' 0.2, '0.4' 0.4, '0.6' 0.6, '0.8' 0.8, '1' 1, '0 %%%%' -0.6, '40 %%%%' -0.4, '80 %%%%' "
        "-0.2)\n"
        "set style fill solid 0.8 noborder\n"
        "set arrow from graph 0, first 0 to graph 1, first 0 nohead lc rgb '#999999'\n"
        "set label 'experts of trainings with so many tokens of a step (mean %.0f):' at 0.5,-0.07 font ',10'\n"
        "set label 'not balanced' at 0.5,-0.14 font ',10' textcolor rgb '#777777'\n"
        "set label 'biases, u >= %g' at 4,-0.14 font ',10' textcolor rgb '#66a61e'\n"
        "set label 'weights in BF16' at 640,%.3f textcolor rgb '%s'\n"
        "set label 'in FP8' at 640,%.3f textcolor rgb '%s'\n",
        mean_load(&d->loads.log[0]), least_speed, fraction(of_tokens(&d->times, BF16, 512)) + 0.03, colour[BF16],
        fraction(of_tokens(&d->times, FP8, 512)) - 0.03, colour[FP8]);
    fprintf(g, "plot $none using 1:(-0.6):1:2:(-0.6):(-0.6+0.5*$3) with boxxyerror lc rgb '#999999', \\\n"
               "     $bias using 1:(-0.6):1:2:(-0.6):(-0.6+0.5*$3) with boxxyerror lc rgb '#66a61e'");
    for (format f = 0; f < FORMATS; f++)
        fprintf(g, ", \\\n     $%s using 1:2:3:4 with yerrorlines pt 7 ps 0.7 lw 2 lc rgb '%s'", format_name[f],
                colour[f]);
    fprintf(g, "\n");
}

bool experts_figures(const experts_data *d, const char *folder, complaint *why)
{
    figure f;
    figure_source const from = {"experts", d->times.file, "build/bin/bench run @bench/experts.txt --format=jsonl",
                                d->times.from};
    if (!figure_begin(&f, folder, "experts_tokens", &from, why)) return false;
    draw_experts(f.script, d);
    return figure_end(&f, why);
}

/* ---- both files ---- */

bool experts_data_read(experts_data *d, const char *file, const char *log, complaint *why)
{
    *d = (experts_data){.loads = {.file = log}};
    return measurements_read(&d->times, file, why) && training_logs_read(&d->loads, log, why);
}

void experts_data_close(experts_data *d)
{
    measurements_close(&d->times);
    training_logs_close(&d->loads);
}
