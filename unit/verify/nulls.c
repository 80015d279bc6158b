/*
 * What statistics keep of a case: the next answer is judged beside it as if it had been drawn for that one alone.
 */
#include "case/fill.h"
#include "judge/sense.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

TestSuite(nulls, .timeout = 120);

/* A problem with its inputs, and as outputs those of the formula. */
typedef struct {
    problem p;
    void **data;
} filled;

static filled fill(const char *id)
{
    filled f;
    complaint why;
    cr_assert(problem_parse(id, &f.p, &why), "%s", why.text);
    cr_assert(tensors_open(&f.p, &f.data) && decide_own(&f.p, ref_none(), f.data), "%s: no memory", id);
    if (f.p.op->staged) return f;
    enclosures e;
    cr_assert(enclose_truth(&f.p, f.data, &e));
    for (int i = 0; i < f.p.tensors; i++)
        for (int64_t k = 0; e.value[i] && k < f.p.tensor[i].count; k++)
            ref_encode(f.p.tensor[i].dtype, f.data[i], k, e.value[i][k].hi);
    enclosures_free(&e);
    return f;
}

static void close(filled *f)
{
    tensors_close(&f->p, f->data);
    problem_close(&f->p);
}

static bool is_output(const filled *f, int i)
{
    return f->p.tensor[i].row->kind == TENSOR_OUT;
}

/* ---- answers ---- */

/* One number of an output becomes another: of a choice, its first two change places. */
static void change(const filled *f, int i)
{
    const tensor_info *const t = &f->p.tensor[i];
    int32_t *const choice = f->data[i];
    if (t->dtype == DSV3_I32) {
        int32_t const first = choice[0];
        choice[0] = choice[1], choice[1] = first;
    } else
        ref_encode(t->dtype, f->data[i], 0, ref_decode(t->dtype, f->data[i], 0) * 1.125);
}

/* Way 0: as the formula has it; 1: every output is another; 2: the last has a hole besides. */
static void answer(const filled *f, int way)
{
    int last = 0;
    for (int i = 0; i < f->p.tensors; i++) {
        if (!is_output(f, i)) continue;
        if (way > 0) change(f, i);
        last = i;
    }
    if (way == 2) ref_encode(f->p.tensor[last].dtype, f->data[last], 1, (double)NAN);
}

static int rungs; /* of the last answer */

static void count_rung(void *context, int done, int most)
{
    int *const count = context;
    cr_expect(done == *count && done < most);
    ++*count;
}

static senses sense_with(nulls *kept, const filled *f, const char *declared)
{
    complaint why;
    ref_numerics n;
    static result r;
    memset(&r, 0, sizeof r);
    r.v = PASS;
    cr_assert(ref_numerics_parse(f->p.op->name, declared, &n, why.text, sizeof why.text), "%s", why.text);
    watcher const watched = {count_rung, &rungs};
    rungs = 0;
    cr_assert(sense(kept, &f->p, &n, NULL, f->data, &watched, &r));
    return r.sensed;
}

static senses sense_alone(const filled *f, const char *declared)
{
    nulls none = {.count = 0};
    senses const s = sense_with(&none, f, declared);
    nulls_forget(&none);
    return s;
}

static bool are_alike(const senses *a, const senses *b)
{
    return a->filters == b->filters && a->t == b->t && a->size == b->size && a->sd == b->sd && a->ratio == b->ratio &&
           a->ratio_t == b->ratio_t && a->alone == b->alone && a->shown == b->shown && a->known == b->known &&
           !memcmp(&a->sees, &b->sees, sizeof a->sees) && !strcmp(a->rung, b->rung) && !strcmp(a->words, b->words);
}

