/*
 * What an answer's mistake is called: known mistakes of a part within moe, mla, experts and mtp; two known mistakes at once; and
 * mistakes that nobody knows, which get no name. docs/statistics.md. A share of them each time; NAMES_ALL=1: all.
 */
#include "case/fill.h"
#include "judge/diagnose.h"
#include "judge/judge.h"
#include "judge/sense.h"
#include "run/ask.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

TestSuite(names, .timeout = 480);

/* ---- answers ---- */

/* A case, what the plain port declares for it, and an answer in data. */
typedef struct {
    problem p;
    void **data;
    ref_numerics declared;
    ref_set asked; /* known mistakes that the formula asks for */
} subject;

/* The outputs of a port. False: it has none, or not all. */
static bool ask_port(const subject *s, const char *path, result *r)
{
    complaint why;
    backend b;
    answer a;
    cr_assert(backend_resolve(path, &b, &why), "%s", why.text);
    port *const asked = port_open(&b, (port_limits){.timeout = 60});
    bool const ran = ask(&s->p, s->data, false, asked, &a, r);
    port_close(asked);
    return ran;
}

#define PLAIN BUILD "/ports/plain.so"

static subject subject_open(const char *id)
{
    subject s;
    complaint why;
    result r;
    enclosures e;
    cr_assert(problem_parse(id, &s.p, &why) && tensors_open(&s.p, &s.data), "%s", why.text);
    cr_assert(ask_port(&s, PLAIN, &r), "%s: %s", id, r.why);
    cr_assert(ref_numerics_parse(s.p.op->name, r.declared, &s.declared, why.text, sizeof why.text), "%s", why.text);
    cr_assert(enclose_own(&s.p, s.data, &e));
    s.asked = e.asked;
    enclosures_free(&e);
    cr_assert(enclose_truth(&s.p, s.data, &e));
    for (int q = 0; ref_quirk(q); q++)
        if (ref_has(e.asked, q)) ref_add(&s.asked, q);
    enclosures_free(&e);
    return s;
}

static void subject_close(subject *s)
{
    tensors_close(&s->p, s->data);
    problem_close(&s->p);
}

static bool is_output(const subject *s, int t)
{
    return s->p.tensor[t].row->kind == TENSOR_OUT;
}

/* All outputs as one piece of memory. */
static char *outputs_of(const subject *s)
{
    size_t bytes = 0;
    for (int t = 0; t < s->p.tensors; t++) bytes += is_output(s, t) ? s->p.tensor[t].bytes : 0;
    char *const all = malloc(bytes + 1);
    cr_assert(all != NULL);
    bytes = 0;
    for (int t = 0; t < s->p.tensors; t++) {
        if (!is_output(s, t)) continue;
        memcpy(all + bytes, s->data[t], s->p.tensor[t].bytes);
        bytes += s->p.tensor[t].bytes;
    }
    return all;
}

/* Are the outputs others than those? Frees them. */
static bool differ(const subject *s, char *before)
{
    size_t at = 0;
    bool any = false;
    for (int t = 0; t < s->p.tensors; t++) {
        if (!is_output(s, t)) continue;
        any |= memcmp(before + at, s->data[t], s->p.tensor[t].bytes) != 0;
        at += s->p.tensor[t].bytes;
    }
    free(before);
    return any;
}

/* One reading of the formula into the outputs. */
static void write_reading(const subject *s, const ref_reading *rd)
{
    enclosures own;
    cr_assert(enclose(&s->p, rd, &ref_sampled, s->data, &own));
    for (int t = 0; t < s->p.tensors; t++)
        for (int64_t i = 0; own.value[t] && i < s->p.tensor[t].count; i++)
            ref_encode(s->p.tensor[t].dtype, s->data[t], i, own.value[t][i].hi);
    enclosures_free(&own);
}

/* The formula's answer with these mistakes; each output is rounded before the next follows from it. */
static void answer_with(const subject *s, ref_set quirks)
{
    ref_reading rd = {.quirks = quirks};
    char *before;
    write_reading(s, &rd);
    rd.teacher_forced = s->p.op->staged;
    do {
        before = outputs_of(s);
        write_reading(s, &rd);
    } while (differ(s, before));
}

static ref_set both(int first, int second)
{
    ref_set set = ref_only(first);
    if (second >= 0) ref_add(&set, second);
    return set;
}

