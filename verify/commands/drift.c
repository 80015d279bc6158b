/* See drift.h. */
#include "drift.h"

#include "engine.h"
#include "engine/compare_logits.h"
#include "engine/values.h"
#include "options.h"
#include "terminal_line.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A stage that is recorded: how far its rows are from truth, of the engine and of each port. */
typedef struct {
    const safetensor *truth;
    char *fault; /* why it can't be compared; NULL: it can */
    double engine;
    double port[MOST_DRAWN];
} tracked;

typedef struct {
    const drift_options *o;
    const model_run *m;
    sections *numerics;
    dump truth;
    int64_t count;
    tracked *stage;
} drift;

/* ---- distances ---- */

/* |got - truth| / |truth| of a row; what is no number is as far as any. */
static double distance(const double *truth, const double *got, int64_t width)
{
    double off = 0, size = 0;
    for (int64_t i = 0; i < width; i++) {
        off += (got[i] - truth[i]) * (got[i] - truth[i]);
        size += truth[i] * truth[i];
    }
    if (off == 0) return 0;
    return isfinite(off) && size > 0 ? sqrt(off / size) : HUGE_VAL;
}

/* At most that in half of the rows: a token with other experts than truth's doesn't count. False: no memory. */
static bool half_of_rows(const safetensor *truth, const double *got, double *out)
{
    int64_t const rows = truth->shape[0], width = truth->shape[1];
    double *const each = malloc((size_t)(rows + width) * sizeof *each + 1);
    for (int64_t r = 0; each && r < rows; r++) {
        ref_decode_all(DSV3_F64, truth->data, r * width, width, each + rows);
        each[r] = distance(each + rows, got + r * width, width);
    }
    if (each) *out = sort_to_half(each, rows);
    bool const good = each != NULL;
    free(each);
    return good;
}

/* ---- stages ---- */

/* Numbers of a main model's stage: weights of experts are no such, for their order is the engine's. */
static bool is_stage_of_numbers(const safetensor *t)
{
    return t->dtype == DSV3_F64 && t->ndim == 2 && !strstr(t->name, ".radius") && !strstr(t->name, ".topk_weight");
}

/* The engine's numbers of a stage. NULL: they aren't recorded, or (then a sentence is in fault) can't be used. */
static double *read_engine(const drift *d, const recording *r, const name_map *names, const safetensor *t,
                           complaint *fault)
{
    shaped found;
    values_wanted const w = {.rows = t->shape[0], .columns = t->shape[1], .format = DSV3_F64};
    map_scene const at = {r, d->m->config, d->m->weights};
    bool const some = name_map_find(names, &at, t->name, &found, fault);
    double *numbers = some ? malloc((size_t)(w.rows * w.columns) * sizeof *numbers + 1) : NULL;
    if (some && !numbers) refuse(fault, "no memory for %s", t->name);
    if (numbers && !values_read(&found.t, &w, numbers, fault)) free(numbers), numbers = NULL;
    shaped_free(&found);
    return numbers;
}

/* Adds the stage, if anything of it is recorded. */
static bool track(drift *d, const recording *r, const name_map *names, const safetensor *t, complaint *why)
{
    complaint fault = {""};
    tracked *const s = &d->stage[d->count];
    double *const numbers = read_engine(d, r, names, t, &fault);
    if (!numbers && !*fault.text) return true;
    bool good = !numbers || half_of_rows(t, numbers, &s->engine);
    if (!numbers) good = (s->fault = strdup(fault.text)) != NULL;
    s->truth = t;
    d->count++;
    free(numbers);
    return good || refuse(why, "no memory for %s", t->name);
}

static bool track_all(drift *d, const recording *r, const name_map *names, complaint *why)
{
    d->stage = calloc((size_t)d->truth.count + 1, sizeof *d->stage);
    bool good = d->stage || refuse(why, "no memory for the stages");
    for (int64_t i = 0; good && i < d->truth.count; i++)
        if (is_stage_of_numbers(&d->truth.item[i])) good = track(d, r, names, &d->truth.item[i], why);
    return good;
}

static bool draw_port(drift *d, int number, complaint *why)
{
    dump chain = {.lock = -1};
    bool good = run_drawn_model(d->m, d->numerics, number, d->o->drawn, &chain, why);
    for (int64_t i = 0; good && i < d->count; i++) {
        if (d->stage[i].fault) continue;
        const safetensor *const t = d->stage[i].truth, *const drawn = dump_find(&chain, t->name);
        int64_t const count = t->shape[0] * t->shape[1];
        double *const numbers = malloc((size_t)count * sizeof *numbers + 1);
        if (numbers) ref_decode_all(drawn->dtype, drawn->data, 0, count, numbers);
        good = (numbers && half_of_rows(t, numbers, &d->stage[i].port[number])) ||
               refuse(why, "no memory for %s", t->name);
        free(numbers);
    }
    dump_close(&chain);
    return good;
}

static bool compute(drift *d, const recording *r, complaint *why)
{
    const name_map *const names = d->o->names;
    bool good = name_map_is_whole(names, why) && run_truth_of(d->m, &d->truth, why) && track_all(d, r, names, why);
    for (int n = 0; good && d->count && n < d->o->drawn; n++) good = draw_port(d, n, why);
    terminal_line_clear();
    return good;
}

/* ---- the report ---- */

static void print_ports(const tracked *s, int ports)
{
    printf("  ports");
    for (int k = 0; k < ports; k++) printf(" %.3e", s->port[k]);
    putchar('\n');
}

static int report(const drift *d)
{
    const char *first = NULL;
    int64_t beyond = 0, compared = 0;
    printf("%-47s %8s %8s %8s %8s\n", "off, half of the rows", "engine", "half", "all", "limit");
    for (int64_t i = 0; i < d->count; i++) {
        const tracked *const s = &d->stage[i];
        if (s->fault) {
            printf("%-47s not compared: %s\n", s->truth->name, s->fault);
            continue;
        }
        compared++;
        band const b = band_of_ports(s->port, d->o->drawn);
        bool const far = s->engine > limit_of(b);
        printf("%-47s %8.1e %8.1e %8.1e %8.1e%s\n", s->truth->name, s->engine, b.half, b.all, limit_of(b),
               far ? " <-" : "");
        if (d->o->verbose) print_ports(s, d->o->drawn);
        if (far && !beyond++) first = s->truth->name;
    }
    if (!compared) return puts("no stage of a chain is recorded"), EXIT_NOTHING;
    if (first)
        printf("rejects: %lld of %lld stages are further off than ports go, the first is %s\n", (long long)beyond,
               (long long)compared, first);
    else
        puts("doesn't reject, and cannot prove: stages given the engine's own values can");
    return first ? EXIT_BAD_VERDICT : EXIT_GOOD;
}

int judge_drift(const drift_options *o, const model_run *m, const recording *recorded)
{
    complaint why;
    drift d = {.o = o, .m = m, .truth = {.lock = -1}, .numerics = malloc(sizeof *d.numerics)};
    bool good = d.numerics || refuse(&why, "no memory for the declaration");
    good = good && read_sections(o->numerics, m->config, d.numerics, &why) && compute(&d, recorded, &why);
    terminal_line_clear();
    int const code = good ? report(&d) : usage_error("%s", why.text);
    dump_close(&d.truth);
    for (int64_t i = 0; d.stage && i < d.count; i++) free(d.stage[i].fault);
    free(d.stage);
    free(d.numerics);
    return code;
}