/* Ports that agree and that don't, declared and not, one after another. */
static void expect_same(const char *id)
{
    static const int ways[] = {0, 1, 0, 2, 0};
    static const char *const declared[] = {"acc 24 rn", "acc 24 rn; flush ftz", ""};
    nulls kept = {.count = 0};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        for (size_t k = 0; k < sizeof declared / sizeof *declared; k++) {
            filled f = fill(id);
            answer(&f, ways[i]);
            senses const one = sense_with(&kept, &f, declared[k]), alone = sense_alone(&f, declared[k]);
            cr_expect(one.filters > 0 && are_alike(&one, &alone), "%s, answer %zu, '%s': t %.17g is %.17g alone", id, i,
                      declared[k], one.t, alone.t);
            close(&f);
        }
    nulls_forget(&kept);
}

Test(nulls, what_is_kept_changes_nothing_that_is_found)
{
    static const char *const ids[] = {"rmsnorm@tiny",       "swiglu@odd:gate=f32", "gate@tiny",
                                      "cross_entropy@tiny", "mla_decode@tiny",     "experts@tiny:stages=1",
                                      "moe@tiny:stages=1",  "mla@tiny:stages=1"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) expect_same(ids[i]);
}

/* A port that declares nothing and is off is tried beside many; one that declares is beside one, if nothing is wrong. */
Test(nulls, each_rung_is_told)
{
    filled f = fill("rmsnorm@tiny");
    sense_alone(&f, "acc 24 rn; x_norm f32 must; z f32 must");
    cr_expect(rungs == 1, "%d rungs", rungs);
    answer(&f, 1);
    sense_alone(&f, "");
    cr_expect(rungs > 4, "%d rungs", rungs);
    close(&f);
}

Test(nulls, a_number_alone_is_no_population)
{
    static const struct {
        const char *id;
        bool scattered;
    } rows[] = {{"balance_loss@tiny", false}, {"rmsnorm@odd", true}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        filled f = fill(rows[i].id);
        answer(&f, 1);
        senses const s = sense_alone(&f, "acc 24 rn");
        cr_expect((s.ratio > 8) == rows[i].scattered && fabs(s.t) > 6, "%s: ratio %g, t %g", rows[i].id, s.ratio, s.t);
        close(&f);
    }
}

/* ---- numbers that are 0 in all ports ---- */

/* Ignored labels, and rows that nobody looks up. */
static const char *const zeros[] = {"cross_entropy@odd", "embed_backward@odd:vocab_size=16,grad_weight=f32"};

static void expect_a_scale(const char *id, const null_ports *null, const null_output *t)
{
    double least = HUGE_VAL, most = 0;
    int64_t count = 0;
    for (int64_t i = t->first; i < t->first + t->count; i++) {
        if (null->mean[i] == 0) continue;
        least = fmin(least, null->ulp[i]), most = fmax(most, null->ulp[i]);
    }
    for (int64_t i = t->first; i < t->first + t->count; i++) {
        if (null->mean[i] != 0) continue;
        count++;
        cr_expect(null->ulp[i] >= least && null->ulp[i] <= most, "%s: an ulp of 0 is %g, others are %g to %g", id,
                  null->ulp[i], least, most);
    }
    cr_expect(count > 0, "%s has no 0", id);
}

Test(nulls, where_all_ports_have_0_it_counts_as_others_of_the_output)
{
    for (size_t i = 0; i < sizeof zeros / sizeof *zeros; i++) {
        complaint why;
        ref_numerics n;
        null_ports null;
        filled f = fill(zeros[i]);
        cr_assert(ref_numerics_parse(f.p.op->name, "acc 24 rn", &n, why.text, sizeof why.text));
        cr_assert(null_open(&f.p, &n, f.data, 1, &null));
        expect_a_scale(zeros[i], &null, &null.output[0]);
        null_close(&null);
        close(&f);
    }
}

/* ---- what readings take ---- */

static bool truths_differ(const enclosures *a, const enclosures *b, const problem *p)
{
    bool differ = false;
    for (int i = 0; i < p->tensors; i++)
        if (a->value[i])
            differ |= memcmp(a->value[i], b->value[i], (size_t)p->tensor[i].count * sizeof(ref_value)) != 0;
    return differ;
}

