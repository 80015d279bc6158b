/* Figures of how often drafts of the modules of multi-token prediction would be accepted, while a model trains. */
#include "plot.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- what an evaluation says ---- */

static double agreement(const json_t *line, int depth)
{
    return list_number(line, "agree", depth - 1);
}

/* Depth 2 where depth 1 agreed. */
static double agreement_in_turn(const json_t *line, int depth)
{
    double const before = depth > 1 ? list_number(line, "agree_in_turn", depth - 2) : 1;
    return list_number(line, "agree_in_turn", depth - 1) / before;
}

/* Tokens a call of the main model: it always says one. */
static double tokens_of(const json_t *line)
{
    double sum = 1;
    for (int k = 0; k < list_length(line, "agree_in_turn"); k++) sum += list_number(line, "agree_in_turn", k);
    return sum;
}

static double number_of(const json_t *line, const char *key)
{
    return json_number_value(json_object_get(line, key));
}

enum { TEMPERATURES = 5 };
static const char *const temperature[TEMPERATURES] = {"0.25", "0.5", "0.7", "1", "1.5"};

/* The sum over bytes of min(p, q). */
static double sampled(const json_t *line, int depth, int t)
{
    char key[40];
    snprintf(key, sizeof key, "accept_%s", temperature[t]);
    return list_number(line, key, depth - 1);
}

/* p at the largest q. */
static double greedy_draft(const json_t *line, int t)
{
    char key[40];
    snprintf(key, sizeof key, "greedy_draft_%s", temperature[t]);
    return number_of(line, key);
}

static bool is_evaluation(const json_t *line)
{
    return json_object_get(line, "evaluation") && json_object_get(line, "agree");
}

/* ---- checks ---- */

/* At a step of the plan of docs/studies.md. */
typedef struct {
    int step;
    double least, most;
} band;

static bool is_of_study(const training_log *log)
{
    return plan_number(log, "steps") == 1000 && plan_number(log, "batch") == 16 && plan_number(log, "modules") == 2 &&
           plan_number(log, "n_routed_experts") == 32;
}

/* The step of the last evaluation. */
static double evaluations_until(const training_log *log)
{
    double last = 0;
    for (int i = 0; i < log->count; i++)
        if (is_evaluation(log->line[i])) last = number_of(log->line[i], "evaluation");
    return last;
}

/* Sampled drafts: nearly the same at every temperature. Greedy ones under a sampled main model: fewer the warmer it is. */
static void check_temperatures(const json_t *line, double seed, checks *c)
{
    double before = 0, step = 0;
    bool falls = true;
    for (int i = 0; i < TEMPERATURES; i++) {
        double const now = sampled(line, 1, i);
        if (i) step = fmin(step, now - before);
        falls = falls && (!i || greedy_draft(line, i) < greedy_draft(line, i - 1));
        before = now;
    }
    check(c, step > -0.02,
          "seed %.0f: sampled, depth 1 falls by %.3f from one temperature to the next (less than 0.02)", seed, -step);
    check(c, falls, "seed %.0f: greedy drafts under a sampled model are accepted less the warmer it is", seed);
}

static void check_bands(const training_log *log, checks *c)
{
    static const band first[] = {{200, 0.72, 0.82}, {600, 0.80, 0.87}, {1000, 0.83, 0.89}};
    double const seed = plan_number(log, "seed");
    for (int i = 0; i < 3; i++) {
        const json_t *const line = line_at(log, LINE_EVALUATION, first[i].step);
        if (!line && first[i].step > evaluations_until(log)) continue; /* it was stopped before */
        double const a = line ? agreement(line, 1) : (double)NAN;
        check(c, a >= first[i].least && a <= first[i].most, "seed %.0f, step %d: depth 1 agrees %.3f (%.2f .. %.2f)",
              seed, first[i].step, a, first[i].least, first[i].most);
    }
    const json_t *const last = line_at(log, LINE_EVALUATION, 1000);
    if (!last) return;
    double const second = agreement_in_turn(last, 2), tokens = tokens_of(last), loss = list_number(last, "loss", 0);
    check(c, second >= 0.81 && second <= 0.89, "seed %.0f: depth 2 agrees %.3f where depth 1 does (0.81 .. 0.89)", seed,
          second);
    check(c, tokens >= 2.45 && tokens <= 2.70, "seed %.0f: %.3f tokens a call of the main model (2.45 .. 2.70)", seed,
          tokens);
    check(c, loss >= 1.32 && loss <= 1.41, "seed %.0f: held-out loss %.4f after 1000 steps (1.32 .. 1.41)", seed, loss);
    double const reused = number_of(last, "reused");
    check(c, reused >= 0.5 && reused <= 0.72, "seed %.0f: depth 2 by module 1 agrees %.3f (0.50 .. 0.72)", seed,
          reused);
    check_temperatures(last, seed, c);
    for (int k = 1; k < 3; k++)
        check(c, list_number(last, "loss", k) < loss + 0.02,
              "seed %.0f: the loss of depth %d is %.4f, and it saw %d bytes more", seed, k,
              list_number(last, "loss", k), k);
}

