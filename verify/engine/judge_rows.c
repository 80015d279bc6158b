/* See judge_rows.h. */
#include "judge_rows.h"

#include "model/case_ids.h"
#include "model/stage.h"
#include "row_work.h"
#include "run/case.h"
#include "second_look.h"
#include "values.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ROWS = 256 }; /* of a piece */

/* ---- the case ---- */

/* Outputs of their own format, whatever the hidden states have. */
static bool has_own_format(const slot *s)
{
    static const char *const names[] = {"input_ids", "router_logits", "topk_idx", "topk_weight", NULL};
    for (int i = 0; names[i]; i++)
        if (!strcmp(s->tensor, names[i])) return true;
    return false;
}

static formats_seen look_at_all(const row_work *k, bool wide)
{
    formats_seen seen = {false};
    for (int i = 0; i < k->slots; i++) {
        if (has_own_format(&k->row->slots[i]) || !row_has(k, i)) continue;
        values_look(k->recorded[i], wide, &seen);
        if (k->beside[i]) values_look(k->beside[i], wide, &seen);
    }
    return seen;
}

/* The format of a stage: that of its tensors; F32 if they differ, for that holds both, and if it has none but choices. Where one in F64
 * needs that, all in F64 are. */
static dsv3_dtype format_of(const row_work *k)
{
    formats_seen seen = look_at_all(k, false);
    if (seen.f64) seen = look_at_all(k, true);
    if (seen.f64 && !seen.f32 && !seen.f16 && !seen.bf16) return DSV3_F64;
    return seen.f32 || seen.f64 || seen.f16 || !seen.bf16 ? DSV3_F32 : DSV3_BF16;
}

/* An output that the engine kept in fewer bits than its stage has: what was rounded on the way to it nobody knows. */
static bool give_narrow(row_work *k, dsv3_dtype format)
{
    bool good = true;
    for (int i = 0; i < k->slots; i++) {
        bool const own = has_own_format(&k->row->slots[i]);
        if (k->role[i] != ROLE_JUDGED || !(own || format == DSV3_F32)) continue;
        dsv3_dtype const kept = values_format(k->recorded[i]);
        if (kept != DSV3_F16 && (own || k->recorded[i]->dtype != DSV3_BF16)) continue;
        k->role[i] = ROLE_GIVEN;
        good =
            good && work_postpone(k->w, k->name[i],
                                  kept == DSV3_F16 ? "is F16, and results in F16 aren't judged: what is made of it is"
                                                   : "is BF16 where its stage is F32: what is made of it is judged");
    }
    return good;
}

/* What a router gives has a format of its own: that of its numbers, F32 or BF16. */
static void round_own(const row_work *k, stage *s, int i)
{
    if (k->role[i] != ROLE_JUDGED || !has_own_format(&k->row->slots[i])) return;
    if (values_format(k->recorded[i]) == DSV3_BF16) stage_round(s, k->row->slots[i].tensor, DSV3_BF16);
}

/* The norms of the latents have an eps of their own, 1e-6, or the model's. */
static void write_id_of_attention(const row_work *k, const model_run *m, char id[ID])
{
    id_of_attention(m, k->module, k->from, k->rows, true, id);
    size_t const used = strlen(id);
    if (k->w->e->names->latent_eps) snprintf(id + used, ID - used, ",rms_norm_eps=%.17g", m->config->rms_norm_eps);
}

static void write_id(const row_work *k, const model_run *m, char id[ID])
{
    const safetensor *w;
    char name[STAGE_NAME + 10];
    switch (k->row->kind) {
    case CASE_EMBED: id_of_embed(m, k->rows, id); return;
    case CASE_NORM: id_of_norm(m, k->rows, false, id); return;
    case CASE_NORM_ADDS: id_of_norm(m, k->rows, true, id); return;
    case CASE_SWIGLU: id_of_swiglu(m, k->rows, id); return;
    case CASE_ATTENTION: write_id_of_attention(k, m, id); return;
    case CASE_MOE: id_of_moe(m, k->module, k->rows, true, id); return;
    case CASE_LINEAR: break;
    }
    snprintf(name, sizeof name, "%s.weight", k->module);
    w = checkpoint_find(m->weights, name);
    bool const matrix = w && w->ndim == 2;
    id_of_linear(m, k->module, k->rows, matrix ? w->shape[1] : 1, matrix ? w->shape[0] : 1, id);
}

/* Memory of a row: tensors as the stage wants them. */
typedef struct {
    void *data[MOST_SLOTS + 5];
    int count;
} row_memory;

static void *take_memory(row_memory *memory, size_t bytes)
{
    return memory->data[memory->count++] = calloc(1, bytes + 1);
}

static void free_memory(row_memory *memory)
{
    for (int i = 0; i < memory->count; i++) free(memory->data[i]);
}

/* ---- binding ---- */