/* Does another number in output i make another truth? Then it counts among what is taken. */
static void expect_known(const char *id, int i)
{
    char before[FINGERPRINT_TEXT], behind[FINGERPRINT_TEXT];
    enclosures first, second;
    filled f = fill(id);
    forced_outputs(&f.p, f.data, before);
    cr_assert(enclose_truth(&f.p, f.data, &first));
    change(&f, i);
    forced_outputs(&f.p, f.data, behind);
    cr_assert(enclose_truth(&f.p, f.data, &second));
    bool const differ = truths_differ(&first, &second, &f.p);
    cr_expect(!differ || strcmp(before, behind), "%s: %s is taken", id, f.p.tensor[i].name);
    enclosures_free(&first);
    enclosures_free(&second);
    close(&f);
}

Test(nulls, what_readings_take_from_a_port_is_told_from_that_of_another)
{
    static const char *const ids[] = {
        "gate@tiny",         "quant@tiny",        "cross_entropy@tiny", "mtp_accept@tiny", "experts@tiny:stages=1",
        "moe@tiny:stages=1", "mla@tiny:stages=1", "mtp@tiny:stages=1",  "rmsnorm@tiny"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        filled f = fill(ids[i]);
        for (int k = 0; k < f.p.tensors; k++)
            if (is_output(&f, k)) expect_known(ids[i], k);
        close(&f);
    }
}

/* ---- what ports are like ---- */

static null_ports ports_of(const filled *f, const char *declared)
{
    complaint why;
    ref_numerics n;
    null_ports null;
    cr_assert(ref_numerics_parse(f->p.op->name, declared, &n, why.text, sizeof why.text), "%s", why.text);
    cr_assert(null_open(&f->p, &n, f->data, 0, &null));
    return null;
}

/* Writes what one drawn port has, an output after the other, each made of those before it. */
static void write_port(const filled *f, const char *declared, int port)
{
    for (int i = 0; i < f->p.tensors; i++) {
        if (!is_output(f, i)) continue;
        null_ports null = ports_of(f, declared);
        for (int o = 0; o < null.outputs; o++)
            for (int64_t k = 0; null.output[o].tensor == i && k < null.output[o].count; k++)
                ref_encode(f->p.tensor[i].dtype, f->data[i], k, null.written[port * null.n + null.output[o].first + k]);
        null_close(&null);
    }
}

/* A port that rounds some intermediates of each output and says nothing: there is a rung of it, two or more steps from the plain ones. */
Test(nulls, ports_that_round_some_things_and_say_nothing_are_explained, .timeout = 600)
{
    static const char *const rounded[] = {
        "q_a_proj bf16 must; q_b_proj bf16 must; kv_a_proj_with_mqa bf16 must; x_norm f32 must; cos_sin f32 must",
        "q_b_proj bf16 must; q_a_proj f32 must; kv_a_proj_with_mqa f32 must; x_norm bf16 must; cos_sin f32 must",
        "cos_sin bf16 must; q_b_proj f32 must; q_a_proj bf16 must; kv_a_proj_with_mqa bf16 must; x_norm bf16 must"};
    for (int seed = 1; seed <= 4; seed++)
        for (size_t i = 0; i < sizeof rounded / sizeof *rounded; i++) {
            char id[100], declared[400];
            snprintf(id, sizeof id, "mla@odd:stages=1;seed=%d", seed);
            snprintf(declared, sizeof declared,
                     "acc 53 rn; flush none; kv_b_proj f32 must; scores f32 must; P f32 must; %s", rounded[i]);
            filled f = fill(id);
            write_port(&f, declared, seed);
            senses const s = sense_alone(&f, "");
            cr_expect(fabs(s.t) < 6 && s.ratio < 4, "%s, %s: t %g, %s %g times, beside %s", id, rounded[i], s.t,
                      s.population, s.ratio, s.rung);
            close(&f);
        }
}