/* For every log: a draft beside the wrong place is hardly ever right. */
static void check_controls(const training_log *log, checks *c)
{
    for (int i = log->count; i-- > 0;) {
        const json_t *const line = log->line[i];
        if (!is_evaluation(line)) continue;
        double const shifted = number_of(line, "shifted");
        check(c, shifted < agreement(line, 1) / 2 && (!is_of_study(log) || shifted < 0.10),
              "seed %.0f: against the place behind, depth 1 agrees %.3f; the most frequent byte alone %.3f",
              plan_number(log, "seed"), shifted, number_of(line, "frequent"));
        return;
    }
    check(c, false, "seed %.0f: no evaluation has acceptance: was --modules=0?", plan_number(log, "seed"));
}

void mtp_check(const training_logs *t, checks *c)
{
    for (int i = 0; i < t->count; i++) {
        check_controls(&t->log[i], c);
        if (is_of_study(&t->log[i])) check_bands(&t->log[i], c);
    }
}

/* ---- figures ---- */

typedef double value_of(const json_t *line);

static double first_depth(const json_t *line)
{
    return agreement(line, 1);
}

static double second_depth(const json_t *line)
{
    return agreement_in_turn(line, 2);
}

static double sampled_first(const json_t *line)
{
    return sampled(line, 1, 3);
}

static double sampled_second(const json_t *line)
{
    return sampled(line, 2, 3);
}

static double shifted(const json_t *line)
{
    return number_of(line, "shifted");
}

static double frequent(const json_t *line)
{
    return number_of(line, "frequent");
}

static int last_step(const training_logs *t)
{
    double last = 0;
    for (int i = 0; i < t->count; i++) last = fmax(last, plan_number(&t->log[i], "steps"));
    return (int)last;
}

/* Step, mean over the logs, least, most. */
static double print_values(FILE *g, const training_logs *t, const char *name, value_of *value)
{
    int steps = 0;
    double last = (double)NAN, *const step = numbers_of(t, LINE_EVALUATION, &steps);
    fprintf(g, "$%s << EOD\n", name);
    for (int at = 0; at < steps; at++) {
        double sum = 0, least = INFINITY, most = -INFINITY;
        int n = 0;
        for (int i = 0; i < t->count; i++) {
            const json_t *const line = line_at(&t->log[i], LINE_EVALUATION, step[at]);
            double const v = line && is_evaluation(line) ? value(line) : (double)NAN;
            if (isnan(v)) continue;
            sum += v, n++, least = fmin(least, v), most = fmax(most, v);
        }
        if (n) fprintf(g, "%.0f %.5g %.5g %.5g\n", step[at], last = sum / n, least, most);
    }
    fprintf(g, "EOD\n");
    free(step);
    return last;
}