/* Does each of the mistakes change the answer, beside the other? second -1: there is no other. The answer is that with both. */
static bool each_shows(const subject *s, int first, int second)
{
    answer_with(s, ref_only(second));
    char *const without_first = outputs_of(s);
    answer_with(s, ref_only(first));
    char *const without_second = outputs_of(s);
    answer_with(s, both(first, second));
    bool const one = differ(s, without_first);
    return (differ(s, without_second) || second < 0) && one;
}

/* ---- names ---- */

/* What the screen says of an answer: the mistakes that explain all that the balls refuse, else those that filters find and nothing
 * beside. No such: empty. */
typedef struct {
    bool seen;
    char text[64];
    char filter[64]; /* what it lies along most, all of it or not */
    double t, size;
} naming;

static bool is_seen(const result *r)
{
    return r->v == FAIL || r->v == NOT_A_NUMBER || fabs(r->sensed.t) >= 6 || r->sensed.ratio >= 4;
}

static naming naming_of(const result *r)
{
    naming n = {is_seen(r), "", "", r->sensed.t, r->sensed.size};
    const diagnosis_row *const d = &r->diagnosis[0];
    const ref_quirk_row *const other = r->diagnoses ? ref_quirk(d->other) : NULL;
    if (r->sensed.filters) snprintf(n.filter, sizeof n.filter, "%s", r->sensed.filter);
    if (r->diagnoses && !d->illegal)
        snprintf(n.text, sizeof n.text, "%s%s%s", ref_quirk(d->quirk)->name, other ? " and " : "",
                 other ? other->name : "");
    else if (r->sensed.filters && r->sensed.alone && fabs(r->sensed.t) >= 6)
        snprintf(n.text, sizeof n.text, "%s", r->sensed.filter);
    return n;
}

static naming name_answer(const subject *s)
{
    enclosures legal, truth, own = {.value = NULL};
    nulls kept = {.count = 0};
    result *const r = calloc(1, sizeof *r);
    cr_assert(r && enclose_both(&s->p, &s->declared, s->data, &truth, &legal));
    if (s->p.op->choice) cr_assert(enclose_own(&s->p, s->data, &own));
    judge(&s->p, &truth, &legal, &own, s->data, r);
    if (r->v == FAIL || r->v == NOT_A_NUMBER) cr_assert(diagnose(&s->p, &s->declared, &legal, s->data, r, NULL, NULL));
    cr_assert(sense(&kept, &s->p, &s->declared, &legal, s->data, NULL, r));
    naming const n = naming_of(r);
    nulls_forget(&kept);
    enclosures_free(&legal);
    enclosures_free(&truth);
    enclosures_free(&own);
    free(r);
    return n;
}

static int quirk_named(const char *name, size_t length)
{
    for (int q = 0; ref_quirk(q); q++)
        if (strlen(ref_quirk(q)->name) == length && !strncmp(ref_quirk(q)->name, name, length)) return q;
    return -1;
}

/* The mistakes of a text. False: it names none. */
static bool read_mistakes(const char *text, ref_set *set)
{
    const char *const and = strstr(text, " and ");
    int const first = quirk_named(text, and? (size_t)(and-text) : strlen(text));
    *set = ref_only(first);
    if (and) *set = both(first, quirk_named(and+5, strlen(and+5)));
    return first >= 0;
}

/* Does the text name these mistakes, or others that give the same numbers? Then the outputs are lost. */
static bool is_right(const subject *s, const char *text, ref_set planted)
{
    ref_set named;
    if (!read_mistakes(text, &named)) return false;
    answer_with(s, planted);
    char *const right = outputs_of(s);
    answer_with(s, named);
    return !differ(s, right);
}

/* One of so many, or all for the tables of docs/data/names.txt. */
static bool is_tried(size_t i, size_t of)
{
    return getenv("NAMES_ALL") || i % of == 0;
}

/* ---- mistakes of parts ---- */

static const char *const blocks[] = {
    "moe@odd",
    "moe@odd:stages=1",
    "moe@odd:scoring_func=1,topk_method=2",
    "moe@odd:n_tokens=2,hidden_size=130,moe_intermediate_size=130,n_shared_experts=1,weights=f8_e4m3",
    "experts@odd",
    "experts@odd:n_tokens=2,hidden_size=130,moe_intermediate_size=130,weights=f8_e4m3",
    "mla@odd",
    "mla@odd:stages=1",
    "mla@odd:hidden_size=130,q_lora_rank=130,kv_lora_rank=129,v_head_dim=40,weights=f8_e4m3",
    "mtp@odd",
    "mtp@tiny",
};

