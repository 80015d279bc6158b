/* See stage.h. */
#include "stage.h"

#include "judge/enclose.h"
#include "judge/null.h"
#include "verdict.h"
#include "run/case.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct stage {
    const model_run *m;
    char module[NAME]; /* path of the module whose weights it has */
    problem p;
    void **data;       /* of each tensor of p */
    tensor_row *given; /* of outputs that are given: rows of inputs */
    int givens;
    bool *owned;     /* data[i] is memory of the stage, not the checkpoint's or the caller's */
    int64_t *finite; /* elements of each weight, from the first on, that were read and found finite */
    bool unfit;      /* one that was read isn't finite: why says so */
    complaint *why;
};

static bool is_real(dsv3_dtype d)
{
    return d == DSV3_F32 || d == DSV3_BF16;
}

static void set_format(tensor_info *t, dsv3_dtype d)
{
    t->dtype = d;
    t->bytes = (size_t)t->count * ref_dtype_size(d);
}

static int index_of(const stage *s, const char *name)
{
    return (int)(problem_tensor(&s->p, name) - s->p.tensor);
}

/* ---- opening: tensors of a case become those of the checkpoint ---- */

/* Formats in which the checkpoint may have a weight. Truth reads any real one. */
static unsigned formats_of(const stage *s, const tensor_info *t)
{
    if (strstr(t->name, "weight_scale_inv") || strstr(t->name, "bias")) return DTYPE_BIT(DSV3_F32);
    if (t->dtype == DSV3_F8_E4M3 || s->m->judged) return DTYPE_BIT(t->dtype);
    return DTYPE_BIT(DSV3_F32) | DTYPE_BIT(DSV3_BF16) | DTYPE_BIT(DSV3_F16);
}

/* One weight, as the checkpoint has it. */
static bool open_weight(stage *s, int i)
{
    tensor_info *const t = &s->p.tensor[i];
    const checkpoint *const weights = s->m->weights;
    const safetensor *found;
    char name[NAME + 64];
    snprintf(name, sizeof name, "%s%s%s", s->module, *s->module ? "." : "", t->name);
    if (!checkpoint_expect(weights, name, formats_of(s, t), t->ndim, t->shape, &found, s->why)) return false;
    if (strstr(t->name, "weight_scale_inv") && !checkpoint_check_scales(weights, found, s->why)) return false;
    set_format(t, found->dtype);
    s->data[i] = (void *)(uintptr_t)found->data;
    return true;
}

static bool open_tensor(stage *s, int i)
{
    tensor_info *const t = &s->p.tensor[i];
    if (t->row->kind == TENSOR_WEIGHT) return open_weight(s, i);
    if (s->m->format == DSV3_F64 && is_real(t->dtype)) set_format(t, DSV3_F64);
    if (t->row->kind != TENSOR_OUT) return true;
    s->data[i] = calloc(1, t->bytes + 1);
    s->owned[i] = true;
    return s->data[i] || refuse(s->why, "no memory for %s of %s", t->name, s->module);
}

static bool open_tensors(stage *s)
{
    s->data = calloc((size_t)s->p.tensors, sizeof *s->data);
    s->owned = calloc((size_t)s->p.tensors, sizeof *s->owned);
    s->finite = calloc((size_t)s->p.tensors, sizeof *s->finite);
    if (!s->data || !s->owned || !s->finite) return refuse(s->why, "no memory for %s", s->module);
    for (int i = 0; i < s->p.tensors; i++)
        if (!open_tensor(s, i)) return false;
    return true;
}

stage *stage_open(const model_run *m, const char *module, const char *id, complaint *why)
{
    stage *const s = calloc(1, sizeof *s);
    if (!s) return refuse(why, "no memory for %s", module), NULL;
    s->m = m, s->why = why;
    snprintf(s->module, sizeof s->module, "%s", module);
    if (problem_parse(id, &s->p, why) && open_tensors(s)) return s;
    stage_close(s, false, NULL);
    return NULL;
}

