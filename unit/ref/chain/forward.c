#include "forward.h"

#include <criterion/criterion.h>
#include <stdio.h>

/* ---- what a formula reads ---- */

static int64_t size(const forward *f, const char *name)
{
    return problem_size(f->p, name);
}

static mpfr_ptr constant(const forward *f, const char *name)
{
    return decimal(problem_field(f->p, op_field(f->p->op, name)));
}

static bool flag(const forward *f, const char *name)
{
    return problem_field(f->p, op_field(f->p->op, name)) != 0;
}

static int index_of(const forward *f, const char *name)
{
    const tensor_info *const t = problem_tensor(f->p, name);
    cr_assert(t, "%s has no %s", f->p->id, name);
    return (int)(t - f->p->tensor);
}

static mpfr_ptr *values(const forward *f, const char *name)
{
    return f->value[index_of(f, name)];
}

static int64_t whole(const forward *f, const char *name, int64_t i)
{
    int const t = index_of(f, name);
    return (int64_t)ref_decode(f->p->tensor[t].dtype, f->data[t], i);
}

/* ---- pieces ---- */

static mpfr_ptr dot(mpfr_ptr const *a, mpfr_ptr const *b, int64_t n)
{
    mpfr_ptr sum = number(0);
    for (int64_t i = 0; i < n; i++) sum = plus(sum, times(a[i], b[i]));
    return sum;
}

static mpfr_ptr sum_of(mpfr_ptr const *a, int64_t n)
{
    mpfr_ptr sum = number(0);
    for (int64_t i = 0; i < n; i++) sum = plus(sum, a[i]);
    return sum;
}

static mpfr_ptr sum_of_powers(mpfr_ptr const *a, int64_t n)
{
    mpfr_ptr sum = number(0);
    for (int64_t i = 0; i < n; i++) sum = plus(sum, e_to(a[i]));
    return sum;
}

static mpfr_ptr sigmoid(mpfr_ptr z)
{
    return over(number(1), plus(number(1), e_to(minus(number(0), z))));
}

static mpfr_ptr silu(mpfr_ptr z)
{
    return times(z, sigmoid(z));
}

/* ---- elementwise and products ---- */

void swiglu(forward *f)
{
    mpfr_ptr *const gate_of = values(f, "gate"), *const up = values(f, "up"), *const y = values(f, "y");
    int64_t const n = size(f, "n_tokens") * size(f, "intermediate_size");
    for (int64_t i = 0; i < n; i++) y[i] = times(silu(gate_of[i]), up[i]);
}

void linear(forward *f)
{
    int64_t const in = size(f, "in_features"), out = size(f, "out_features"), n = size(f, "n_tokens");
    mpfr_ptr *const x = values(f, "x"), *const weight = values(f, "weight"), *const y = values(f, "y");
    for (int64_t t = 0; t < n; t++)
        for (int64_t o = 0; o < out; o++) y[t * out + o] = dot(x + t * in, weight + o * in, in);
}

void embed(forward *f)
{
    int64_t const width = size(f, "hidden_size"), n = size(f, "n_tokens") * width;
    mpfr_ptr *const weight = values(f, "weight"), *const y = values(f, "y");
    for (int64_t i = 0; i < n; i++) y[i] = weight[whole(f, "input_ids", i / width) * width + i % width];
}

void rmsnorm(forward *f)
{
    int64_t const width = size(f, "hidden_size"), n = size(f, "n_tokens");
    mpfr_ptr *const x = values(f, "x"), *const weight = values(f, "weight"), *const y = values(f, "y");
    mpfr_ptr *const residual = flag(f, "residual") ? values(f, "residual") : NULL;
    mpfr_ptr *const sum = residual ? values(f, "residual_out") : x;
    for (int64_t t = 0; t < n; t++) {
        mpfr_ptr *const z = sum + t * width;
        for (int64_t i = 0; residual && i < width; i++) z[i] = plus(x[t * width + i], residual[t * width + i]);
        mpfr_ptr const ms = over(dot(z, z, width), number((double)width));
        mpfr_ptr const r = root(plus(ms, constant(f, "rms_norm_eps")));
        for (int64_t i = 0; i < width; i++) y[t * width + i] = times(weight[i], over(z[i], r));
    }
}

/* ---- rope ---- */