/* Of FP8 weights only what is wrong with their scales is of interest: the rest is as without them. */
static bool belongs(const char *id, int quirk)
{
    return !strstr(id, "f8_e4m3") || !strcmp(ref_quirk(quirk)->op, "linear");
}

/* How many there were, how many are seen, and called by their name. */
typedef struct {
    int planted, seen, right, wrong, unnamed;
} tally;

static void count(const char *what, const subject *s, const char *mistakes, const naming *n, bool right, tally *all)
{
    all->planted++;
    all->seen += n->seen;
    all->right += n->seen && right;
    all->wrong += n->seen && !right && *n->text;
    all->unnamed += n->seen && !right && !*n->text;
    printf("%s %-7s %-48s %-70s t %9.1f  %s (%s %.5g)\n", what,
           !n->seen   ? "unseen"
           : right    ? "right"
           : *n->text ? "WRONG"
                      : "none",
           mistakes, s->p.id, n->t, *n->text ? n->text : "-", n->filter, n->size);
    fflush(stdout);
}

/* The answer of the port that has the mistake, if it has it in this op, too; else the formula's. */
static void make_mistake(const subject *s, int quirk)
{
    char path[200];
    result r;
    snprintf(path, sizeof path, BUILD "/planted/mistake_%s.so", ref_quirk(quirk)->name);
    if (!access(path, R_OK)) {
        cr_assert(ask_port(s, PLAIN, &r));
        char *const plain = outputs_of(s);
        bool const ran = ask_port(s, path, &r);
        if (differ(s, plain) && ran) return;
    }
    answer_with(s, ref_only(quirk));
}

/* Mistakes of a part that a block's formula asks for, at least. */
static const struct {
    const char *id, *part;
    int fewest;
} parts[] = {
    {"moe@odd", "gate", 7}, {"moe@odd", "swiglu", 3},  {"moe@odd", "experts", 4},    {"experts@odd", "swiglu", 3},
    {"mla@odd", "rope", 6}, {"mla@odd", "rmsnorm", 3}, {"mla@odd", "mla_decode", 1}, {"mla@odd", "mla_prefill", 2},
    {"mtp@odd", "rope", 6}, {"mtp@odd", "rmsnorm", 3}, {"mtp@odd", "gate", 7},       {"mtp@odd", "mla", 10},
    {"mtp@odd", "moe", 5},  {"mtp@odd", "experts", 4},
};

Test(names, blocks_ask_for_those_of_their_parts)
{
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        subject s = subject_open(parts[i].id);
        int n = 0;
        for (int q = 0; ref_quirk(q); q++) n += ref_has(s.asked, q) && !strcmp(ref_quirk(q)->op, parts[i].part);
        cr_expect(n >= parts[i].fewest, "%s asks for %d of %s", parts[i].id, n, parts[i].part);
        subject_close(&s);
    }
}

Test(names, parts_keep_theirs_in_blocks)
{
    tally all = {0, 0, 0, 0, 0};
    for (size_t i = 0, tried = 0; i < sizeof blocks / sizeof *blocks; i++) {
        subject s = subject_open(blocks[i]);
        for (int q = 0; ref_quirk(q); q++) {
            if (!ref_has(s.asked, q) || !belongs(blocks[i], q) || !is_tried(tried++, 5) || !each_shows(&s, q, -1))
                continue;
            make_mistake(&s, q);
            naming const n = name_answer(&s);
            count("block", &s, ref_quirk(q)->name, &n, is_right(&s, n.text, ref_only(q)), &all);
        }
        subject_close(&s);
    }
    printf("block: %d planted, %d seen, %d right, %d wrong, %d without a name\n", all.planted, all.seen, all.right,
           all.wrong, all.unnamed);
    cr_expect(all.right * 10 >= all.seen * 9, "%d of %d", all.right, all.seen);
}

/* ---- two at once ---- */

typedef struct {
    const char *id;
    int first, second;
} two;