bool stage_close(stage *s, bool good, void **y)
{
    if (good) *y = stage_release(s, "y");
    for (int i = 0; s->data && s->owned && i < s->p.tensors; i++) {
        if (s->owned[i])
            free(s->data[i]);
        else if (s->p.tensor[i].row->kind == TENSOR_WEIGHT && s->data[i])
            checkpoint_release(s->data[i], s->p.tensor[i].bytes);
    }
    free(s->data);
    free(s->given);
    free(s->owned);
    free(s->finite);
    problem_close(&s->p);
    free(s);
    return good;
}

void stage_bind(stage *s, const char *tensor, const void *data)
{
    s->data[index_of(s, tensor)] = (void *)(uintptr_t)data;
}

size_t stage_bytes(const stage *s, const char *tensor)
{
    return problem_tensor(&s->p, tensor)->bytes;
}

void *stage_release(stage *s, const char *tensor)
{
    int const i = index_of(s, tensor);
    s->owned[i] = false;
    return s->data[i];
}

/* ---- outputs of somebody else ---- */

void stage_take(stage *s, const char *tensor, const void *data)
{
    int const i = index_of(s, tensor);
    if (s->owned[i]) free(s->data[i]);
    s->owned[i] = false;
    s->data[i] = (void *)(uintptr_t)data;
}

void stage_round(stage *s, const char *tensor, dsv3_dtype format)
{
    set_format(&s->p.tensor[index_of(s, tensor)], format);
}

bool stage_give(stage *s, const char *tensor, const void *data)
{
    int const i = index_of(s, tensor);
    if (!s->given) s->given = calloc((size_t)s->p.tensors, sizeof *s->given);
    if (!s->given) return refuse(s->why, "no memory for %s", s->module);
    tensor_row *const row = &s->given[s->givens++];
    *row = *s->p.tensor[i].row;
    row->kind = TENSOR_IN;
    s->p.tensor[i].row = row;
    if (data) stage_take(s, tensor, data);
    return true;
}

void stage_leave_out(stage *s, const char *tensor)
{
    int const i = index_of(s, tensor), behind = --s->p.tensors - i;
    if (s->owned[i]) free(s->data[i]);
    memmove(&s->p.tensor[i], &s->p.tensor[i + 1], (size_t)behind * sizeof *s->p.tensor);
    memmove(&s->data[i], &s->data[i + 1], (size_t)behind * sizeof *s->data);
    memmove(&s->owned[i], &s->owned[i + 1], (size_t)behind * sizeof *s->owned);
    memmove(&s->finite[i], &s->finite[i + 1], (size_t)behind * sizeof *s->finite);
}

const problem *stage_problem(const stage *s)
{
    return &s->p;
}

/* ---- running ---- */

static bool store(const stage *s, const named_output *out, const double *radius)
{
    char name[NAME + 8];
    const tensor_info *const t = problem_tensor(&s->p, out->tensor);
    snprintf(name, sizeof name, "%s.radius", out->name);
    if (!dump_add(s->m->outputs, out->name, t->dtype, t->ndim, t->shape, s->data[t - s->p.tensor])) return false;
    return !radius || dump_add(s->m->outputs, name, DSV3_F64, t->ndim, t->shape, radius);
}

static bool take(stage *s, const named_output *out, bool with_radius)
{
    char name[NAME + 8];
    int const i = index_of(s, out->tensor);
    const tensor_info *const t = &s->p.tensor[i];
    const void *const data = dump_take(s->m->outputs, out->name, t->dtype, t->ndim, t->shape);
    if (!data) return false;
    memcpy(s->data[i], data, t->bytes);
    snprintf(name, sizeof name, "%s.radius", out->name);
    return !with_radius || dump_take(s->m->outputs, name, DSV3_F64, t->ndim, t->shape);
}

/* In the order in which store_truth stores. */
static bool take_truth(stage *s, const named_output *names)
{
    for (int i = 0; i < s->p.tensors; i++)
        for (const named_output *out = names; out->tensor; out++)
            if (!strcmp(out->tensor, s->p.tensor[i].name) && !take(s, out, s->p.tensor[i].dtype == DSV3_F64))
                return false;
    return true;
}