/* Partial sums to nearest are too large as often as too small. */
Test(nulls, partial_sums_in_bf16_err_both_ways)
{
    ref_set asked;
    filled f = fill("experts@odd:stages=0,hidden_states=f32;seed=3");
    null_ports null = ports_of(&f, "acc 24 rn; flush none; routed bf16 must");
    double *const truth = malloc((size_t)null.n * sizeof *truth);
    double along = 0, all = 0;
    cr_assert(truth && null_formula(&f.p, &null, ref_none(), f.data, truth, &asked));
    for (int64_t i = 0; i < null.n; i++) along += null.mean[i] * truth[i], all += truth[i] * truth[i];
    cr_expect(fabs(along / all - 1) < 1e-3, "y is %.5f of what it is", along / all);
    free(truth);
    null_close(&null);
    close(&f);
}

/* Of what ports write along w. */
static double variance_written(const null_ports *null, const double *w)
{
    double sum = 0, squares = 0;
    for (int k = 0; k < null->ports; k++) {
        double y = 0;
        for (int64_t i = 0; i < null->n; i++) y += (null->written[k * null->n + i] - null->mu[i]) * w[i];
        sum += y, squares += y * y;
    }
    return (squares - sum * sum / null->ports) / (null->ports - 1);
}

/* P in BF16 times one gradient: of many elements that is beside the middle of two results, and a port takes all of them one way. */
Test(nulls, elements_that_flip_at_once_count_as_few)
{
    filled f = fill("cross_entropy_backward@v3:n_tokens=2,vocab_size=1000,logits=bf16;seed=990522310");
    null_ports null = ports_of(&f, "acc 24 rn; flush none; P bf16 must");
    double *const room = malloc(3 * (size_t)null.n * sizeof *room), *const w = room + 2 * null.n;
    cr_assert(room);
    for (int64_t i = 0; i < null.n; i++) w[i] = null.mean[i] * null.weight[i];
    double const written = variance_written(&null, w);
    filter const scale = filter_open(&null, null.mean, room);
    cr_expect(scale.smooth.variance > written * 0.99, "a filter has variance %g, ports write %g", scale.smooth.variance,
              written);
    free(room);
    null_close(&null);
    close(&f);
}

/* ---- how long it is kept ---- */

Test(nulls, a_null_is_drawn_once_and_few_are_kept)
{
    complaint why;
    ref_numerics n, other;
    nulls kept = {.count = 0};
    filled f = fill("rmsnorm@tiny");
    cr_assert(ref_numerics_parse("rmsnorm", "acc 24 rn", &n, why.text, sizeof why.text));
    cr_assert(ref_numerics_parse("rmsnorm", "acc 24 rz", &other, why.text, sizeof why.text));
    nulls_look_at(&kept, &f.p, f.data, false);
    cr_assert(nulls_beside(&kept, &n, 0));
    kept.null[0]->most = -1; /* by which it is known */
    cr_expect(nulls_beside(&kept, &other, 0)->most >= 0);
    for (uint64_t seed = 1; seed <= 3 * MOST_NULLS; seed++) {
        cr_expect(nulls_beside(&kept, &n, seed)->most >= 0 && kept.count <= MOST_NULLS);
        cr_expect(nulls_beside(&kept, &n, 0)->most == -1, "it was asked for just now");
    }
    nulls_forget(&kept);
    close(&f);
}

/* ---- codes whose sums are scaled ---- */

/* What a port scales: sums of a block's codes by one scale after the other, either first, or by their product; of x or the weights the
 * codes themselves. */
enum { BY_X_FIRST, BY_WEIGHT_FIRST, BY_PRODUCT, X_ITSELF, WEIGHTS_THEMSELVES, SCALINGS };

typedef struct {
    const dsv3_linear_prob *prob;
    const dsv3_linear_io *io;
    const dsv3_tensor *weight, *weight_scale;
    int way;
} coded;

static float code_at(const dsv3_tensor *t, int64_t row, int64_t i)
{
    return (float)ref_decode(DSV3_F8_E4M3, t->data, row * t->stride[0] + i);
}

