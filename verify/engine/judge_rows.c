/* See judge_rows.h. */
#include "judge_rows.h"

#include "model/case_ids.h"
#include "model/stage.h"
#include "run/case.h"
#include "values.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What becomes of a tensor of a case. */
typedef enum {
    ROLE_ABSENT, /* it isn't recorded */
    ROLE_GIVEN,  /* what is judged is made of it */
    ROLE_JUDGED
} role;

/* An output that a row could not judge; a later row may. */
typedef struct {
    char name[STAGE_NAME], reason[2 * STAGE_NAME];
} postponed;

/* Where the work is. */
typedef struct {
    const engine_run *e;
    complaint *why;
    bool good;
    int judged, later, judged_room, later_room;
    char (*judged_name)[STAGE_NAME]; /* outputs that were judged */
    postponed *to_judge;
} work;

/* One row at its place. */
typedef struct {
    work *w;
    const place *at;
    const stage_row *row;
    int64_t rows;
    char module[STAGE_NAME];
    char name[MOST_SLOTS][STAGE_NAME];
    shaped first[MOST_SLOTS], second[MOST_SLOTS]; /* what is recorded; two side by side */
    const safetensor *recorded[MOST_SLOTS];       /* the first, if it is there */
    const safetensor *beside[MOST_SLOTS];         /* the second */
    role role[MOST_SLOTS];
    complaint fault[MOST_SLOTS]; /* why what is recorded can't be used; it counts as absent then */
    judged_row told;
} row_work;

/* ---- what is recorded ---- */

static bool is_output(const slot *s)
{
    return s->of != NULL;
}

static int slot_named(const row_work *k, const char *tensor, size_t length)
{
    for (int i = 0; i < MOST_SLOTS && k->row->slots[i].tensor; i++)
        if (strlen(k->row->slots[i].tensor) == length && !strncmp(k->row->slots[i].tensor, tensor, length)) return i;
    return -1;
}

/* The tokens are always there: the command line has them. */
static bool is_recorded(const row_work *k, int i)
{
    return (k->recorded[i] && !*k->fault[i].text) || !strcmp(k->row->slots[i].tensor, "input_ids");
}

/* NULL: it isn't recorded, or has a fault. */
static const safetensor *find_tensor(row_work *k, int i, const char *name, shaped *found)
{
    const engine_run *const e = k->w->e;
    int64_t const rotated = e->m->config->qk_rope_head_dim;
    return name_map_find(e->names, e->recorded, name, rotated, found, &k->fault[i]) ? &found->t : NULL;
}

static void find_slot(row_work *k, int i)
{
    const char *const pattern = k->row->slots[i].name, *const bar = strstr(pattern, " | ");
    char first[STAGE_NAME], second[STAGE_NAME];
    snprintf(first, sizeof first, "%.*s", bar ? (int)(bar - pattern) : (int)strlen(pattern), pattern);
    stage_name(k->at, first, k->name[i]);
    k->recorded[i] = find_tensor(k, i, k->name[i], &k->first[i]);
    if (!bar) return;
    stage_name(k->at, bar + 3, second);
    k->beside[i] = find_tensor(k, i, second, &k->second[i]);
    if (!k->beside[i] && k->recorded[i]) memcpy(k->name[i], second, sizeof second);
    if (!k->beside[i]) k->recorded[i] = NULL;
}

static void forget_slots(row_work *k)
{
    for (int i = 0; i < MOST_SLOTS; i++) shaped_free(&k->first[i]), shaped_free(&k->second[i]);
}

static bool exists(const row_work *k, int i)
{
    return slot_exists(k->at->config, &k->row->slots[i]);
}

/* ---- from what an output is made ---- */

static bool is_determined(const row_work *k, int i);

/* The first tensor that slot i is made of and that is neither recorded nor follows from others; -1: none. */
static int first_lacking(const row_work *k, int i)
{
    for (const char *s = k->row->slots[i].of; *s; s += strspn(s, " ")) {
        size_t const length = strcspn(s, " ");
        int parent = slot_named(k, s, length);
        if (!exists(k, parent)) parent = 0;
        if (!is_determined(k, parent)) return parent;
        s += length;
    }
    return -1;
}

/* Experts are chosen by the engine: another's choice stands for nobody's. */
static bool is_choice(const row_work *k, int i)
{
    return !strcmp(k->row->slots[i].tensor, "topk_idx");
}