static bool take_verdict(stage *s, const named_output *names, result *r)
{
    const void *const record = dump_take_record(s->m->outputs, s->module, sizeof *r);
    if (!record || !verdict_read(record, sizeof *r, r)) return false;
    for (const named_output *out = names; out->tensor; out++)
        if (!take(s, out, false)) return false;
    return true;
}

/* Takes the outputs, and the verdict, of an earlier run; false: it did not finish this stage. */
static bool restore(stage *s, const named_output *names)
{
    dump *const d = s->m->outputs;
    int64_t const before = d->taken;
    if (before == d->count) return false;
    result *const r = s->m->judged ? malloc(sizeof *r) : NULL;
    bool const good = s->m->judged ? r && take_verdict(s, names, r) : take_truth(s, names);
    if (!good) dump_drop_rest(d, before);
    if (good && s->m->report) s->m->report(s->m->context, s->module, &s->p, r);
    free(r);
    return good;
}

/* ---- what may not be used ---- */

/* The experts whose weights the outputs of this stage come from; others may hold anything. */
static bool is_chosen(const stage *s, int64_t expert)
{
    const tensor_info *const idx = problem_tensor(&s->p, "topk_idx");
    const int32_t *const chosen = idx ? s->data[idx - s->p.tensor] : NULL;
    for (int64_t i = 0; chosen && i < idx->count; i++)
        if (chosen[i] == expert) return true;
    return !chosen;
}

/* The number in "experts.5.up_proj.weight"; -1: of no routed expert. */
static int64_t expert_of(const tensor_info *t)
{
    static const char prefix[] = "experts.";
    return strncmp(t->name, prefix, sizeof prefix - 1) ? -1 : strtoll(t->name + sizeof prefix - 1, NULL, 10);
}

static bool check_rows(const stage *s, const safetensor *w, const tensor_info *ids)
{
    const int32_t *const row = s->data[ids - s->p.tensor];
    for (int64_t i = 0; i < ids->count; i++)
        if (!checkpoint_check_finite(s->m->weights, w, row[i] * w->shape[1], w->shape[1], s->why)) return false;
    return true;
}

static const safetensor *weight_of(const stage *s, int i)
{
    char name[NAME + 64];
    snprintf(name, sizeof name, "%s%s%s", s->module, *s->module ? "." : "", s->p.tensor[i].name);
    return checkpoint_find(s->m->weights, name);
}

/* Weights that are used are finite: of an embedding the rows of the tokens, of the experts (`routed`) the chosen ones.
 * Scales were checked when they were opened, and what the reference read when it had read it. */
static bool check_weights(const stage *s, bool routed)
{
    const tensor_info *const ids = problem_tensor(&s->p, "input_ids");
    for (int i = 0; i < s->p.tensors; i++) {
        const tensor_info *const t = &s->p.tensor[i];
        int64_t const expert = expert_of(t), from = s->finite[i];
        if (t->row->kind != TENSOR_WEIGHT || (expert >= 0) != routed || (routed && !is_chosen(s, expert))) continue;
        const safetensor *const w = weight_of(s, i);
        bool const good =
            ids ? check_rows(s, w, ids) : checkpoint_check_finite(s->m->weights, w, from, t->count - from, s->why);
        if (!good) return false;
    }
    return true;
}

/* The tensor in which these data lie; -1: none. */
static int tensor_at(const stage *s, const char *data)
{
    for (int i = 0; i < s->p.tensors; i++) {
        const char *const first = s->data[i];
        if (first && data >= first && data < first + s->p.tensor[i].bytes) return i;
    }
    return -1;
}

/* What the reference has read is checked while it is at hand, and its pages are released. */
static void on_used(void *user, const void *data, size_t bytes)
{
    stage *const s = user;
    int const i = tensor_at(s, data);
    if (i >= 0 && s->p.tensor[i].row->kind == TENSOR_WEIGHT && !s->unfit) {
        size_t const size = ref_dtype_size(s->p.tensor[i].dtype);
        int64_t const first = ((const char *)data - (const char *)s->data[i]) / (int64_t)size;
        int64_t const count = (int64_t)(bytes / size);
        s->unfit = !checkpoint_check_finite(s->m->weights, weight_of(s, i), first, count, s->why);
        if (!s->unfit && first == s->finite[i]) s->finite[i] += count;
    }
    checkpoint_release(data, bytes);
}