#define DECODE "mla_decode@v3:num_attention_heads=4"
static const two pairs[] = {
    {DECODE, QUIRK_A12_lse_base_2, QUIRK_R6_mscale_missing},
    {DECODE, QUIRK_A16_last_page_whole, QUIRK_A12_lse_base_2},
    {DECODE, QUIRK_A16_last_page_whole, QUIRK_R6_mscale_missing},
    {DECODE ",kv_cache=u8", QUIRK_F15_rope_rounded, QUIRK_A16_last_page_whole},
    {DECODE ",kv_cache=u8,s_q=2", QUIRK_F15_one_scale, QUIRK_A9_not_causal},
    {"gate@v3", QUIRK_G1_bias_in_weights, QUIRK_G7_scaled_twice},
    {"gate@v3", QUIRK_G2_group_max, QUIRK_G7_scaled_twice},
    {"gate@v3", QUIRK_G4_ungrouped, QUIRK_G1_bias_in_weights},
    {"gate@v3", QUIRK_G5_not_normalised, QUIRK_G2_group_max},
    {"moe@odd", QUIRK_G8_scale_dropped, QUIRK_G9_shared_lost},
    {"mla@odd", QUIRK_A2_no_q_norm, QUIRK_R14_k_not_rotated},
    {"mla@odd", QUIRK_A9_no_mask, QUIRK_R6_no_mscale},
    {"mla@odd", QUIRK_A2_wide_norm, QUIRK_A9_no_mask},
    {"mla@odd", QUIRK_A2_wide_norm, QUIRK_R6_no_mscale},
};

static void name_two(const subject *s, int first, int second, tally *all)
{
    char names[80];
    if (!each_shows(s, first, second)) return;
    naming const n = name_answer(s);
    snprintf(names, sizeof names, "%s and %s", ref_quirk(first)->name, ref_quirk(second)->name);
    count("pair", s, names, &n, is_right(s, n.text, both(first, second)), all);
}

/* Cases of which a share of all pairs is tried. */
static const char *const drawn[] = {
    "rope@odd",
    "gate@odd",
    "swiglu@odd",
    "rmsnorm@odd:x=f32",
    "experts@odd",
    "moe@odd:stages=1",
    "mla@odd:hidden_states=f32",
    "mtp@odd",
    "mla_prefill@odd",
    "cross_entropy@odd",
    "quant@v3:scale_fmt=1",
};
enum { MOST_DRAWN = 4 };

static void name_drawn(const char *id, tally *all)
{
    subject s = subject_open(id);
    int asked[REF_QUIRKS], n = 0;
    for (int q = 0; ref_quirk(q); q++)
        if (ref_has(s.asked, q)) asked[n++] = q;
    int const pairs_here = n * (n - 1) / 2, step = pairs_here / MOST_DRAWN + 1;
    for (int a = 0, k = 0; a < n; a++)
        for (int b = a + 1; b < n; b++, k++)
            if (k % step == step / 2 && is_tried((size_t)(k / step), MOST_DRAWN)) name_two(&s, asked[a], asked[b], all);
    subject_close(&s);
}

Test(names, two_at_once)
{
    tally all = {0, 0, 0, 0, 0};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        subject s = subject_open(pairs[i].id);
        name_two(&s, pairs[i].first, pairs[i].second, &all);
        subject_close(&s);
    }
    for (size_t i = 0; i < sizeof drawn / sizeof *drawn; i++) name_drawn(drawn[i], &all);
    printf("pair: %d planted, %d seen, %d right, %d wrong, %d without a name\n", all.planted, all.seen, all.right,
           all.wrong, all.unnamed);
    cr_expect(all.right * 100 >= all.seen * 85, "%d of %d", all.right, all.seen);
    cr_expect(all.wrong == 0, "%d have the name of something else", all.wrong);
}

/* ---- mistakes that nobody knows ---- */

enum {
    ROWS_SWAPPED,
    COLUMNS_SWAPPED,
    COLUMNS_SHIFTED,
    COLUMNS_REVERSED,
    HALVES_EXCHANGED,
    HEAD_NEGATED,
    EVEN_NEGATED,
    LAST_COLUMN_ZERO,
    LAST_ROW_ZERO,
    ROWS_SHIFTED,
    GROWS_BY_ROW,
    GROWS_BY_COLUMN,
    NOISE,
    CLAMPED,
    ABSOLUTE,
    TANH,
    SQUARED,
    COARSE,
    SUMMED_OVER_ROWS,
    RECTIFIED,
    FAULTS
};

static const char *const fault_names[FAULTS] = {
    "rows swapped", "columns swapped", "columns shifted", "columns reversed", "halves exchanged",
    "head negated", "even negated",    "last column 0",   "last row 0",       "rows shifted",
    "grows by row", "grows by column", "noise",           "clamped",          "absolute",
    "tanh",         "squared",         "coarse",          "summed over rows", "rectified"};

/* A matrix of numbers that a fault is made in. */
typedef struct {
    const double *x;
    int64_t rows, width;
    double most;
} numbers;