static bool is_determined(const row_work *k, int i)
{
    if (is_recorded(k, i)) return true;
    return is_output(&k->row->slots[i]) && !is_choice(k, i) && first_lacking(k, i) < 0;
}

static bool was_judged(const work *w, const char *name)
{
    for (int i = 0; i < w->judged; i++)
        if (!strcmp(w->judged_name[i], name)) return true;
    return false;
}

/* Room for one item more. NULL: no memory, and the old list stays. */
static void *grown(void *list, int count, int *room, size_t size)
{
    if (count < *room) return list;
    void *const more = realloc(list, (size_t)(2 * *room + 64) * size);
    if (more) *room = 2 * *room + 64;
    return more;
}

static bool note_judged(work *w, const char *name)
{
    void *const list = grown(w->judged_name, w->judged, &w->judged_room, sizeof *w->judged_name);
    if (!list) return refuse(w->why, "no memory for the names of stages");
    w->judged_name = list;
    snprintf(w->judged_name[w->judged++], STAGE_NAME, "%s", name);
    return true;
}

static bool postpone(work *w, const char *name, const char *reason)
{
    void *const list = grown(w->to_judge, w->later, &w->later_room, sizeof *w->to_judge);
    if (!list) return refuse(w->why, "no memory for the names of stages");
    w->to_judge = list;
    postponed *const p = &w->to_judge[w->later++];
    snprintf(p->name, sizeof p->name, "%s", name);
    snprintf(p->reason, sizeof p->reason, "%.390s", reason);
    return true;
}

static void add_words(char text[STAGE_WORDS], const char *separator, const char *words)
{
    size_t const used = strlen(text);
    snprintf(text + used, STAGE_WORDS - used, "%s%s", used ? separator : "", words);
}

/* An output that is recorded and that no earlier row judged. */
static bool is_open(const row_work *k, int i)
{
    return exists(k, i) && is_output(&k->row->slots[i]) && is_recorded(k, i) && !was_judged(k->w, k->name[i]);
}

static bool postpone_for_lack(row_work *k, int i, int lacking)
{
    char reason[STAGE_NAME + 10];
    snprintf(reason, sizeof reason, "needs %s", k->name[lacking]);
    return postpone(k->w, k->name[i], *k->fault[lacking].text ? k->fault[lacking].text : reason);
}

/* What each tensor is here. */
static bool assign_roles(row_work *k)
{
    bool good = true;
    for (int i = 0; i < MOST_SLOTS && k->row->slots[i].tensor; i++) {
        k->role[i] = exists(k, i) && is_recorded(k, i) ? ROLE_GIVEN : ROLE_ABSENT;
        if (!is_open(k, i)) continue;
        int const lacking = first_lacking(k, i);
        if (lacking < 0)
            k->role[i] = ROLE_JUDGED;
        else
            good = good && postpone_for_lack(k, i, lacking);
    }
    return good;
}

static bool any_judged(const row_work *k)
{
    for (int i = 0; i < MOST_SLOTS && k->row->slots[i].tensor; i++)
        if (k->role[i] == ROLE_JUDGED) return true;
    return false;
}

/* The row can't be judged at all. */
static bool postpone_all(row_work *k, const char *reason)
{
    bool good = true;
    for (int i = 0; i < MOST_SLOTS && k->row->slots[i].tensor; i++)
        if (k->role[i] == ROLE_JUDGED) good = good && postpone(k->w, k->name[i], reason);
    return good;
}

static void name_given(row_work *k)
{
    for (int i = 0; i < MOST_SLOTS && k->row->slots[i].tensor; i++)
        if (k->role[i] != ROLE_ABSENT &&
            (k->role[i] == ROLE_GIVEN || k->row->kind == CASE_ATTENTION || k->row->kind == CASE_MOE))
            add_words(k->told.given, ", ", k->row->slots[i].tensor);
}

/* ---- the case ---- */

/* Outputs of their own format, whatever the hidden states have. */
static bool has_own_format(const slot *s)
{
    static const char *const names[] = {"input_ids", "router_logits", "topk_idx", "topk_weight", NULL};
    for (int i = 0; names[i]; i++)
        if (!strcmp(s->tensor, names[i])) return true;
    return false;
}