/* A module's state comes from where there is one token more. */
static int64_t rows_behind(const slot *s)
{
    return strcmp(s->name, "{H}") == 0;
}

static bool read_slot(const row_work *k, int i, const tensor_info *t, void *out, complaint *why)
{
    values_wanted const w = {.rows = k->rows,
                             .columns = t->count / k->rows,
                             .inner = t->ndim > 2 ? t->shape[t->ndim - 1] : 0,
                             .before = k->from,
                             .more = k->all - k->from - k->rows + rows_behind(&k->row->slots[i]),
                             .format = t->dtype,
                             .finite = k->role[i] == ROLE_GIVEN};
    if (k->beside[i]) return values_read_both(k->recorded[i], k->beside[i], &w, out, why);
    return values_read(k->recorded[i], &w, out, why);
}

/* Without these a case has no format, or no experts: they are zeros, from which nothing that is judged follows. */
static bool is_needed(const slot *s)
{
    return !strcmp(s->tensor, "y") || !strcmp(s->tensor, "topk_idx");
}

/* One tensor of the case. False: its fault. */
static bool bind_slot(row_work *k, stage *s, int i, row_memory *memory)
{
    const slot *const of = &k->row->slots[i];
    complaint *const why = &k->fault[i];
    const tensor_info *const t = problem_tensor(stage_problem(s), of->tensor);
    if (!row_wants(k, i)) return true;
    if (!strcmp(of->tensor, "input_ids"))
        return stage_bind(s, of->tensor, k->w->e->m->tokens + k->at->module + 1 + k->from), true;
    if (k->role[i] == ROLE_ABSENT && slot_is_output(of) && !is_needed(of)) return stage_leave_out(s, of->tensor), true;
    if (k->role[i] == ROLE_ABSENT && slot_is_output(of)) return stage_give(s, of->tensor, NULL);
    round_own(k, s, i);
    void *const data = take_memory(memory, t->bytes);
    if (!data) return refuse(why, "no memory for %s", k->name[i]);
    if (k->role[i] != ROLE_ABSENT && !read_slot(k, i, t, data, why)) return false;
    if (!slot_is_output(of)) return stage_bind(s, of->tensor, data), true;
    if (k->role[i] == ROLE_JUDGED) return stage_take(s, of->tensor, data), true;
    return stage_give(s, of->tensor, data);
}

/* The past of a piece: the engine's own rows. False: it has a fault. */
static bool read_past(row_work *k, stage *s, void *cache)
{
    int const kv = row_slot(k, "kv");
    const tensor_info *const t = problem_tensor(stage_problem(s), "kv_cache");
    values_wanted const w = {.rows = k->from,
                             .columns = t->shape[t->ndim - 1],
                             .more = k->all - k->from,
                             .format = t->dtype,
                             .finite = true};
    return k->from == 0 || values_read(k->recorded[kv], &w, cache, &k->fault[kv]);
}

/* The cache of one sequence: in its first pages lies the past. */
static bool bind_cache(row_work *k, stage *s, row_memory *memory, complaint *why)
{
    int32_t *const starts = take_memory(memory, 2 * sizeof *starts), *const length =
                                                                         take_memory(memory, sizeof *length);
    size_t const pages = stage_bytes(s, "block_table") / sizeof(int32_t);
    void *const cache = take_memory(memory, stage_bytes(s, "kv_cache"));
    int32_t *const table = take_memory(memory, stage_bytes(s, "block_table"));
    if (!starts || !length || !cache || !table) return refuse(why, "no memory for the cache of %s", k->module);
    starts[1] = (int32_t)k->rows;
    *length = (int32_t)(k->from + k->rows);
    for (size_t i = 0; i < pages; i++) table[i] = (int32_t)i;
    stage_bind(s, "cu_seqlens", starts);
    stage_bind(s, "cache_seqlens", length);
    stage_bind(s, "kv_cache", cache);
    stage_bind(s, "block_table", table);
    return read_past(k, s, cache);
}

/* False: no memory, or a tensor that can't be used, and it has a fault. */
static bool bind_all(row_work *k, stage *s, row_memory *memory)
{
    bool good = k->row->kind != CASE_ATTENTION || bind_cache(k, s, memory, k->w->why);
    for (int i = 0; good && i < k->slots; i++) good = bind_slot(k, s, i, memory);
    return good;
}

/* ---- judging ---- */

static void tell(row_work *k, const problem *p, const result *r)
{
    const engine_run *const e = k->w->e;
    char piece[60] = "";
    if (k->rows < k->all)
        snprintf(piece, sizeof piece, ", rows %lld:%lld", (long long)k->from, (long long)(k->from + k->rows));
    snprintf(k->told.module, sizeof k->told.module, "%.130s%s", k->module, piece);
    k->told.p = p;
    k->told.r = r;
    *k->told.given = 0;
    row_name_given(k);
    if (e->report) e->report(e->context, &k->told);
}