/* c(n): the pair that turns n times over the original length. */
static mpfr_ptr pair_of_turns(const forward *f, const char *turns)
{
    mpfr_ptr const length = constant(f, "original_max_position_embeddings"), two = number(2);
    mpfr_ptr const ratio = over(length, times(times(two, pi()), constant(f, turns)));
    return over(times(constant(f, "qk_rope_head_dim"), ln(ratio)), times(two, ln(constant(f, "rope_theta"))));
}

/* f_j */
static mpfr_ptr frequency(const forward *f, int64_t j)
{
    mpfr_ptr const r = constant(f, "qk_rope_head_dim"), zero = number(0), one = number(1);
    mpfr_ptr const low = larger(floor_of(pair_of_turns(f, "beta_fast")), zero);
    mpfr_ptr high = smaller(ceiling_of(pair_of_turns(f, "beta_slow")), minus(r, one));
    if (!mpfr_cmp(high, low)) high = plus(high, decimal(0.001));
    mpfr_ptr const ramp = smaller(larger(over(minus(number((double)j), low), minus(high, low)), zero), one);
    mpfr_ptr const e = power(constant(f, "rope_theta"), over(number((double)(-2 * j)), r));
    return plus(times(e, minus(one, ramp)), times(over(e, constant(f, "factor")), ramp));
}

/* g */
static mpfr_ptr magnitude(const forward *f, const char *mscale)
{
    mpfr_ptr const factor = constant(f, "factor"), one = number(1);
    if (mpfr_cmp(factor, one) <= 0) return one;
    return plus(times(times(decimal(0.1), constant(f, mscale)), ln(factor)), one);
}

/* Where pair j begins in a vector of width r, and how far its elements are apart. */
static int64_t first_of_pair(bool half, int64_t j)
{
    return half ? j : 2 * j;
}

static int64_t step_of_pair(bool half, int64_t r)
{
    return half ? r / 2 : 1;
}

void rope(forward *f)
{
    int64_t const heads = size(f, "num_heads"), r = size(f, "qk_rope_head_dim"), n = size(f, "n_tokens");
    bool const in = flag(f, "in_layout"), out = flag(f, "out_layout");
    mpfr_ptr const amplitude = over(magnitude(f, "mscale"), magnitude(f, "mscale_all_dim"));
    for (int64_t t = 0; t < n; t++)
        for (int64_t j = 0; j < r / 2; j++) {
            mpfr_ptr const angle = times(number((double)whole(f, "positions", t)), frequency(f, j));
            mpfr_ptr const c = times(amplitude, cosine(angle)), s = times(amplitude, sine(angle));
            for (int64_t h = 0; h < heads; h++) {
                mpfr_ptr *const x = values(f, "x") + (t * heads + h) * r + first_of_pair(in, j);
                mpfr_ptr *const y = values(f, "y") + (t * heads + h) * r + first_of_pair(out, j);
                mpfr_ptr const x1 = x[0], x2 = x[step_of_pair(in, r)];
                y[0] = minus(times(x1, c), times(x2, s));
                y[step_of_pair(out, r)] = plus(times(x2, c), times(x1, s));
            }
        }
}

/* ---- losses ---- */

void cross_entropy(forward *f)
{
    int64_t const n = size(f, "n_tokens"), width = size(f, "vocab_size");
    mpfr_ptr *const loss = values(f, "loss");
    int64_t counted = 0;
    for (int64_t t = 0; t < n; t++) {
        mpfr_ptr *const z = values(f, "logits") + t * width;
        int64_t const label = whole(f, "labels", t);
        loss[t] = label == DSV3_IGNORED ? number(0) : minus(ln(sum_of_powers(z, width)), z[label]);
        counted += label != DSV3_IGNORED;
    }
    values(f, "mean")[0] = over(sum_of(loss, n), number((double)(flag(f, "divisor") ? counted : n)));
}