static double noise(int64_t i)
{
    return (double)((uint32_t)i * 2654435761u) * 0x1p-32 - 0.5;
}

/* Element (t, c) with the fault. */
static double faulty(int fault, const numbers *n, int64_t t, int64_t c)
{
    int64_t const w = n->width, at = t * w + c;
    double const x = n->x[at];
    double sum = 0;
    switch (fault) {
    case ROWS_SWAPPED: return t < 2 && n->rows > 1 ? n->x[(1 - t) * w + c] : x;
    case COLUMNS_SWAPPED: return c < 2 && w > 1 ? n->x[t * w + 1 - c] : x;
    case COLUMNS_SHIFTED: return n->x[t * w + (c + 1) % w];
    case COLUMNS_REVERSED: return n->x[t * w + w - 1 - c];
    case HALVES_EXCHANGED: return n->x[t * w + (c + w / 2) % w];
    case HEAD_NEGATED: return 4 * c < w ? -x : x;
    case EVEN_NEGATED: return c % 2 ? x : -x;
    case LAST_COLUMN_ZERO: return c == w - 1 ? 0 : x;
    case LAST_ROW_ZERO: return t == n->rows - 1 ? 0 : x;
    case ROWS_SHIFTED: return n->x[(t ? t - 1 : 0) * w + c];
    case GROWS_BY_ROW: return x * (1 + (double)t / 8);
    case GROWS_BY_COLUMN: return x * (1 + (double)c / (double)w / 8);
    case NOISE: return x * (1 + noise(at) / 16);
    case CLAMPED: return fmax(-n->most / 2, fmin(n->most / 2, x));
    case ABSOLUTE: return fabs(x);
    case TANH: return tanh(x);
    case SQUARED: return x * fabs(x) / n->most;
    case COARSE: return rint(x / n->most * 16) * n->most / 16;
    case RECTIFIED: return fmax(0, x);
    default:
        for (int64_t k = 0; k <= t; k++) sum += n->x[k * w + c];
        return sum;
    }
}

/* Makes it in a tensor; false: it changes nothing. */
static bool spoil(const subject *s, int tensor, int fault)
{
    const tensor_info *const t = &s->p.tensor[tensor];
    double *const x = malloc((size_t)t->count * sizeof *x + 1);
    numbers n = {x, 1, t->count, 0};
    char *const before = outputs_of(s);
    cr_assert(x != NULL);
    if (t->ndim > 1) n.width = t->shape[t->ndim - 1], n.rows = t->count / n.width;
    ref_decode_all(t->dtype, s->data[tensor], 0, t->count, x);
    for (int64_t i = 0; i < t->count; i++) n.most = fmax(n.most, fabs(x[i]));
    for (int64_t i = 0; i < t->count; i++)
        ref_encode(t->dtype, s->data[tensor], i, faulty(fault, &n, i / n.width, i % n.width));
    free(x);
    return differ(s, before);
}

static int last_output(const subject *s)
{
    return s->p.tensors - 1;
}

/* The first input or weight of real numbers, or the last weight of several rows: -1: there is none. */
static int input_of(const subject *s, bool weight)
{
    int found = -1;
    for (int t = 0; t < s->p.tensors; t++) {
        const tensor_info *const info = &s->p.tensor[t];
        bool const real = info->dtype == DSV3_F32 || info->dtype == DSV3_BF16;
        if (!real || is_output(s, t) || info->ndim < 2 || (info->row->kind == TENSOR_WEIGHT) != weight) continue;
        if (found < 0 || weight) found = t;
    }
    return found;
}

/* The plain port's answer to an input with that fault. False: it is the same. */
static bool answer_to_spoilt(const subject *s, bool weight, int fault)
{
    int const tensor = input_of(s, weight);
    result r;
    if (tensor < 0) return false;
    size_t const bytes = s->p.tensor[tensor].bytes;
    void *const kept = malloc(bytes + 1);
    cr_assert(kept != NULL);
    memcpy(kept, s->data[tensor], bytes);
    cr_assert(ask_port(s, PLAIN, &r));
    char *const right = outputs_of(s);
    spoil(s, tensor, fault);
    complaint why;
    backend b;
    answer a;
    cr_assert(backend_resolve(PLAIN, &b, &why), "%s", why.text);
    port *const asked = port_open(&b, (port_limits){.timeout = 60});
    cr_assert(ask(&s->p, s->data, true, asked, &a, &r), "%s: %s", s->p.id, r.why);
    port_close(asked);
    memcpy(s->data[tensor], kept, bytes);
    free(kept);
    return differ(s, right);
}