/* Names of the outputs, behind their last piece, so that no later row judges them again. */
static bool note_all(row_work *k)
{
    if (k->from + k->rows < k->all) return true;
    for (int i = 0; i < k->slots; i++)
        if (k->role[i] == ROLE_JUDGED && !work_note_judged(k->w, k->name[i])) return false;
    return true;
}

static bool judge_stage(row_work *k, stage *s)
{
    const engine_run *const e = k->w->e;
    char declared[REF_NUMERICS_CAP];
    result *const r = calloc(1, sizeof *r);
    bool good = r || refuse(k->w->why, "no memory to judge %s", k->module);
    good = good && sections_of(e->numerics, stage_problem(s)->op->name, k->module, declared, k->w->why) &&
           stage_judge(s, declared, e->wanted, r) && note_all(k);
    if (good && r->v == FAIL && e->wanted & WANT_DIAGNOSIS) good = look_again(k, s, declared, r);
    if (good) tell(k, stage_problem(s), r);
    free(r);
    return good;
}

/* A case of this engine that no id can be of, such as BF16 states beside F32 weights, isn't judged. */
static bool has_case(const char *id, complaint *reason)
{
    problem p;
    if (!problem_parse(id, &p, reason)) return false;
    problem_close(&p);
    return true;
}

/* Binds what can be used, and judges. again: a tensor can't be, and the row is another one without it. */
static bool bind_and_judge(row_work *k, const model_run *m, const char *id, bool *again)
{
    row_memory memory = {.count = 0};
    stage *const s = stage_open(m, k->module, id, k->w->why);
    if (!s) return false;
    *again = !bind_all(k, s, &memory);
    bool const good = *again || judge_stage(k, s);
    stage_close(s, false, NULL);
    free_memory(&memory);
    return good;
}

static bool judge_piece(row_work *k)
{
    model_run m = *k->w->e->m;
    char id[ID];
    complaint reason;
    for (bool again = true; again;) {
        int const faults = row_count_faults(k);
        m.format = format_of(k);
        if (!give_narrow(k, m.format)) return false;
        if (!row_has_judged(k)) return true;
        write_id(k, &m, id);
        if (!has_case(id, &reason)) return row_postpone_all(k, reason.text);
        if (!bind_and_judge(k, &m, id, &again)) return false;
        if (again && row_count_faults(k) == faults) return false; /* there was no memory */
        if (again && !(row_postpone_faulty(k) && row_assign_roles(k))) return false;
    }
    return true;
}

/* Many tokens are judged a piece after the other; attention if the past of a piece is recorded. */
static bool open_and_judge(row_work *k)
{
    int const kv = k->row->kind == CASE_ATTENTION ? row_slot(k, "kv") : 0;
    bool const whole = k->row->kind == CASE_ATTENTION && !row_has(k, kv);
    for (k->from = 0; k->from < k->all && row_has_judged(k); k->from += k->rows) {
        k->rows = whole || k->all - k->from < MOST_ROWS ? k->all - k->from : MOST_ROWS;
        if (!judge_piece(k)) return false;
    }
    return true;
}

static void work_on(void *context, const place *at, const stage_row *row)
{
    work *const w = context;
    if (!w->good) return;
    row_work *const k = calloc(1, sizeof *k);
    if (!k) {
        w->good = refuse(w->why, "no memory");
        return;
    }
    *k = (row_work){.w = w, .at = at, .row = row, .slots = slots_in(row), .all = rows_at(at, w->e->m->n_tokens)};
    stage_name(at, row->module, k->module);
    row_find(k);
    w->good = row_postpone_faulty(k) && row_assign_roles(k) && (!row_has_judged(k) || open_and_judge(k));
    row_forget(k);
    free(k);
}

/* What no row has judged, each once; it is wrong, or skipped. */
static bool tell_the_rest(work *w)
{
    result *const r = calloc(1, sizeof *r);
    judged_row *const told = calloc(1, sizeof *told);
    bool good = (r && told) || refuse(w->why, "no memory");
    for (int i = 0; good && i < w->later; i++) {
        const postponed *const p = &w->to_judge[i];
        if (work_has_judged(w, p->name)) continue;
        r->v = p->wrong ? FAIL : SKIP, r->skip = SKIP_SAID;
        snprintf(r->why, sizeof r->why, "%s%s", p->wrong ? "" : "not judged: ", p->reason);
        snprintf(told->module, sizeof told->module, "%s", p->name);
        told->r = r;
        if (w->e->report) w->e->report(w->e->context, told);
        good = work_note_judged(w, p->name);
    }
    free(r);
    free(told);
    return good;
}

bool judge_rows(const engine_run *e, complaint *why)
{
    work w = {.e = e, .why = why, .good = true};
    for_each_row(e->m->config, e->m->n_tokens, work_on, &w);
    w.good = w.good && tell_the_rest(&w);
    free(w.judged_name);
    free(w.to_judge);
    return w.good;
}
