/*
 * The figure of the biases that balance a layer's experts, step by step: they are made again from the loads that the log has, and
 * must be those that the training ended with, to the bit.
 */
#include "plot.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A layer's biases after each step. */
typedef struct {
    int steps, experts;
    float *bias; /* (steps, experts) */
} path;

/* bias + u sign(mean load - load), in binary32 as ports do it; sums are whole numbers. */
static void next_biases(const json_t *line, int layer, float speed, const float *before, int experts, float *after)
{
    double sum = 0;
    for (int e = 0; e < experts; e++) sum += lists_number(line, "load", layer, e);
    for (int e = 0; e < experts; e++) {
        double const above = lists_number(line, "load", layer, e) * experts - sum;
        float const step = above > 0 ? -speed : above < 0 ? speed : 0;
        after[e] = (before ? before[e] : 0) + step;
    }
}

/* NULL: a step has no loads, or there is no memory. */
static float *replay(const training_log *log, int layer, path *p)
{
    float const speed = (float)plan_number(log, "bias_update_speed");
    *p = (path){(int)plan_number(log, "steps"), (int)plan_number(log, "n_routed_experts"), NULL};
    if (log->numbers[LINE_LOADS] < p->steps) return NULL;
    p->bias = calloc((size_t)p->steps * (size_t)p->experts, sizeof *p->bias);
    for (int s = 0; p->bias && s < p->steps; s++) {
        const json_t *const line = line_at(log, LINE_LOADS, s);
        float *const after = p->bias + (size_t)s * (size_t)p->experts;
        if (!line || list_length(line, "load") <= layer) return free(p->bias), p->bias = NULL;
        next_biases(line, layer, speed, s ? after - p->experts : NULL, p->experts, after);
    }
    return p->bias;
}

static double total(const training_log *log, const json_t *line, int layer)
{
    double sum = 0;
    for (int e = 0; e < plan_number(log, "n_routed_experts"); e++) sum += lists_number(line, "load", layer, e);
    return sum;
}

static void check_layer(const training_log *log, int layer, checks *c)
{
    path p;
    double const tokens = plan_number(log, "batch") * plan_number(log, "length");
    if (!replay(log, layer, &p)) {
        check(c, false, "layer %d: the log lacks the loads of a step: bench train --loads writes them", layer);
        return;
    }
    const json_t *const last = line_at(log, LINE_LOADS, p.steps - 1);
    int wrong = 0, uneven = 0;
    for (int e = 0; e < p.experts; e++)
        wrong += (float)lists_number(last, "bias", layer, e) != p.bias[(p.steps - 1) * p.experts + e];
    for (int s = 0; s < p.steps; s++)
        uneven += total(log, line_at(log, LINE_LOADS, s), layer) != tokens * plan_number(log, "num_experts_per_tok");
    check(c, !wrong, "layer %d: %d of %d biases differ from those made again from %d steps' loads", layer, wrong,
          p.experts, p.steps);
    check(c, !uneven, "layer %d: in %d steps the loads are not num_experts_per_tok times the tokens", layer, uneven);
    free(p.bias);
}

void biases_check(const training_logs *t, checks *c)
{
    for (int i = 0; i < t->count; i++)
        for (int l = 0; l < main_layers(&t->log[i]); l++) check_layer(&t->log[i], l, c);
}

/* ---- the figure ---- */

/* The mean load of an expert in the first tenth of the steps, over the mean of all: what its bias answers to. */
static double early_load(const training_log *log, int layer, int expert)
{
    int const steps = (int)plan_number(log, "steps") / 10 + 1;
    double sum = 0;
    for (int s = 0; s < steps; s++) {
        const json_t *const line = line_at(log, LINE_LOADS, s);
        sum += lists_number(line, "load", layer, expert) / total(log, line, layer);
    }
    return sum / steps * plan_number(log, "n_routed_experts");
}

static double mean_of(const float *v, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += (double)v[i];
    return sum / n;
}

static void draw_biases(FILE *g, const training_log *log, const path *p, int layer)
{
    fprintf(g, "$bias << EOD\n");
    for (int e = 0; e < p->experts; e++) {
        double const load = early_load(log, layer, e);
        for (int s = 0; s < p->steps; s += 2) {
            const float *const row = p->bias + (size_t)s * (size_t)p->experts;
            fprintf(g, "%d %.4f %.3f\n", s, (double)row[e] - mean_of(row, p->experts), load);
        }
        fprintf(g, "\n");
    }
    fprintf(g,
            "EOD\nset title 'Biases of the %d experts of one layer, u = %g: less their mean'\n"
            "set xlabel 'step'\nset xrange [0:%d]\nset ylabel 'b_i - mean'\nset cbrange [0:3]\n"
            "set palette defined (0 '#2166ac', 1 '#bbbbbb', 3 '#b2182b')\n"
            "set cblabel 'load in the first tenth of the steps, over the mean'\n"
            "plot $bias using 1:2:3 with lines lw 1.2 lc palette notitle\n",
            p->experts, plan_number(log, "bias_update_speed"), p->steps);
}

bool biases_figures(const training_logs *t, const char *folder, complaint *why)
{
    figure f;
    path p;
    int const layer =
        main_layers(&t->log[0]) - 1; /* of the main model the last one: it is the most uneven without biases */
    figure_source const from = {"biases", t->file, "bench/studies.sh biases", plan_word(&t->log[0], "port")};
    if (!replay(&t->log[0], layer, &p)) return refuse(why, "%s: a step has no loads, or there is no memory", t->file);
    bool const begun = figure_begin(&f, folder, "balance_biases", &from, why);
    if (begun) draw_biases(f.script, &t->log[0], &p, layer);
    free(p.bias);
    return begun && figure_end(&f, why);
}