/* Radii around the output as binary64 (or indices), which cover what that leaves out. */
static double *radii(const tensor_info *t, const ref_value *v)
{
    double *const radius = malloc((size_t)t->count * sizeof *radius + 1);
    for (int64_t k = 0; radius && k < t->count; k++)
        radius[k] = v[k].lo == 0 ? v[k].radius : nextafter(v[k].radius + fabs(v[k].lo), HUGE_VAL);
    return radius;
}

/* Truth that is no number, or lies nowhere in particular, ends a chain. */
static bool check_finite(const stage *s, int i, const ref_value *v)
{
    const tensor_info *const t = &s->p.tensor[i];
    int64_t const columns = t->ndim > 1 ? t->shape[t->ndim - 1] : t->count;
    for (int64_t k = 0; k < t->count; k++)
        if (!isfinite(v[k].hi) || !isfinite(v[k].radius))
            return refuse(
                s->why, "the truth of %s has no finite bound: %s, row %lld, column %lld (%s); nothing follows from it",
                s->module, t->name, (long long)(k / columns), (long long)(k % columns), s->p.op->name);
    return true;
}

static bool store_truth(const stage *s, int i, const ref_value *v, const named_output *names)
{
    const tensor_info *const t = &s->p.tensor[i];
    double *const radius = radii(t, v);
    bool good = radius != NULL;
    for (const named_output *out = names; good && out->tensor; out++)
        if (!strcmp(out->tensor, t->name)) good = store(s, out, t->dtype == DSV3_F64 ? radius : NULL);
    free(radius);
    return good || refuse(s->why, "no memory for the outputs of %s", s->module);
}

/* The outputs become data; what was read is what the files still hold. */
static bool take_centres(stage *s, const enclosures *truth)
{
    for (int i = 0; i < s->p.tensors; i++) {
        const tensor_info *const t = &s->p.tensor[i];
        for (int64_t k = 0; truth->value[i] && k < t->count; k++)
            ref_encode(t->dtype, s->data[i], k, truth->value[i][k].hi);
    }
    if (s->unfit || !check_weights(s, false) || !check_weights(s, true)) return false;
    if (!checkpoint_check_unchanged(s->m->weights, s->why)) return false;
    for (int i = 0; i < s->p.tensors; i++)
        if (truth->value[i] && !check_finite(s, i, truth->value[i])) return false;
    return true;
}

/* The same, and then the dump's. */
static bool keep_truth(stage *s, const enclosures *truth, const named_output *names)
{
    if (!take_centres(s, truth)) return false;
    for (int i = 0; i < s->p.tensors; i++)
        if (truth->value[i] && !store_truth(s, i, truth->value[i], names)) return false;
    return true;
}

static bool read_truth(stage *s, enclosures *truth)
{
    ref_reading const rd = {.used = on_used, .user = s};
    return enclose(&s->p, &rd, &ref_dd, s->data, truth) ||
           refuse(s->why, "no memory for the reference of %s", s->module);
}

static bool run_truth(stage *s, const named_output *names)
{
    enclosures truth;
    if (!read_truth(s, &truth)) return false;
    bool const good = keep_truth(s, &truth, names);
    enclosures_free(&truth);
    if (good && s->m->report) s->m->report(s->m->context, s->module, &s->p, NULL);
    return good;
}

static bool store_verdict(const stage *s, const result *r, const named_output *names)
{
    bool good = dump_add_record(s->m->outputs, s->module, r, sizeof *r);
    for (const named_output *out = names; good && out->tensor; out++) good = store(s, out, NULL);
    return good || refuse(s->why, "no memory for the outputs of %s", s->module);
}

bool stage_answered(const result *r)
{
    return r->v == PASS || r->v == FAIL || r->v == VACUOUS || r->v == SUSPECT;
}

bool stage_left_out(const result *r)
{
    return r->v == SKIP &&
           (r->skip == SKIP_OP || r->skip == SKIP_CASE || r->skip == SKIP_OLDER || r->skip == SKIP_SAID);
}