static void draw_acceptance(FILE *g, const training_logs *t)
{
    static const struct {
        const char *name, *title, *colour, *dash;
        value_of *value;
    } series[] = {{"first", "depth 1, greedy", "#d95f02", "1", first_depth},
                  {"second", "depth 2 where 1 is right", "#1f78b4", "1", second_depth},
                  {"sampled_first", "depth 1, sampled at T = 1", "#d95f02", "2", sampled_first},
                  {"sampled_second", "depth 2, sampled at T = 1", "#1f78b4", "2", sampled_second},
                  {"frequent", "control: the most frequent byte", "#888888", "3", frequent},
                  {"shifted", "control: the place behind", "#444444", "3", shifted}};
    double end[6];
    int const steps = last_step(t);
    for (int i = 0; i < 6; i++) end[i] = print_values(g, t, series[i].name, series[i].value);
    fprintf(g,
            "set title 'Drafts that would be accepted, on held-out text, while a small DeepSeek-V3 trains'\n"
            "set xrange [0:%d]\nset yrange [0:1]\nset xlabel 'step'\nset ylabel 'share of drafts'\nset rmargin 3\n"
            "set key at graph 0.98,0.62 right top\nplot ",
            steps);
    for (int i = 0; i < 6; i++)
        if (!isnan(end[i]))
            fprintf(g, "%s$%s using 1:2:3:4 with yerrorlines pt 7 ps 0.5 lw 2 dt %s lc rgb '%s' title '%s: %.3f'",
                    i ? ", \\\n     " : "", series[i].name, series[i].dash, series[i].colour, series[i].title, end[i]);
    fprintf(g, "\n");
}

static void draw_tokens(FILE *g, const training_logs *t)
{
    double const end = print_values(g, t, "tokens", tokens_of);
    fprintf(g,
            "set title 'Tokens that one call of the main model yields when the modules draft'\n"
            "set xrange [0:%d]\nset yrange [1:3]\nset xlabel 'step'\nset ylabel 'tokens a call, teacher-forced'\n"
            "set key bottom right\n"
            "plot $tokens using 1:2:3:4 with yerrorlines pt 7 ps 0.6 lw 2 lc rgb '#d95f02' title 'all modules: %.2f'\n",
            last_step(t), end);
}

/* The last evaluation of each log: means. */
static double last_mean(const training_logs *t, double (*value)(const json_t *line, int depth, int i), int depth, int i)
{
    double sum = 0;
    int n = 0;
    for (int l = 0; l < t->count; l++) {
        const json_t *const line = line_at(&t->log[l], LINE_EVALUATION, plan_number(&t->log[l], "steps"));
        if (line && is_evaluation(line)) sum += value(line, depth, i), n++;
    }
    return n ? sum / n : (double)NAN;
}

static double greedy_of(const json_t *line, int depth, int i)
{
    (void)depth;
    return greedy_draft(line, i);
}

static void draw_temperatures(FILE *g, const training_logs *t)
{
    fprintf(g, "$rates << EOD\n");
    for (int i = 0; i < TEMPERATURES; i++)
        fprintf(g, "%s %.4f %.4f %.4f\n", temperature[i], last_mean(t, sampled, 1, i), last_mean(t, sampled, 2, i),
                last_mean(t, greedy_of, 1, i));
    fprintf(g,
            "EOD\nset title 'Drafts accepted when the main model samples, by temperature (no sampling noise)'\n"
            "set xrange [0:1.6]\nset yrange [0:1]\nset xlabel 'temperature'\nset ylabel 'share of drafts'\n"
            "set key bottom left\n"
            "plot $rates using 1:2 with linespoints pt 7 lw 2 lc rgb '#d95f02' title 'depth 1, sampled', \\\n"
            "     '' using 1:3 with linespoints pt 7 lw 2 lc rgb '#1f78b4' title 'depth 2, sampled', \\\n"
            "     '' using 1:4 with linespoints pt 6 lw 2 dt 2 lc rgb '#d95f02' title 'depth 1, always its largest'\n");
}

bool mtp_figures(const training_logs *t, const char *folder, complaint *why)
{
    static const char *const names[] = {"mtp_acceptance", "mtp_tokens", "mtp_temperature"};
    static void (*const draw[])(FILE *, const training_logs *) = {draw_acceptance, draw_tokens, draw_temperatures};
    figure_source const from = {"mtp", t->file, "bench/studies.sh mtp", plan_word(&t->log[0], "port")};
    for (int i = 0; i < 3; i++) {
        figure f;
        if (!figure_begin(&f, folder, names[i], &from, why)) return false;
        draw[i](f.script, t);
        if (!figure_end(&f, why)) return false;
    }
    return true;
}