/* The format of a stage: that of its tensors; F32 if they differ, for that holds both, and if it has none but choices. */
static dsv3_dtype format_of(const row_work *k)
{
    formats_seen seen = {false};
    for (int i = 0; i < MOST_SLOTS && k->row->slots[i].tensor; i++) {
        if (has_own_format(&k->row->slots[i]) || !is_recorded(k, i)) continue;
        values_look(k->recorded[i], &seen);
        if (k->beside[i]) values_look(k->beside[i], &seen);
    }
    if (seen.f64 && !seen.f32 && !seen.bf16 && !seen.upcast) return DSV3_F64;
    bool const narrow = seen.bf16 || seen.upcast;
    return seen.f32 || seen.f64 || !narrow ? DSV3_F32 : DSV3_BF16;
}

/* An output that the engine kept in fewer bits than the stage has was rounded once more than a stage is. */
static bool give_narrow(row_work *k, dsv3_dtype format)
{
    bool good = true;
    for (int i = 0; i < MOST_SLOTS && k->row->slots[i].tensor; i++) {
        bool const wide = format == DSV3_F32 || has_own_format(&k->row->slots[i]);
        if (k->role[i] != ROLE_JUDGED || !wide || k->recorded[i]->dtype != DSV3_BF16) continue;
        k->role[i] = ROLE_GIVEN;
        good = good && postpone(k->w, k->name[i], "is BF16 where its stage is F32");
    }
    return good;
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
    case CASE_ATTENTION: id_of_attention(m, k->module, k->rows, true, id); return;
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
                             .more = rows_behind(&k->row->slots[i]),
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
    if (!exists(k, i)) return true;
    if (!strcmp(of->tensor, "input_ids"))
        return stage_bind(s, of->tensor, k->w->e->m->tokens + k->at->module + 1), true;
    if (k->role[i] == ROLE_ABSENT && is_output(of) && !is_needed(of)) return stage_leave_out(s, of->tensor), true;
    if (k->role[i] == ROLE_ABSENT && is_output(of)) return stage_give(s, of->tensor, NULL);
    void *const data = take_memory(memory, t->bytes);
    if (!data) return refuse(why, "no memory for %s", k->name[i]);
    if (k->role[i] != ROLE_ABSENT && !read_slot(k, i, t, data, why)) return false;
    if (!is_output(of)) return stage_bind(s, of->tensor, data), true;
    if (k->role[i] == ROLE_JUDGED) return stage_take(s, of->tensor, data), true;
    return stage_give(s, of->tensor, data);
}

/* The cache of one sequence that begins here: nothing is in it. */
static bool bind_cache(const row_work *k, stage *s, row_memory *memory, complaint *why)
{
    int32_t *const starts = take_memory(memory, 2 * sizeof *starts), *const length =
                                                                         take_memory(memory, sizeof *length);
    void *const cache = take_memory(memory, stage_bytes(s, "kv_cache"));
    void *const table = take_memory(memory, stage_bytes(s, "block_table"));
    if (!starts || !length || !cache || !table) return refuse(why, "no memory for the cache of %s", k->module);
    starts[1] = *length = (int32_t)k->rows;
    stage_bind(s, "cu_seqlens", starts);
    stage_bind(s, "cache_seqlens", length);
    stage_bind(s, "kv_cache", cache);
    stage_bind(s, "block_table", table);
    return true;
}

/* False: no memory, or a tensor that can't be used, and it has a fault. */
static bool bind_all(row_work *k, stage *s, row_memory *memory)
{
    bool good = k->row->kind != CASE_ATTENTION || bind_cache(k, s, memory, k->w->why);
    for (int i = 0; good && i < MOST_SLOTS && k->row->slots[i].tensor; i++) good = bind_slot(k, s, i, memory);
    return good;
}

/* ---- judging ---- */

static void tell(row_work *k, const problem *p, const result *r)
{
    const engine_run *const e = k->w->e;
    snprintf(k->told.module, sizeof k->told.module, "%s", k->module);
    k->told.p = p;
    k->told.r = r;
    name_given(k);
    if (e->report) e->report(e->context, &k->told);
}

/* Names of the outputs, so that no later row judges them again. */
static bool note_all(row_work *k)
{
    for (int i = 0; i < MOST_SLOTS && k->row->slots[i].tensor; i++)
        if (k->role[i] == ROLE_JUDGED && !note_judged(k->w, k->name[i])) return false;
    return true;
}