/* One block of one output. Its codes are added in binary64, all else is binary32. */
static float scaled_block(const coded *c, int64_t t, int64_t o, int64_t from, int64_t end)
{
    float const of_x = ((const float *)c->io->x_scale.data)[t * c->io->x_scale.stride[0] + from / 128];
    float const of_w = ((const float *)c->weight_scale->data)[o / 128 * c->weight_scale->stride[0] + from / 128];
    double sum = 0;
    for (int64_t i = from; i < end; i++) {
        float const x = code_at(&c->io->x, t, i), w = code_at(c->weight, o, i);
        float const scaled_x = c->way == X_ITSELF ? x * of_x : x;
        float const scaled_w = c->way == WEIGHTS_THEMSELVES ? w * of_w : w;
        sum += (double)scaled_x * (double)scaled_w;
    }
    switch (c->way) {
    case BY_X_FIRST: return (float)sum * of_x * of_w;
    case BY_WEIGHT_FIRST: return (float)sum * of_w * of_x;
    case BY_PRODUCT: return (float)sum * (of_x * of_w);
    case X_ITSELF: return (float)sum * of_w;
    default: return (float)sum * of_x;
    }
}

/* Blocks are added in binary64. */
static void answer_coded(const filled *f, int way)
{
    dsv3_linear_io *const io = problem_bind(&f->p, f->data);
    cr_assert(io);
    const dsv3_linear_prob *const p = (const dsv3_linear_prob *)(const void *)f->p.prob.bytes;
    coded const c = {p, io, dsv3_find(&io->weights, "weight"), dsv3_find(&io->weights, "weight_scale_inv"), way};
    for (int64_t t = 0; t < p->n_tokens; t++)
        for (int64_t o = 0; o < p->out_features; o++) {
            double y = 0;
            for (int64_t from = 0; from < p->in_features; from += 128)
                y += (double)scaled_block(&c, t, o, from, from + 128 < p->in_features ? from + 128 : p->in_features);
            ((float *)io->y.data)[t * io->y.stride[0] + o] = (float)y;
        }
    free(io);
}

/* An accumulator of binary64 rounds next to nothing: what is left is what scales round. */
Test(nulls, ports_that_scale_sums_of_codes_are_like_those_that_are_drawn)
{
    static const int64_t widths[] = {128, 300, 1024};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        for (int way = 0; way < SCALINGS; way++) {
            char id[120];
            snprintf(id, sizeof id, "linear@v3:n_tokens=4,in_features=%lld,out_features=256,x=f8_e4m3,y=f32",
                     (long long)widths[i]);
            filled f = fill(id);
            answer_coded(&f, way);
            senses const s = sense_alone(&f, "acc 53 rn; x f32 may; weight f32 may");
            printf("%s, way %d: t %.2f, ratio %.3g\n", id, way, s.t, s.ratio);
            cr_expect(s.filters > 0 && fabs(s.t) < 6 && s.ratio < 4, "%s, way %d: t %g of %s, ratio %g", id, way, s.t,
                      s.filter, s.ratio);
            close(&f);
        }
}

/* ---- eager attention: weights are divided by their sum before they are rounded to BF16; all else here is binary64 ---- */

static double number_at(const dsv3_tensor *t, int64_t i)
{
    return ref_decode(t->dtype, t->data, i);
}

static double bf16(double x)
{
    uint16_t code;
    ref_encode(DSV3_BF16, &code, 0, x);
    return ref_decode(DSV3_BF16, &code, 0);
}

/* n scores become the weights; their lse. */
static double eager_softmax(double *w, int64_t n)
{
    double most = -HUGE_VAL, sum = 0;
    for (int64_t k = 0; k < n; k++) most = fmax(most, w[k]);
    for (int64_t k = 0; k < n; k++) sum += w[k] = exp(w[k] - most);
    for (int64_t k = 0; k < n; k++) w[k] = bf16(w[k] / sum);
    return n ? most + log(sum) : -HUGE_VAL;
}

/* As over two keys. */
static void merge_row(const dsv3_merge_state_prob *p, const dsv3_merge_state_io *io, int64_t t, int64_t h)
{
    double w[] = {number_at(&io->lse_a, t * io->lse_a.stride[0] + h),
                  number_at(&io->lse_b, t * io->lse_b.stride[0] + h)};
    ref_encode(DSV3_F32, io->lse.data, t * io->lse.stride[0] + h, eager_softmax(w, 2));
    for (int64_t c = h * p->v_head_dim; c < (h + 1) * p->v_head_dim; c++) {
        double const a = number_at(&io->o_a, t * io->o_a.stride[0] + c),
                     b = number_at(&io->o_b, t * io->o_b.stride[0] + c);
        ref_encode(io->o.dtype, io->o.data, t * io->o.stride[0] + c, w[0] * a + w[1] * b);
    }
}