/* The loss of the tokens from `first` up to `last`; shares: each token's scores are divided by their sum. */
static mpfr_ptr balance_of(const forward *f, int64_t first, int64_t last, bool shares)
{
    int64_t const experts_of = size(f, "n_routed_experts"), k = size(f, "num_experts_per_tok"), n = last - first;
    mpfr_ptr sum = number(0), tokens = number((double)n);
    for (int64_t i = 0; i < experts_of && n > 0; i++) {
        int64_t count = 0;
        mpfr_ptr mean = number(0);
        for (int64_t a = first * k; a < last * k; a++) count += whole(f, "topk_idx", a) == i;
        for (int64_t t = first; t < last; t++) {
            mpfr_ptr *const s = values(f, "scores") + t * experts_of;
            mean = plus(mean, shares ? over(s[i], sum_of(s, experts_of)) : s[i]);
        }
        mpfr_ptr const f_i = over(number((double)(experts_of * count)), number((double)(k * n)));
        sum = plus(sum, times(f_i, over(mean, tokens)));
    }
    return times(constant(f, "aux_loss_alpha"), sum);
}

void balance_loss(forward *f)
{
    for (int64_t b = 0; b < size(f, "batch"); b++) {
        bool const own = flag(f, "seq_aux");
        int64_t const first = own ? whole(f, "cu_seqlens", b) : 0;
        int64_t const last = own ? whole(f, "cu_seqlens", b + 1) : size(f, "n_tokens");
        values(f, "loss")[b] = balance_of(f, first, last, own);
    }
}

/* ---- gate ---- */

enum { MOST_EXPERTS = 16 };

/* How many of the n numbers are larger, of those that count. */
static int rank_of(mpfr_ptr const *a, const bool *counts, int n, int i)
{
    int larger_ones = 0;
    for (int j = 0; j < n; j++) {
        cr_assert(i == j || !counts[j] || mpfr_cmp(a[i], a[j]), "a tie: no point to take a derivative at");
        larger_ones += counts[j] && mpfr_cmp(a[j], a[i]) > 0;
    }
    return larger_ones;
}

/* The score of a group: its largest t, or the sum of its two largest. */
static mpfr_ptr score_of_group(mpfr_ptr const *t, int n, int best)
{
    static const bool all[MOST_EXPERTS] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    mpfr_ptr sum = number(0);
    for (int i = 0; i < n; i++)
        if (rank_of(t, all, n, i) < best) sum = plus(sum, t[i]);
    return sum;
}

/* The experts whose groups are kept. */
static void keep_groups(const forward *f, mpfr_ptr const *t, int n, bool *kept)
{
    int const method = (int)problem_field(f->p, op_field(f->p->op, "topk_method"));
    int const groups = method == DSV3_GREEDY ? 1 : (int)size(f, "n_group"), width = n / groups;
    int const most = method == DSV3_GREEDY ? 1 : (int)size(f, "topk_group");
    mpfr_ptr u[MOST_EXPERTS];
    bool all[MOST_EXPERTS];
    for (int g = 0; g < groups; g++) {
        u[g] = score_of_group(t + g * width, width, method == DSV3_NOAUX_TC ? 2 : 1);
        all[g] = true;
    }
    for (int e = 0; e < n; e++) kept[e] = rank_of(u, all, groups, e / width) < most;
}

/* The choice of a token; the best comes first. */
static void choose(const forward *f, mpfr_ptr const *t, int n, int k, int *idx)
{
    bool kept[MOST_EXPERTS];
    keep_groups(f, t, n, kept);
    for (int e = 0; e < n; e++) {
        int const rank = kept[e] ? rank_of(t, kept, n, e) : k;
        if (rank < k) idx[rank] = e;
    }
}

/* Puts it into topk_idx, or finds that it stands there. */
static void settle(const forward *f, int64_t token, int k, const int *idx)
{
    int const tensor = index_of(f, "topk_idx");
    for (int i = 0; i < k; i++) {
        if (!f->chosen) ref_encode(DSV3_I32, f->data[tensor], token * k + i, idx[i]);
        cr_assert(whole(f, "topk_idx", token * k + i) == idx[i], "the choice moves near this point");
    }
}