/* In place of outputs that the port didn't make. */
static bool hand_on_truth(stage *s)
{
    enclosures truth;
    if (!read_truth(s, &truth)) return false;
    bool const good = take_centres(s, &truth);
    enclosures_free(&truth);
    return good;
}

static bool judge_port(stage *s, const named_output *names, result *r)
{
    run_case(&s->p, s->data, &s->m->judged, 1, s->m->diagnose ? WANT_DIAGNOSIS : 0, r);
    bool const answered = stage_answered(r), left_out = stage_left_out(r);
    if (left_out && !hand_on_truth(s)) return false;
    if (answered && !check_weights(s, true)) return false;
    if (!checkpoint_check_unchanged(s->m->weights, s->why)) return false;
    if (s->m->report) s->m->report(s->m->context, s->module, &s->p, r);
    if (!answered && !left_out) return refuse(s->why, "the port gave no result for %s: %s", s->module, r->why);
    return store_verdict(s, r, names);
}

static bool run_port(stage *s, const named_output *names)
{
    result *const r = malloc(sizeof *r);
    bool const good = r ? judge_port(s, names, r) : refuse(s->why, "no memory to judge %s", s->module);
    free(r);
    return good;
}

/* What a reading used of the checkpoint leaves the memory; a copy is not the checkpoint's. */
static void release_used(void *user, const void *data, size_t bytes)
{
    if (checkpoint_file_at(user, data)) checkpoint_release(data, bytes);
}

bool stage_judge(stage *s, const char *declared, unsigned wanted, result *r)
{
    if (!check_weights(s, false) || !check_weights(s, true)) return false;
    s->p.used = release_used, s->p.user = (void *)(uintptr_t)s->m->weights;
    run_answered(&s->p, s->data, declared, wanted, r);
    return checkpoint_check_unchanged(s->m->weights, s->why);
}

/* ---- a port that is drawn ---- */

static bool declared_by_drawn(stage *s, ref_numerics *n)
{
    char text[REF_NUMERICS_CAP];
    const drawn_port *const d = s->m->drawn;
    return d->declares(d->context, s->p.op->name, s->module, text, s->why) &&
           ref_numerics_parse(s->p.op->name, text, n, s->why->text, sizeof s->why->text);
}

/* Its outputs, rounded for the last time. False: one is no number. */
static bool write_drawn(stage *s, const ref_numerics *n, const enclosures *e)
{
    for (int i = 0; i < s->p.tensors; i++) {
        const tensor_info *const t = &s->p.tensor[i];
        bool const cut = e->value[i] && output_truncates(&s->p, n, t->name);
        for (int64_t k = 0; e->value[i] && k < t->count; k++) {
            double const v = e->value[i][k].hi;
            if (!isfinite(v))
                return refuse(s->why, "a port that is drawn has no number in %s of %s: nothing follows from it",
                              t->name, s->module);
            ref_encode(t->dtype, s->data[i], k, cut ? ref_truncate(t->dtype, v) : v);
        }
    }
    return true;
}

static bool run_drawn(stage *s, const named_output *names)
{
    ref_numerics n;
    enclosures e;
    ref_reading const rd = {.declared = &n, .sample = &s->m->drawn->port, .used = on_used, .user = s};
    if (!declared_by_drawn(s, &n)) return false;
    if (!enclose(&s->p, &rd, &ref_sampled, s->data, &e)) return refuse(s->why, "no memory for %s", s->module);
    bool good = write_drawn(s, &n, &e) && !s->unfit && check_weights(s, false) && check_weights(s, true);
    enclosures_free(&e);
    for (const named_output *out = names; good && out->tensor; out++)
        good = store(s, out, NULL) || refuse(s->why, "no memory for the outputs of %s", s->module);
    return good && checkpoint_check_unchanged(s->m->weights, s->why);
}

bool stage_run(stage *s, const named_output *names)
{
    if (s->m->drawn) return run_drawn(s, names);
    if (restore(s, names)) return true;
    if (!s->m->judged) return run_truth(s, names);
    return check_weights(s, false) && run_port(s, names);
}