/* Two tensors side by side in the other order: does the engine's answer follow from that? Then the mistake has a name. */
static bool try_exchanged(row_work *k, stage *s, const char *declared, row_memory *memory, result *r)
{
    const tensor_info *const t = problem_tensor(stage_problem(s), k->row->slots[0].tensor);
    values_wanted const w = {.rows = k->rows, .columns = t->count / k->rows, .format = t->dtype};
    void *const data = take_memory(memory, t->bytes);
    result *const other = calloc(1, sizeof *other);
    bool good = (data && other) || refuse(k->w->why, "no memory to judge %s", k->module);
    if (good && values_read_both(k->beside[0], k->recorded[0], &w, data, k->w->why)) {
        stage_bind(s, k->row->slots[0].tensor, data);
        good = stage_judge(s, declared, WANT_PROOFS, other);
        if (good && other->v == PASS) {
            r->diagnoses = 1;
            r->diagnosis[0] = (diagnosis_row){.quirk = QUIRK_M1_hidden_first, .other = -1};
        }
    }
    free(other);
    return good;
}

static bool judge_stage(row_work *k, stage *s, row_memory *memory)
{
    const engine_run *const e = k->w->e;
    char declared[REF_NUMERICS_CAP];
    result *const r = calloc(1, sizeof *r);
    bool good = r || refuse(k->w->why, "no memory to judge %s", k->module);
    good = good && sections_of(e->numerics, stage_problem(s)->op->name, k->module, declared, k->w->why) &&
           stage_judge(s, declared, e->wanted, r) && note_all(k);
    if (good && r->v == FAIL && e->wanted & WANT_DIAGNOSIS && k->beside[0])
        good = try_exchanged(k, s, declared, memory, r);
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

/* Every fault of an output is a reason why it isn't judged. */
static bool postpone_faulty(row_work *k)
{
    bool good = true;
    for (int i = 0; i < MOST_SLOTS && k->row->slots[i].tensor; i++)
        if (*k->fault[i].text && is_output(&k->row->slots[i]))
            good = good && postpone(k->w, k->name[i], k->fault[i].text);
    return good;
}

static int count_faults(const row_work *k)
{
    int count = 0;
    for (int i = 0; i < MOST_SLOTS; i++) count += *k->fault[i].text != 0;
    return count;
}

/* Binds what can be used, and judges. again: a tensor can't be, and the row is another one without it. */
static bool bind_and_judge(row_work *k, const model_run *m, const char *id, bool *again)
{
    row_memory memory = {.count = 0};
    stage *const s = stage_open(m, k->module, id, k->w->why);
    if (!s) return false;
    *again = !bind_all(k, s, &memory);
    bool const good = *again || judge_stage(k, s, &memory);
    stage_close(s, false, NULL);
    free_memory(&memory);
    return good;
}

static bool open_and_judge(row_work *k)
{
    model_run m = *k->w->e->m;
    char id[ID];
    complaint reason;
    for (bool again = true; again;) {
        int const faults = count_faults(k);
        m.format = format_of(k);
        if (!give_narrow(k, m.format)) return false;
        if (!any_judged(k)) return true;
        write_id(k, &m, id);
        if (!has_case(id, &reason)) return postpone_all(k, reason.text);
        if (!bind_and_judge(k, &m, id, &again)) return false;
        if (again && count_faults(k) == faults) return false; /* there was no memory */
        if (again && !(postpone_faulty(k) && assign_roles(k))) return false;
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
    *k = (row_work){.w = w, .at = at, .row = row, .rows = rows_at(at, w->e->m->n_tokens)};
    stage_name(at, row->module, k->module);
    for (int i = 0; i < MOST_SLOTS && row->slots[i].tensor; i++) find_slot(k, i);
    w->good = postpone_faulty(k) && assign_roles(k) && (!any_judged(k) || open_and_judge(k));
    forget_slots(k);
    free(k);
}

/* What no row has judged, each once. */
static bool tell_the_rest(work *w)
{
    result *const r = calloc(1, sizeof *r);
    judged_row *const told = calloc(1, sizeof *told);
    bool good = (r && told) || refuse(w->why, "no memory");
    for (int i = 0; good && i < w->later; i++) {
        const postponed *const p = &w->to_judge[i];
        if (was_judged(w, p->name)) continue;
        r->v = SKIP, r->skip = SKIP_SAID;
        snprintf(r->why, sizeof r->why, "not judged: %s", p->reason);
        snprintf(told->module, sizeof told->module, "%s", p->name);
        told->r = r;
        if (w->e->report) w->e->report(w->e->context, told);
        good = note_judged(w, p->name);
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

static void count_row(void *context, const place *at, const stage_row *row)
{
    (void)at, (void)row;
    ++*(int *)context;
}

int count_rows(const engine_run *e)
{
    int count = 0;
    for_each_row(e->m->config, e->m->n_tokens, count_row, &count);
    return count;
}