static void answer_merge_state(const problem *p, const void *bound)
{
    const dsv3_merge_state_prob *const prob = (const void *)p->prob.bytes;
    for (int64_t t = 0; t < prob->n_tokens; t++)
        for (int64_t h = 0; h < prob->num_attention_heads; h++) merge_row(prob, bound, t, h);
}

enum { MOST_KEYS = 100 };

/* Query i of head h, which sees n keys from key j on. */
static void attend(const dsv3_mla_prefill_prob *p, const dsv3_mla_prefill_io *io, int64_t i, int64_t h, int64_t j,
                   int64_t n)
{
    double w[MOST_KEYS];
    cr_assert(n <= MOST_KEYS);
    for (int64_t k = 0; k < n; k++) {
        int64_t const q = i * io->q.stride[0] + h * io->q.stride[1],
                      key = (j + k) * io->k.stride[0] + h * io->k.stride[1];
        w[k] = 0;
        for (int64_t c = 0; c < p->qk_nope_head_dim + p->qk_rope_head_dim; c++)
            w[k] += p->softmax_scale * number_at(&io->q, q + c) * number_at(&io->k, key + c);
    }
    ref_encode(DSV3_F32, io->lse.data, i * io->lse.stride[0] + h, eager_softmax(w, n));
    for (int64_t c = 0; c < p->v_head_dim; c++) {
        double o = 0;
        for (int64_t k = 0; k < n; k++)
            o += w[k] * number_at(&io->v, (j + k) * io->v.stride[0] + h * io->v.stride[1] + c);
        ref_encode(io->o.dtype, io->o.data, i * io->o.stride[0] + h * io->o.stride[1] + c, o);
    }
}

static void answer_mla_prefill(const problem *p, const void *bound)
{
    const dsv3_mla_prefill_prob *const prob = (const void *)p->prob.bytes;
    const dsv3_mla_prefill_io *const io = bound;
    const int32_t *const q = io->cu_seqlens_q.data, *const k = io->cu_seqlens_k.data;
    for (int64_t b = 0; b < prob->batch; b++)
        for (int64_t i = q[b]; i < q[b + 1]; i++)
            for (int64_t h = 0; h < prob->num_attention_heads; h++) {
                int64_t const seen = k[b + 1] - k[b] - (q[b + 1] - 1 - i);
                attend(prob, io, i, h, k[b], seen > 0 ? seen : 0);
            }
}

Test(nulls, ports_that_divide_weights_first_are_like_those_that_are_drawn)
{
    static const struct {
        void (*answer)(const problem *p, const void *bound);
        const char *id;
        int seeds;
    } rows[] = {{answer_merge_state, "merge_state@tiny:o_a=f32", 60},
                {answer_mla_prefill, "mla_prefill@odd", 12},
                {answer_mla_prefill, "mla_prefill@odd:q=f32", 12}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        double most = 0;
        for (int seed = 1; seed <= rows[i].seeds; seed++) {
            char id[80];
            snprintf(id, sizeof id, "%s;seed=%d", rows[i].id, seed);
            filled f = fill(id);
            void *const io = problem_bind(&f.p, f.data);
            cr_assert(io);
            rows[i].answer(&f.p, io);
            senses const s = sense_alone(&f, "acc 24 rn; P bf16 must; parts 1; rescales 0");
            cr_expect(s.filters > 0 && fabs(s.t) < 6 && s.ratio < 4, "%s: t %g of %s, ratio %g", id, s.t, s.filter,
                      s.ratio);
            most = fmax(most, fabs(s.t));
            free(io);
            close(&f);
        }
        printf("%s, divided first: t %.2f at most\n", rows[i].id, most);
    }
}
