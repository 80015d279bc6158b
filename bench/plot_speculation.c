/*
 * The figure of what drafts gain: tokens a call of the main model, what is left of them when checking and drafting cost what was
 * measured, and tokens a second beside those without drafts. DeepSeek-V3's stand beside it: they are quoted.
 */
#include "plot.h"

#include "cost.h"
#include "json_lines.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- a line of bench generate --format=jsonl ---- */

/* The sum of a list of n amounts; NaN: it isn't one. */
static double sum_of(const json_t *part, const char *key, size_t n)
{
    const json_t *const list = json_object_get(part, key);
    double sum = json_array_size(list) == n ? 0 : (double)NAN;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *const j = json_array_get(list, i);
        sum += json_is_number(j) && json_number_value(j) >= 0 ? json_number_value(j) : (double)NAN;
    }
    return sum;
}

/* False: *lacks is what is missing. */
static bool read_decoding(const json_t *line, const char *key, int modules, decoding *d, const char **lacks)
{
    const json_t *const part = json_object_get(line, key);
    *d = (decoding){.tokens = json_amount(part, "tokens"),
                    .seconds = json_amount(part, "seconds"),
                    .calls = sum_of(part, "calls", (size_t)modules + 1),
                    .call_seconds = sum_of(part, "call_seconds", (size_t)modules + 1),
                    .draft_seconds = json_amount(part, "draft_seconds")};
    *lacks = key;
    return d->tokens > 0 && d->seconds > 0 && d->calls > 0 && d->call_seconds > 0 && d->draft_seconds >= 0;
}

static bool read_speculation(const json_t *line, speculation *s, const char **lacks)
{
    char study[16];
    double const modules = json_amount(line, "modules");
    s->different = json_amount(line, *lacks = "different");
    if (isnan(s->different)) return false;
    if (!json_text(line, *lacks = "study", study, sizeof study) || strcmp(study, "generate")) return false;
    if (!json_text(line, *lacks = "model", s->model, sizeof s->model)) return false;
    if (!json_text(line, *lacks = "port", s->port, sizeof s->port)) return false;
    s->module_share = json_amount(line, *lacks = "module_share");
    if (isnan(s->module_share)) return false;
    *lacks = "modules";
    if (!(modules >= 1 && modules <= MOST_DRAFTS && modules == floor(modules))) return false;
    s->modules = (int)modules;
    return read_decoding(line, "plain", 0, &s->plain, lacks) &&
           read_decoding(line, "speculative", s->modules, &s->speculative, lacks);
}

static bool take_line(void *own, const json_t *line, const char **lacks)
{
    speculations *const all = own;
    speculation *const more = realloc(all->line, ((size_t)all->count + 1) * sizeof *more);
    if (!more) return false;
    all->line = more;
    return read_speculation(line, &all->line[all->count], lacks) && ++all->count;
}

bool speculations_read(speculations *s, const char *file, complaint *why)
{
    *s = (speculations){.file = file};
    return json_lines_read(file, "bench generate --format=jsonl", take_line, s, why);
}

void speculations_close(speculations *s)
{
    free(s->line);
}

/* ---- theory ---- */

/* Of a call without drafts. */
static double call_seconds(const speculation *s)
{
    return s->plain.call_seconds / s->plain.calls;
}

/* What a call that checks costs, and the drafts behind it: in calls without drafts. */
static double checking_cost(const speculation *s)
{
    return s->speculative.call_seconds / s->speculative.calls / call_seconds(s);
}

static double drafting_cost(const speculation *s)
{
    return s->speculative.draft_seconds / s->speculative.calls / call_seconds(s);
}

/* Tokens a call of the main model: as much faster it would be if checking and drafting cost nothing. */
static double tokens_a_call(const speculation *s)
{
    return s->speculative.tokens / s->speculative.calls;
}

static double modelled(const speculation *s)
{
    return tokens_a_call(s) / (checking_cost(s) + drafting_cost(s));
}

static double gained(const speculation *s)
{
    return s->speculative.tokens / s->speculative.seconds / (s->plain.tokens / s->plain.seconds);
}

/* The same if a call cost what it computes, and checking nothing: the rows of a call are read beside each other. */
static double by_operations(const speculation *s)
{
    return tokens_a_call(s) / (1 + s->modules * s->module_share);
}

/* DeepSeek-V3 (arXiv 2412.19437, 5.4.3): the second token is accepted in 85 to 90 %, tokens a second are 1.8 times as many. */
static double const v3_accepted[2] = {0.85, 0.90}, v3_gained = 1.8;

static double v3_by_operations(int i)
{
    return (1 + v3_accepted[i]) / (1 + module_share(&dsv3_config_v3));
}

/* ---- checks ---- */