/* Shapes that filters know beside mistakes say what outputs are, which isn't wrong. */
static bool blames(const naming *n)
{
    static const char *const shapes[] = {"scale of ", "bias of ", "offset of "};
    bool shape = false;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        shape |= !strncmp(n->text, shapes[i], strlen(shapes[i]));
    return *n->text && !shape;
}

static const char *const unknown[] = {
    "rmsnorm@odd:x=f32", "linear@odd",  "rope@odd", "gate@odd", "swiglu@odd",       "mla_decode@odd",
    "mla_prefill@odd",   "experts@odd", "moe@odd",  "mla@odd",  "mla@odd:stages=1", "mtp@tiny",
};

/* A product without its last column, of x or of W, lacks a feature, and that has a name. */
static bool is_known(const subject *s, const char *where, int fault)
{
    return !strcmp(s->p.op->name, "linear") && strcmp(where, "output") != 0 && fault == LAST_COLUMN_ZERO;
}

static void name_unknown(const subject *s, const char *where, int fault, tally *all)
{
    char what[60];
    if (is_known(s, where, fault)) return;
    naming n = name_answer(s);
    bool const blamed = blames(&n);
    if (!blamed) *n.text = 0;
    snprintf(what, sizeof what, "%s, %s", fault_names[fault], where);
    count("unknown", s, what, &n, false, all);
}

Test(names, what_nobody_knows_has_none)
{
    tally all = {0, 0, 0, 0, 0};
    for (size_t i = 0, tried = 0; i < sizeof unknown / sizeof *unknown; i++) {
        subject s = subject_open(unknown[i]);
        for (int fault = 0; fault < FAULTS; fault++) {
            result r;
            cr_assert(ask_port(&s, PLAIN, &r));
            if (is_tried(tried++, 8) && spoil(&s, last_output(&s), fault)) name_unknown(&s, "output", fault, &all);
            if (is_tried(tried++, 8) && answer_to_spoilt(&s, false, fault)) name_unknown(&s, "input", fault, &all);
            if (is_tried(tried++, 8) && answer_to_spoilt(&s, true, fault)) name_unknown(&s, "weight", fault, &all);
        }
        subject_close(&s);
    }
    printf("unknown: %d planted, %d seen, %d with a wrong name\n", all.planted, all.seen, all.wrong);
    cr_expect(all.wrong * 100 < all.seen, "%d of %d", all.wrong, all.seen);
}

/* ---- answers that aren't whole ---- */

static const struct {
    const char *id;
    int quirk;
} incomplete[] = {
    {"rmsnorm@odd", QUIRK_A2_mean_subtracted}, {"swiglu@odd", QUIRK_S1_glu},    {"rope@odd", QUIRK_R4_sign_flipped},
    {"moe@odd", QUIRK_E9_last_token_dropped},  {"mla@odd", QUIRK_A2_no_q_norm},
};

/* Of the last output every third element is lost. */
static void lose_a_third(const subject *s)
{
    const tensor_info *const t = &s->p.tensor[last_output(s)];
    for (int64_t k = 0; k < t->count; k += 3) ref_encode(t->dtype, s->data[last_output(s)], k, (double)NAN);
}

static void expect_name(const subject *s, verdict v, const char *name)
{
    nulls kept = {.count = 0};
    result *const r = calloc(1, sizeof *r);
    cr_assert(r != NULL);
    r->v = v;
    cr_assert(sense(&kept, &s->p, &s->declared, NULL, s->data, NULL, r));
    nulls_forget(&kept);
    cr_expect(r->v == v && r->sensed.alone && fabs(r->sensed.t) >= 12 && !strcmp(r->sensed.filter, name),
              "%s in %s is %s, t %g", name, s->p.id, r->sensed.filter, r->sensed.t);
    free(r);
}

Test(names, what_is_there_keeps_its_name)
{
    for (size_t i = 0; i < sizeof incomplete / sizeof *incomplete; i++) {
        subject s = subject_open(incomplete[i].id);
        answer_with(&s, ref_only(incomplete[i].quirk));
        lose_a_third(&s);
        expect_name(&s, UNWRITTEN, ref_quirk(incomplete[i].quirk)->name);
        expect_name(&s, NOT_A_NUMBER, ref_quirk(incomplete[i].quirk)->name);
        subject_close(&s);
    }
}
