/* See second_look.h. */
#include "second_look.h"

#include "run/case.h"
#include "values.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- two side by side ---- */

/* Both in the other order, into data: is the answer legal then? */
static bool try_exchanged(row_work *k, stage *s, const char *declared, void *data, result *r, result *other)
{
    const tensor_info *const t = problem_tensor(stage_problem(s), k->row->slots[0].tensor);
    values_wanted const w = {.rows = k->rows,
                             .columns = t->count / k->rows,
                             .before = k->from,
                             .more = k->all - k->from - k->rows,
                             .format = t->dtype};
    complaint unfit;
    if (!values_read_both(k->beside[0], k->recorded[0], &w, data, &unfit)) return true;
    const void *const was = stage_release(s, t->name);
    stage_bind(s, t->name, data);
    bool const good = stage_judge(s, declared, WANT_PROOFS, other);
    stage_bind(s, t->name, was);
    if (!good || other->v != PASS) return good;
    r->diagnoses = 1;
    r->diagnosis[0] = (diagnosis_row){.quirk = QUIRK_M1_hidden_first, .other = -1};
    return true;
}

static bool name_exchange(row_work *k, stage *s, const char *declared, result *r, result *other)
{
    void *const data = malloc(stage_bytes(s, k->row->slots[0].tensor) + 1);
    bool const good =
        data ? try_exchanged(k, s, declared, data, r, other) : refuse(k->w->why, "no memory to judge %s", k->module);
    free(data);
    return good;
}

/* ---- rows ---- */

/* An output that is wrong in more than a row. */
static bool is_wrong(const row_work *k, const output_stats *o)
{
    return o->outside > o->count / k->rows;
}

/* Takes its rows from those `by` behind them, the last from the first. NULL: no memory; else what it was before. */
static const void *shift_rows(const row_work *k, stage *s, const char *tensor, int by)
{
    size_t const row = stage_bytes(s, tensor) / (size_t)k->rows;
    const char *const was = stage_release(s, tensor);
    char *const moved = malloc((size_t)k->rows * row);
    if (!moved) return NULL;
    for (int64_t i = 0; i < k->rows; i++)
        memcpy(moved + (size_t)i * row, was + (size_t)((i + by + k->rows) % k->rows) * row, row);
    stage_take(s, tensor, moved);
    return was;
}

/* Is the answer legal, but for one row, if rows of what is wrong are shifted by one? */
static bool try_shift(row_work *k, stage *s, const char *declared, int by, const result *r, result *other)
{
    const void *was[MAX_OUTPUTS] = {NULL};
    bool good = true;
    for (int i = 0; good && i < r->outputs; i++)
        if (is_wrong(k, &r->output[i])) good = (was[i] = shift_rows(k, s, r->output[i].name, by)) != NULL;
    good = good ? stage_judge(s, declared, WANT_PROOFS, other) : refuse(k->w->why, "no memory to judge %s", k->module);
    for (int i = 0; i < r->outputs; i++) {
        if (!was[i]) continue;
        free(stage_release(s, r->output[i].name));
        stage_take(s, r->output[i].name, was[i]);
    }
    return good;
}

static bool name_shift(row_work *k, stage *s, const char *declared, result *r, result *other)
{
    static const char *const words[] = {"behind", "before"};
    bool good = true, wrong = false;
    for (int i = 0; i < r->outputs; i++) wrong |= is_wrong(k, &r->output[i]);
    for (int way = 0; good && wrong && k->rows > 2 && way < 2; way++) {
        good = try_shift(k, s, declared, way ? 1 : -1, r, other);
        bool fits = good && (other->v == PASS || other->v == FAIL);
        for (int i = 0; fits && i < other->outputs; i++) fits = !is_wrong(k, &other->output[i]);
        size_t const used = strlen(r->why);
        if (fits) snprintf(r->why + used, sizeof r->why - used, "; rows are those %s them", words[way]);
        wrong = !fits;
    }
    return good;
}

bool look_again(row_work *k, stage *s, const char *declared, result *r)
{
    result *const other = calloc(1, sizeof *other);
    bool good = other || refuse(k->w->why, "no memory to judge %s", k->module);
    if (good && k->beside[0]) good = name_exchange(k, s, declared, r, other);
    if (good && !result_is_diagnosed(r)) good = name_shift(k, s, declared, r, other);
    free(other);
    return good;
}