void gate(forward *f)
{
    int const n = (int)size(f, "n_routed_experts"), k = (int)size(f, "num_experts_per_tok");
    bool const biased = problem_tensor(f->p, "e_score_correction_bias");
    cr_assert(n <= MOST_EXPERTS);
    for (int64_t token = 0; token < size(f, "n_tokens"); token++) {
        mpfr_ptr *const z = values(f, "logits") + token * n, *const weight = values(f, "topk_weight") + token * k;
        mpfr_ptr s[MOST_EXPERTS], t[MOST_EXPERTS], all = sum_of_powers(z, n);
        int idx[MOST_EXPERTS];
        for (int e = 0; e < n; e++) {
            s[e] = flag(f, "scoring_func") ? over(e_to(z[e]), all) : sigmoid(z[e]);
            t[e] = biased ? plus(s[e], values(f, "e_score_correction_bias")[e]) : s[e];
        }
        choose(f, t, n, k, idx);
        settle(f, token, k, idx);
        for (int i = 0; i < k; i++) weight[i] = s[idx[i]];
        mpfr_ptr const divisor = flag(f, "norm_topk_prob") ? sum_of(weight, k) : number(1);
        for (int i = 0; i < k; i++) weight[i] = times(constant(f, "routed_scaling_factor"), over(weight[i], divisor));
    }
    f->chosen = true;
}

/* ---- experts ---- */

static mpfr_ptr *matrix_of(const forward *f, int64_t expert, const char *projection)
{
    char name[64];
    snprintf(name, sizeof name, "experts.%d.%s.weight", (int)expert, projection);
    return values(f, name);
}

void experts(forward *f)
{
    int64_t const width = size(f, "hidden_size"), inner = size(f, "moe_intermediate_size");
    int64_t const k = size(f, "num_experts_per_tok");
    mpfr_ptr *const y = values(f, "y");
    cr_assert(inner <= 16);
    for (int64_t i = 0; i < size(f, "n_tokens") * width; i++) y[i] = number(0);
    for (int64_t a = 0; a < size(f, "n_tokens") * k; a++) {
        int64_t const t = a / k, e = whole(f, "topk_idx", a);
        mpfr_ptr *const x = values(f, "hidden_states") + t * width, w = values(f, "topk_weight")[a], act[16];
        mpfr_ptr *const gate_proj = matrix_of(f, e, "gate_proj"), *const up_proj = matrix_of(f, e, "up_proj");
        mpfr_ptr *const down_proj = matrix_of(f, e, "down_proj");
        for (int64_t i = 0; i < inner; i++) {
            mpfr_ptr const g = dot(gate_proj + i * width, x, width);
            act[i] = times(silu(g), dot(up_proj + i * width, x, width));
        }
        for (int64_t c = 0; c < width; c++)
            y[t * width + c] = plus(y[t * width + c], times(w, dot(down_proj + c * inner, act, inner)));
    }
}

/* ---- attention ---- */

/* One head of a query, which sees the keys from `first` up to `last`. */
static void attend(const forward *f, int64_t query, int64_t h, int64_t first, int64_t last)
{
    int64_t const heads = size(f, "num_attention_heads"), v_width = size(f, "v_head_dim");
    int64_t const width = size(f, "qk_nope_head_dim") + size(f, "qk_rope_head_dim");
    mpfr_ptr *const q = values(f, "q") + (query * heads + h) * width;
    mpfr_ptr *const o = values(f, "o") + (query * heads + h) * v_width, total = number(0);
    for (int64_t c = 0; c < v_width; c++) o[c] = number(0);
    for (int64_t j = first; j < last; j++) {
        mpfr_ptr *const k = values(f, "k") + (j * heads + h) * width, *const v =
                                                                          values(f, "v") + (j * heads + h) * v_width;
        mpfr_ptr const e_s = e_to(times(constant(f, "softmax_scale"), dot(q, k, width)));
        total = plus(total, e_s);
        for (int64_t c = 0; c < v_width; c++) o[c] = plus(o[c], times(e_s, v[c]));
    }
    if (last <= first) return;
    for (int64_t c = 0; c < v_width; c++) o[c] = over(o[c], total);
    values(f, "lse")[query * heads + h] = ln(total);
}

void mla_prefill(forward *f)
{
    for (int64_t b = 0; b < size(f, "batch"); b++) {
        int64_t const q0 = whole(f, "cu_seqlens_q", b), q1 = whole(f, "cu_seqlens_q", b + 1);
        int64_t const k0 = whole(f, "cu_seqlens_k", b), k1 = whole(f, "cu_seqlens_k", b + 1);
        for (int64_t i = 0; i < q1 - q0; i++)
            for (int64_t h = 0; h < size(f, "num_attention_heads"); h++)
                attend(f, q0 + i, h, k0, k0 + (k1 - k0) - (q1 - q0) + i + 1);
    }
}