static void check_line(const speculation *s, checks *c)
{
    double const tokens = tokens_a_call(s), model = modelled(s), gain = gained(s);
    check(c, s->different == 0, "%s, %d modules: %.0f texts differ from those without drafts", s->model, s->modules,
          s->different);
    check(c, gain <= tokens, "%s, %d modules: %.2f times as fast, no more than its %.2f tokens a call", s->model,
          s->modules, gain, tokens);
    check(
        c, gain >= 0.9 * model,
        "%s, %d modules: a call that checks costs %.2f, its drafts %.2f: %.2f by the model, of which %.3f was reached "
        "(at least 0.9)",
        s->model, s->modules, checking_cost(s), drafting_cost(s), model, gain / model);
}

void speculation_check(const speculations *s, checks *c)
{
    for (int i = 0; i < s->count; i++) check_line(&s->line[i], c);
    check(c, v3_by_operations(0) <= v3_gained && v3_gained <= v3_by_operations(1),
          "DeepSeek-V3: by its operations %.2f to %.2f, and %.1f was published (arXiv 2412.19437, 5.4.3)",
          v3_by_operations(0), v3_by_operations(1), v3_gained);
}

/* ---- the figure ---- */

/* Drafting modules, mean over the lines, least, most; without drafts it is 1. Returns the last mean. */
static double print_series(FILE *g, const speculations *s, const char *name, double (*value)(const speculation *s))
{
    double last = 1;
    fprintf(g, "$%s << EOD\n0 1 1 1\n", name);
    for (int modules = 1; modules <= MOST_DRAFTS; modules++) {
        double sum = 0, least = INFINITY, most = 0;
        int n = 0;
        for (int i = 0; i < s->count; i++) {
            if (s->line[i].modules != modules) continue;
            double const v = value(&s->line[i]);
            sum += v, n++, least = fmin(least, v), most = fmax(most, v);
        }
        if (n) fprintf(g, "%d %.4g %.4g %.4g\n", modules, last = sum / n, least, most);
    }
    fprintf(g, "EOD\n");
    return last;
}

static int most_modules(const speculations *s)
{
    int most = 0;
    for (int i = 0; i < s->count; i++) most = s->line[i].modules > most ? s->line[i].modules : most;
    return most;
}

/* A series, and its label behind the last point. */
static void draw_series(FILE *g, const speculations *s, double (*value)(const speculation *s), const char *name,
                        const char *colour, const char *label, double above)
{
    double const last = print_series(g, s, name, value);
    fprintf(g, "set label '%s' at %d.06,%.3f textcolor rgb '%s'\n", label, most_modules(s), last + above, colour);
}

static void draw_speculation(FILE *g, const speculations *s)
{
    int const most = most_modules(s);
    fprintf(g,
            "set title 'What drafts gain: a DeepSeek-V3 of docs/studies.md, and the real one'\n"
            "set xrange [-0.15:%g]\nset yrange [0:%d.1]\nset xlabel 'modules that draft'\nset ylabel 'times as fast'\n"
            "set xtics 1\nset arrow from graph 0, first 1 to graph 1, first 1 nohead dt 2 lc rgb '#999999'\n",
            most + 0.95, most + 1);
    draw_series(g, s, tokens_a_call, "tokens", "#1f78b4", "tokens a call", 0.04);
    draw_series(g, s, by_operations, "operations", "#7570b3", "less operations of drafts", 0);
    draw_series(g, s, modelled, "model", "#888888", "less what calls cost here", 0.1);
    draw_series(g, s, gained, "gained", "#d95f02", "measured", -0.1);
    fprintf(g,
            "$published << EOD\n1.1 %.3f\nEOD\n$quoted << EOD\n1.1 %.3f %.3f %.3f\nEOD\n"
            "set label 'DeepSeek-V3, published: %.1f' at 1.16,%.3f font ',10'\n"
            "set label 'by its operations: %.2f to %.2f' at 1.16,%.3f font ',10'\n",
            v3_gained, v3_gained, v3_by_operations(0), v3_by_operations(1), v3_gained, v3_gained + 0.06,
            v3_by_operations(0), v3_by_operations(1), v3_gained - 0.06);
    fprintf(g, "plot $tokens using 1:2:3:4 with yerrorlines pt 7 ps 0.6 lw 2 lc rgb '#1f78b4', \\\n"
               "     $operations using 1:2:3:4 with yerrorlines pt 7 ps 0.6 lw 2 dt 3 lc rgb '#7570b3', \\\n"
               "     $model using 1:2:3:4 with yerrorlines pt 7 ps 0.9 lw 4 lc rgb '#bbbbbb', \\\n"
               "     $gained using 1:2:3:4 with yerrorlines pt 7 ps 0.6 lw 2 lc rgb '#d95f02', \\\n"
               "     $quoted using 1:2:3:4 with yerrorbars pt -1 lw 2 lc rgb '#222222', \\\n"
               "     $published using 1:2 with points pt 6 ps 1.4 lw 1.5 lc rgb '#222222'\n");
}

bool speculation_figures(const speculations *s, const char *folder, complaint *why)
{
    figure f;
    figure_source const from = {"speculation", s->file, "bench/studies.sh speculation", s->line[0].port};
    if (!figure_begin(&f, folder, "mtp_speculation", &from, why)) return false;
    draw_speculation(f.script, s);
    return figure_end(&f, why);
}
