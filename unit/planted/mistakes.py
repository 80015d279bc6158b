"""The plain port with one mistake planted: each row names a quirk of ref/quirks.def, or X_ and a mistake that none
describes (unit/properties/shown.c), and what to exchange in verify/ports/plain. The text must stand there exactly as often as said, so that a port that changes is noticed:
in the file of the quirk's op and those that no op is named after, or else in all files.

usage: mistakes.py                           the names
       mistakes.py NAME FOLDER SOURCE...     the sources that have that mistake, into the folder; prints what to link:
                                             these, and for each other source its object in FOLDER/../plain
"""

import os
import re
import sys

TOP_SUM = """
/* The sum of the k largest values. */
static float top_sum(const float *v, int64_t n, int64_t k)
{
    float sum = 0, left[MOST_EXPERTS];
    memcpy(left, v, (size_t)n * sizeof *v);
    for (int64_t i = 0; i < k && i < n; i++) {
        int64_t const at = largest(left, n);
        sum += left[at];
        left[at] = -INFINITY;
    }
    return sum;
}

/* All groups but the best"""

CENTRED = """    float mean = 0;
    for (int64_t e = 0; e < p->n_routed_experts; e++) {
        int64_t const d = total - p->n_routed_experts * load[e];
        mean += (float)((d > 0) - (d < 0));
    }
    mean /= (float)p->n_routed_experts;
    for (int64_t e = 0; e < p->n_routed_experts; e++) {
        int64_t const shortage"""

CHECKED = "while (n < m->n_draft && accepts(m, p + n * p_row, q + n * q_row, u[n], x[n])) n++;"

WIDE_NORM = """float sum = 0;
    for (int64_t i = 0; i < c + r; i++) sum += a->key[i] * a->key[i];
    float const inverse = 1 / sqrtf(sum / (float)(c + r) + (float)a->p->rms_norm_eps);
    for (int64_t i = 0; i < c; i++) a->key[i] = load_at(a->kv_norm, i) * (a->key[i] * inverse);"""

DROPPED = """/* Is token t the last of several that chose expert e? */
static int dropped(const layer *m, const dsv3_tensor *idx, int64_t e, int64_t t)
{
    int64_t before = 0, after = 0;
    for (int64_t u = 0; u < m->n_tokens; u++)
        for (int64_t i = 0; i < m->k; i++) {
            int const chose = ((const int32_t *)idx->data)[u * idx->stride[0] + i] == e;
            before += chose && u < t;
            after += chose && u > t;
        }
    return before > 0 && after == 0;
}

/* Expert e, for"""

WHOLE = """
static int64_t power_of_two(int64_t n)
{
    int64_t k = 1;
    while (2 * k <= n) k *= 2;
    return k;
}

/* All groups but the best"""

WHOLE_BLOCK = """/* A short last block counts as the one before it. */
static int64_t whole_block(int64_t at, int64_t n)
{
    int64_t const block = at / BLOCK;
    return block > 0 && (block + 1) * BLOCK > n ? block - 1 : block;
}

/* The codes of the block of 128 that"""

X_SCALE = "scale_at(x_scale, from + k / BLOCK)"
NORM_KEY = "normalise(a->kv_norm, a->p->rms_norm_eps, a->key, c);"
ROTATE_KEY = "rotate(&a->rope, position, a->key + c, a->pe);"
KEPT_SCALES = """/* The scales of the first row of an expert, by its weights. */
static float kept[512];
static const void *kept_of;

static void keep_scales(const layer *m, const network *f, int64_t tiles)
{
    if (kept_of != f->down.weight->data) memcpy(kept, m->act_scale, (size_t)tiles * sizeof *kept);
    kept_of = f->down.weight->data;
}

/* As add_network; slot i"""
FIRST_SCALES = """    matrix of_leaf = find_matrix(weights, full);
    if (strncmp(name, "experts.", 8)) return of_leaf;
    snprintf(full, sizeof full, "experts.0.%s", leaf);
    of_leaf.scale = find_matrix(weights, full).scale;
    return of_leaf;"""
SHARED = "    for (int64_t t = 0; shared_width && t"
ALL_SUMS = "    for (int64_t i = 0; i < m.n_tokens * m.hidden_size; i++) m.sum[i] "

NEAREST_E4M3 = """/* To the nearest E4M3 value, ties to even. */
static float nearest_e4m3(float v)
{
    int exponent;
    frexpf(v, &exponent);
    float const unit = ldexpf(1, exponent < -5 ? -9 : exponent - 4);
    return rintf(v / unit) * unit;
}

/* Entry c of a row of bytes"""

FIRST_ZEROED = """    for (int64_t b = 0; b < m->p->batch; b++)
        if (((const int32_t *)m->io->cu_seqlens.data)[b] == t) memset(embedding, 0, (size_t)m->width * sizeof *embedding);
"""

EARLY = """    int64_t early = t > 0;
    for (int64_t b = 0; b < m->p->batch; b++)
        if (((const int32_t *)m->io->cu_seqlens.data)[b] == t) early = 0;
"""

EMBEDDING = "    load_row(&m->io->inputs_embeds, t * m->io->inputs_embeds.stride[0], embedding, m->width);\n"
ENORM = 'normalise(gain(m, "enorm.weight"), m->p->rms_norm_eps, embedding, m->width);'
HNORM = 'normalise(gain(m, "hnorm.weight"), m->p->rms_norm_eps, state, m->width);'

AWAY = "io->y.dtype == DSV3_F32 ? VALUE : from_bits((to_bits(VALUE) + 0x8000) & 0xffff0000u)"

MISTAKES = {
    "A3_eps_missing": [("sum / (float)n + (float)p->rms_norm_eps", "sum / (float)n", 1)],
    "F1_partial_block": [
        ("scale_at(m->scale, o / BLOCK * m->scale->stride[0] + k / BLOCK)",
         "scale_at(m->scale, whole_block(o, m->weight->shape[0]) * m->scale->stride[0] + whole_block(k, n))", 1),
        ("/* The codes of the block of 128 that", WHOLE_BLOCK, 1),
    ],
    "F2_scale_transposed": [
        ("o / BLOCK * m->scale->stride[0] + k / BLOCK)", "k / BLOCK * m->scale->shape[0] + o / BLOCK)", 1)
    ],
    "F4_scale_divided": [("* scale_at(m->scale", "/ scale_at(m->scale", 1)],
    "F2_x_scale_transposed": [
        (X_SCALE, "scale_at(x_scale, k / BLOCK * x_scale->shape[0] + from / x_scale->stride[0])", 1)
    ],
    "F4_x_scale_divided": [("* " + X_SCALE, "/ " + X_SCALE, 1)],
    "F11_x_scale_truncated": [(X_SCALE, f"from_bits(to_bits({X_SCALE}) & 0xff800000)", 1)],
    "F11_x_scale_as_number": [
        (X_SCALE, f"(x_scale->dtype == DSV3_U8 ? (float)((const uint8_t *)x_scale->data)[from + k / BLOCK] : {X_SCALE})", 1)
    ],
    "F16_x_scale_missing": [("* " + X_SCALE, "* (x_scale ? 1 : (float)from)", 1)],
    "F16_first_x_scale": [(X_SCALE, "scale_at(x_scale, from)", 1)],
    "F16_next_x_scale": [(X_SCALE, "scale_at(x_scale, from + k / BLOCK + (k + BLOCK < n))", 1)],
    "F16_scales_exchanged": [
        ("coded_row_times(&w, o, x, &io->x_scale, t * io->x_scale.stride[0])",
         "io->x_scale.shape[0] == w.scale->shape[0]"
         " ? coded_row_times(&(matrix){w.weight, &io->x_scale}, o, x, w.scale, t * w.scale->stride[0])"
         " : coded_row_times(&w, o, x, &io->x_scale, t * io->x_scale.stride[0])", 1)
    ],
    "F16_scaled_at_end": [
        ("block_times(m, o, x, k) * " + X_SCALE,
         "dot(m, o, x, k, k + BLOCK < n ? k + BLOCK : n) * scale_at(x_scale, from + (n - 1) / BLOCK)"
         " * scale_at(m->scale, o / BLOCK * m->scale->stride[0] + (n - 1) / BLOCK)", 1)
    ],
    "R1_half_split": [("place(p->in_layout, r, j", "place(!p->in_layout, r, j", 2)],
    "R4_sign_flipped": [("(float)sin(angle)", "-(float)sin(angle)", 1)],
    "R7_mscale_on_cos": [(" / mscale(p, p->mscale_all_dim)", "", 1)],
    "R9_yarn_off": [("if (p->factor == 1) return e;", "return e;", 1)],
    "R9_keys_unknown": [
        ("pow(p->rope_theta,", "pow(10000,", 1),
        ("if (p->factor == 1) return e;", "return e;", 1),
        ("(float)(mscale(p, p->mscale) / mscale(p, p->mscale_all_dim))", "1", 1),
    ],
    "R10_untruncated": [("floor(pair_of_turns", "(pair_of_turns", 1), ("ceil(pair_of_turns", "(pair_of_turns", 1)],
    "R10_clamp_half": [("r - 1);", "r / 2 - 1);", 1)],
    "G1_bias_in_weights": [("weight[k] = s[idx[k]];", "weight[k] = s[idx[k]] + load_at(bias, idx[k]);", 1)],
    "G2_group_max": [("n > 1 ? first + second : first", "first", 1)],
    "G2_group_top_k_over_m": [
        ("\n/* All groups but the best", TOP_SUM, 1),
        ("top_two(group, size)", "top_sum(group, size, p->num_experts_per_tok / p->topk_group)", 1),
    ],
    "G3_masked_to_zero": [("if (!kept[e / size]) t[e] = -INFINITY;", "if (!kept[e / size]) t[e] = 0;", 1)],
    "G5_not_normalised": [("if (p->norm_topk_prob) weight[k] /= sum;", "", 1)],
    "G7_scaled_twice": [("(float)p->routed_scaling_factor;", "(float)(p->routed_scaling_factor * p->routed_scaling_factor);", 1)],
    "G15_bias_missing": [("t[e] = bias ? s[e] + load_at(bias, e) : s[e];", "t[e] = s[e];", 1)],
    "A1_absorbed_scale": [
        ("(float)p->softmax_scale; /* of mla_decode", "1 / sqrtf((float)(p->kv_lora_rank + p->qk_rope_head_dim)); /*", 1)
    ],
    "R6_mscale_missing": [
        ("(float)p->softmax_scale; /* of mla_decode", "1 / sqrtf((float)(p->qk_nope_head_dim + p->qk_rope_head_dim)); /*", 1)
    ],
    "A9_not_causal": [("seen = length - p->s_q + i + 1", "seen = length", 1)],
    "A10_square_mask": [
        ("seen = length - p->s_q + i + 1", "seen = p->s_q == 1 || i + 1 > length ? length : i + 1", 1)
    ],
    "A12_lse_base_2": [("max + logf(sum)", "(max + logf(sum)) * 1.44269504f", 1)],
    "A16_last_page_whole": [
        ("seen = length - p->s_q", "seen = (length + p->page_size - 1) / p->page_size * p->page_size - p->s_q", 1)
    ],
    "F15_scale_missing": [
        ("from_e4m3(row[c]) * scale", "from_e4m3(row[c]) + 0 * scale", 1),
        ("*kv_scale = load_at(scale, 0)", "*kv_scale = 1", 1),
    ],
    "F15_one_scale": [("scales + c / BLOCK * 4", "scales", 1)],
    "F15_tiles_reversed": [("scales + c / BLOCK * 4", "rope - (c / BLOCK + 1) * 4", 1)],
    "F15_rope_rounded": [
        ("/* Entry c of a row of bytes", NEAREST_E4M3, 1),
        ("return from_bits((uint32_t)half << 16);", "return nearest_e4m3(from_bits((uint32_t)half << 16));", 1),
    ],
    "A1_nope_scale_prefill": [
        ("(float)p->softmax_scale; /* of mla_prefill", "1 / sqrtf((float)p->qk_nope_head_dim); /*", 1)
    ],
    "R6_mscale_missing_prefill": [
        ("(float)p->softmax_scale; /* of mla_prefill", "1 / sqrtf((float)(p->qk_nope_head_dim + p->qk_rope_head_dim)); /*", 1)
    ],
    "A9_not_causal_prefill": [("keys - queries + i + 1", "keys + 0 * (queries + i)", 1)],
    "A9_full_is_causal": [("full ? keys : keys - queries + i + 1", "keys - queries + i + 1 + 0 * full", 1)],
    "A9_not_itself_prefill": [("keys - queries + i + 1", "keys - queries + i", 1)],
    "A10_square_mask_prefill": [("keys - queries + i + 1", "i + 1 > keys ? keys + 0 * queries : i + 1", 1)],
    "A12_lse_base_2_prefill": [("max + logf(sum)", "(max + logf(sum)) * 1.44269504f", 1)],
    "M11_over_boundary": [("behind(from, n, i,", "behind(from, (n ? io->input_ids.shape[0] - from : 0), i,", 3)],
    "M11_wrapped": [("from + i + shift : -1", "from + i + shift : from + (i + shift) % n", 1)],
    "M11_mask_not_rolled": [("mask = behind(from, n, i, d)", "mask = from + i", 1)],
    "M11_labels_twice": [("target = behind(from, n, i, d)", "target = behind(from, n, i, d + 1)", 1)],
    "M11_next_depth": [("k = p->depth,", "k = p->depth + 1,", 1)],
    "A12_merge_other_base": [("s->prob->lse_base == 1", "s->prob->lse_base == 0", 2)],
    "A12_merge_exchanged": [("weighted(s, a, &io->o_a, c) + weighted(s, b, &io->o_b, c)",
                             "(b > 0 ? weighted(s, b, &io->o_a, c) + weighted(s, a, &io->o_b, c) : weighted(s, a, &io->o_a, c))", 1)],
    "A12_merge_not_divided": [("any ? total / sum : 0", "any ? total : 0", 1)],
    "A12_merge_lse_of_a": [("logf(sum) + max", "b > 0 ? lse_a : logf(sum) + max", 1)],
    "A12_merge_transposed": [("s->t * lse->stride[0] + s->h", "s->h * s->prob->n_tokens + s->t", 1)],
    "A12_merge_lse_is_maximum": [("logf(sum) + max", "max", 1)],
    "G2_group_sum_of_two": [("p->topk_method == DSV3_NOAUX_TC ? top_two(group, size) : group[largest(group, size)]", "top_two(group, size)", 1)],
    "G4_ungrouped": [("if (p->topk_method == DSV3_GREEDY) return;", "return;", 1)],
    "G6_other_scoring": [("p->scoring_func == DSV3_SOFTMAX", "p->scoring_func != DSV3_SOFTMAX", 2)],
    "T1_sign_flipped": [("(shortage > 0) - (shortage < 0)", "(shortage < 0) - (shortage > 0)", 1)],
    "T1_proportional": [("(float)((shortage > 0) - (shortage < 0))", "(float)shortage / (float)p->n_routed_experts", 1)],
    "T1_centred": [
        ("    for (int64_t e = 0; e < p->n_routed_experts; e++) {\n        int64_t const shortage", CENTRED, 1),
        ("sign * (float)p->bias_update_speed", "(sign * (float)p->bias_update_speed - mean * (float)p->bias_update_speed)", 1),
    ],
    "T1_zero_counts_up": [("(shortage > 0) - (shortage < 0)", "(shortage >= 0) - (shortage < 0)", 1)],
    "T6_not_normalised": [("(p->seq_aux ? sum : 1)", "1", 1)],
    "T6_counts_raw": [("count[e] * experts / assigned * (", "count[e] * (", 1)],
    "T6_batch_counts": [("balance(p, io, from, to, from, to)", "balance(p, io, 0, p->n_tokens, from, to)", 1)],
    "M9_first_unchecked": [(CHECKED, CHECKED.replace("accepts(", "(n == 0 || accepts(").replace(") n++", ")) n++"), 1)],
    "M9_argmax_in_sampling": [("if (m->greedy) return largest", "return largest", 1)],
    "M9_greedy_samples": [("if (m->greedy) return", "if (0) return", 1), ("m->greedy ? largest(at", "0 ? largest(at", 1)],
    "M9_residual_is_p": [("n < m->n_draft ? q + n * q_row : NULL", "NULL", 1)],
    "M9_bonus_position": [("at = p + n * p_row", "at = p + (n < m->n_draft ? n : n - 1) * p_row", 1)],
    "M9_goes_on": [
        (
            CHECKED,
            "for (int64_t i = 0; i < m->n_draft; i++)\n"
            "            n += accepts(m, p + i * p_row, q + i * q_row, u[i], x[i]);",
            1,
        )
    ],
    "E8_gate_up_exchanged": [
        ("gate = load(&io->gate, t, i), up = load(&io->up, t, i)", "up = load(&io->gate, t, i), gate = load(&io->up, t, i)", 1)
    ],
    "D1_slope_of_sigmoid": [("(s * (1 + gate * (1 - s)))", "(s * (1 - s))", 1)],
    "D1_grads_exchanged": [
        ("store(&io->grad_gate, t, i, grad_y * up", "store(&io->grad_up, t, i, grad_y * up", 1),
        ("store(&io->grad_up, t, i, grad_y * silu", "store(&io->grad_gate, t, i, grad_y * silu", 1),
    ],
    "D2_not_inverted": [("-(double)position", "position", 1)],
    "D2_heads_not_summed": [("v * sharing, sharing, width", "v * sharing, 1, width", 1)],
    "D3_ignored_counted": [("if (label_of(io, t) != DSV3_IGNORED)\n            gradient", "if (1)\n            gradient", 1)],
    "D3_other_divisor": [("(double)(p->divisor ? counted", "(double)(!p->divisor ? counted", 1)],
    "D4_mean_missing": [("grad_y - x_norm * n.mean)", "grad_y)", 1)],
    "D4_gain_missing": [
        ("n.r * (load(weight, 0, i) * grad_y -", "n.r * (grad_y -", 1),
        ("products += load(weight, 0, i) * load(&io->grad_y", "products += load(&io->grad_y", 1),
    ],
    "D5_last_token": [("for (int64_t k = 0; k < n; k++) sum += load(a", "for (int64_t k = n - 1; k < n; k++) sum += load(a", 1)],
    "D5_mean_of_tokens": [("&io->x, i, p->n_tokens));", "&io->x, i, p->n_tokens) / (float)p->n_tokens);", 1)],
    "D6_overwritten": [("sum[i] += load(&io->grad_y, t, i);", "sum[i] = load(&io->grad_y, t, i);", 1)],
    "D7_sum_constant": [("scale * (grad - mean) / sum", "scale * grad / sum", 1)],
    "D7_single_not_divided": [("p->norm_topk_prob ? scale * (grad", "p->norm_topk_prob && p->num_experts_per_tok > 1 ? scale * (grad", 1)],
    "D7_scale_missing": [("float const scale = (float)p->routed_scaling_factor;", "float const scale = 1;", 1)],
    "D7_bias_in_scores": [
        ("float const score = s[int_at(idx, t * idx->stride[0] + k)];",
         "const dsv3_tensor *const bias = dsv3_find(&io->weights, \"e_score_correction_bias\");\n        "
         "float const score = s[int_at(idx, t * idx->stride[0] + k)] + (bias ? load(bias, 0, int_at(idx, t * idx->stride[0] + k)) : 0);", 1)
    ],
    "D8_sum_constant": [("scale * (count[e] - mean) / sum : scale * count[e]", "scale * count[e] / sum : scale * count[e]", 1)],
    "D8_chosen_only": [
        ("store(&io->grad_scores, t, e, p->seq_aux",
         "for (int64_t k = -1; k < p->num_experts_per_tok; k++)\n            "
         "if (k < 0 || int_at(&io->topk_idx, t * io->topk_idx.stride[0] + k) == e)\n                "
         "store(&io->grad_scores, t, e, k < 0 ? 0 : p->seq_aux", 1)
    ],
    "D9_weight_missing": [("d->grad_out[c] = weight * d->grad_y[c];", "(void)weight, d->grad_out[c] = d->grad_y[c];", 1)],
    "D9_weight_twice": [
        ("store(&d->io->grad_topk_weight, t, k, product(d->grad_y, d->out, 1, d->hidden));\n    go_back(d, load(&d->io->topk_weight, t, k));",
         "go_back(d, load(&d->io->topk_weight, t, k));\n    "
         "store(&d->io->grad_topk_weight, t, k, product(d->grad_out, d->out, 1, d->hidden));", 1)
    ],
    "D9_last_token_dropped": [
        ("static void gradients_of_token(",
         "/* Is it the last token of several that chose its expert? */\n"
         "static int is_last(const gradient *d, int64_t t, int64_t k)\n{\n    "
         "const dsv3_tensor *const idx = &d->io->topk_idx;\n    "
         "int64_t const n = d->p->num_experts_per_tok, e = int_at(idx, t * idx->stride[0] + k);\n    "
         "int before = 0, after = 0;\n    "
         "for (int64_t i = 0; i < t * n; i++) before += int_at(idx, i / n * idx->stride[0] + i % n) == e;\n    "
         "for (int64_t i = (t + 1) * n; i < d->p->n_tokens * n; i++)\n        "
         "after += int_at(idx, i / n * idx->stride[0] + i % n) == e;\n    "
         "return before && !after;\n}\n\nstatic void gradients_of_token(", 1),
        ("    load_row(&d->io->hidden_states,",
         "    store(&d->io->grad_topk_weight, t, k, 0);\n    if (is_last(d, t, k)) return;\n    load_row(&d->io->hidden_states,", 1)
    ],
    "D9_projections_exchanged": [
        ("d->grad_g[i] = d->grad_act[i] * d->u[i]", "d->grad_u[i] = d->grad_act[i] * d->u[i]", 1),
        ("d->grad_u[i] = d->grad_act[i] * silu(g)", "d->grad_g[i] = d->grad_act[i] * silu(g)", 1)
    ],
    "D9_overwritten": [("d->by_x[t * d->hidden + c] += part;", "d->by_x[t * d->hidden + c] = part;", 1)],
    "D10_scale_missing_k": [("s->dS, &io->q, s->width, s->scale,", "s->dS, &io->q, s->width, 1,", 1)],
    "D10_no_D": [("P * (dP - D)", "P * (dP - 0 * D)", 1)],
    "D10_not_masked": [("j < n ? expf(score - lse)", "n > 0 ? expf(score - lse)", 1)],
    "D10_square_mask": [
        ("j < n ? expf(score - lse)", "n > 0 && j < (s->queries < s->keys ? i + 1 : n) ? expf(score - lse)", 1)
    ],
    "D10_lse_base_2": [("expf(score - lse)", "expf(score - 1.44269504f * lse)", 1)],
    "S1_glu": [("gate / (1 + expf(-gate))", "1 / (1 + expf(-gate))", 1)],
    "S2_gelu": [("expf(-gate)", "expf(-1.59576912f * (gate + 0.044715f * gate * gate * gate))", 1)],
    "W1_next_row": [("load(weight, id, i)", "load(weight, id + 1 < p->vocab_size ? id + 1 : id, i)", 1)],
    "W2_scaled": [("load(weight, id, i)", "load(weight, id, i) * sqrtf((float)p->hidden_size)", 1)],
    "M11_labels_rolled": [("label = label_of(io, t)", "label = label_of(io, (t + 1) % p->n_tokens)", 1)],
    "M11_ignored_counted": [("label = label_of(io, t)", "label = label_of(io, t) == DSV3_IGNORED ? 0 : label_of(io, t)", 1)],
    "M11_other_divisor": [("p->divisor ? counted", "!p->divisor ? counted", 1)],
    "F5_max_240": [("most / 448", "most / 240", 1)],
    # NaN becomes 448 in fminf, as in kernels that clamp first
    "F6_zero_tile": [("if (most == 0) return 1;", "", 1), ("if (f != f) return 0x7f;", "", 1)],
    "F7_min_for_max": [("fmaxf(amax, (float)amax_floor)", "fminf(amax, (float)amax_floor)", 1)],
    "F7_no_floor": [("fmaxf(amax, (float)amax_floor)", "amax", 1)],
    "F7_floor_of_scale": [
        ("fmaxf(amax, (float)amax_floor)", "amax", 1),
        ("scale = most / 448", "scale = fmaxf(most / 448, (float)amax_floor)", 1),
    ],
    "F9_unrounded_scale": [("x[i] / s)", "x[i] / (fmaxf(amax, (float)amax_floor) / 448))", 1)],
    "F10_rounded_log2": [("frexpf(scale, &exponent) == 0.5f ? scale : ldexpf(1, exponent)", "exp2f(ceilf(log2f(scale)))", 1)],
    "F15_rope_quantised": [("to_bf16(load(&io->kv, t, rank + c))", "to_bf16(from_e4m3(to_e4m3(load(&io->kv, t, rank + c))))", 1)],
    "F15_scales_behind": [
        ("*const scales = row + rank, *const rope = scales + 4 * tiles",
         "*const rope = row + rank, *const scales = rope + 2 * p->qk_rope_head_dim", 1)
    ],
    "F15_scale_multiplied": [("row[c] = to_e4m3(load(&io->kv, t, c) / scale);\n}", "row[c] = to_e4m3(load(&io->kv, t, c) * scale);\n}", 1)],
    "F15_neighbour_scale": [
        ("row[c] = to_e4m3(load(&io->kv, t, c) / scale);\n    }",
         "row[c] = to_e4m3(load(&io->kv, t, c) / scale_of(p, io, t, (k + 1) % tiles * BLOCK));\n    }", 1)
    ],
    "A16_skip_wraps": [("if (slot < 0) return NULL;", "if (slot < 0) slot += pool->shape[0] * pool->shape[1];", 1)],
    "A16_row_stride": [
        ("slot / p->page_size * pool->stride[0] + slot % p->page_size * pool->stride[1];",
         "slot * (p->kv_lora_rank + p->qk_rope_head_dim);", 1)
    ],
    "F18_subnormals_lost": [("sign | (int)rintf(size * 0x1p9f)", "sign", 1)],
    "A1_latent_scale": [("sqrt((double)a.qk)", "sqrt((double)a.latent)", 1)],
    "R6_no_mscale": [("(float)(g * g / sqrt", "(float)(0 * g + 1 / sqrt", 1)],
    "A2_no_q_norm": [("normalise(a->q_norm, p->rms_norm_eps, a->q_latent, p->q_lora_rank);", "", 1)],
    "A2_wide_norm": [(NORM_KEY, WIDE_NORM, 1)],
    "A5_latent_not_normed": [(NORM_KEY, "", 1)],
    "A6_halves_swapped": [
        ("h * (nope + v) + d", "h * (nope + v) + v + d", 1),
        ("h * (nope + v) + nope + d", "h * (nope + v) + d", 1),
    ],
    "A6_halves_global": [
        ("h * (nope + v) + d", "h * nope + d", 1),
        ("h * (nope + v) + nope + d", "a->heads * nope + h * v + d", 1),
    ],
    "A9_no_mask": [("past + i + 1", "len", 1)],
    "A10_mask_from_start": [("past + i + 1", "i + 1", 1)],
    "R2_k_half_split": [
        (ROTATE_KEY, "dsv3_rope_prob half = a->rope;\n    half.in_layout = DSV3_HALF;\n    " + ROTATE_KEY.replace("a->rope", "half"), 1)
    ],
    "R14_k_not_rotated": [(ROTATE_KEY, "memcpy(a->pe, a->key + c, (size_t)r * sizeof *a->pe);", 1)],
    "R15_positions_restart": [("(double)(past + i)", "(double)i", 2)],
    "E3_id_off_by_one": [
        ("find_expert(m, e);\n    for (", "find_expert(m, e + 1 < m->experts ? e + 1 : e);\n    for (", 1)
    ],
    "E8_gate_up_swapped": [
        ("silu(row_times(&f->gate, i, m->row)) * row_times(&f->up", "silu(row_times(&f->up, i, m->row)) * row_times(&f->gate", 1)
    ],
    "E9_last_token_dropped": [("/* Expert e, for", DROPPED, 1), ("+ i] == e)", "+ i] == e && !dropped(m, idx, e, t))", 1)],
    "E11_weights_before": [
        ("load_token(m, t);\n    for (int64_t i = 0; i < width",
         "load_token(m, t);\n    for (int64_t c = 0; c < m->hidden_size; c++) m->row[c] *= weight;\n    for (int64_t i = 0; i < width", 1),
        ("+= weight * row_times", "+= row_times", 1),
    ],
    "F16_act_scale_missing": [("coded_row_times(&f->down, c, m->act, &act_scale, 0)", "row_times(&f->down, c, m->act)", 1)],
    "F16_act_scale_of_first_row": [
        ("/* As add_network; slot i", KEPT_SCALES, 1),
        ("    quantise_act(m, t, i, width);\n",
         "    quantise_act(m, t, i, width);\n    keep_scales(m, f, tiles);\n", 1),
        ("&act_scale, 0)", "&(dsv3_tensor){kept, DSV3_F32, 2, {1, act_scale.shape[1]}, {act_scale.shape[1], 1}}, 0)", 1),
    ],
    "F16_act_scale_of_row": [("for (int64_t i = first; i < last; i++) amax", "for (int64_t i = 0; i < n; i++) amax", 1)],
    "F16_first_expert_scales": [
        ("    return find_matrix(weights, full);", FIRST_SCALES, 1)
    ],
    "G7_scale_again": [(SHARED, ALL_SUMS + "*= (float)p->routed_scaling_factor;\n" + SHARED, 1)],
    "G8_scale_dropped": [(SHARED, ALL_SUMS + "/= (float)p->routed_scaling_factor;\n" + SHARED, 1)],
    "G9_shared_scaled": [("&shared, t, 1, ", "&shared, t, (float)p->routed_scaling_factor, ", 1)],
    "G9_shared_lost": [("shared_width && t < m.n_tokens", "0 && t < m.n_tokens", 1)],
    "E4_shared_twice": [("&shared, t, 1, ", "&shared, t, 2, ", 1)],
    "M1_hidden_first": [("*const embedding = m->pair, *const state = m->pair + m->width",
                         "*const embedding = m->pair + m->width, *const state = m->pair", 1)],
    "M1_norms_exchanged": [(ENORM, ENORM.replace("enorm", "hnorm"), 1), (HNORM + "\n", HNORM.replace("hnorm", "enorm") + "\n", 1)],
    "M4_no_enorm": [(ENORM, "", 1)],
    "M4_no_hnorm": [(HNORM, "", 1)],
    "M4_no_head_norm": [('normalise_all(&m, "shared_head.norm.weight", &io->y);',
                         "for (int64_t i = 0; i < m.n * m.width; i++) store_at(&io->y, i, m.h[i]);", 1)],
    "M5_first_zeroed": [(EMBEDDING, EMBEDDING + FIRST_ZEROED, 1)],
    "M6_own_token": [(EMBEDDING, EARLY + EMBEDDING.replace("t * m", "(t - early) * m"), 1)],
    "M10_position_ahead": [("(double)(past + i)", "(double)(past + i + 1)", 2)],
    "X_no_maximum": [
        ("float max = -INFINITY, sum = 0;\n    for (int64_t j", "float max = 0, sum = 0;\n    for (int64_t j", 1),
        ("max = fmaxf(max, score(s, q, j))", "max = 0", 1),
    ],
    "X_no_maximum_mla": [("expf(a->score[j] - max)", "expf(a->score[j] - 0 * max)", 1)],
    "X_no_maximum_gate": [("expf(z - max)", "expf(z - 0 * max)", 1)],
    "X_no_maximum_loss": [
        ("(double)expf(load(&io->logits, t, j) - max)", "(double)expf(load(&io->logits, t, j))", 1),
        ("log(sum) + (double)max - ", "log(sum) - ", 1),
    ],
    "X_positions_clamped": [("(double)(past + i)", "fmin((double)(past + i), 4095)", 2)],
    "X_key_dropped": [("weight = expf(score(s, q, j) - max)", "weight = n > 2000 && j == n / 2 ? 0 : expf(score(s, q, j) - max)", 1)],
    "X_last_page_dropped": [
        ("n = seen > 0 ? seen : 0", "n = seen > 2000 ? seen / p->page_size * p->page_size : seen > 0 ? seen : 0", 1)
    ],
    "X_group_of_powers": [
        ("\n/* All groups but the best", WHOLE, 1),
        ("? top_two(group, size) : group[largest(group, size)]",
         "? top_two(group, power_of_two(size)) : group[largest(group, power_of_two(size))]", 1),
    ],
    "X_fewer_groups": [
        ("\n/* All groups but the best", WHOLE, 1),
        ("g = largest(score, p->n_group)", "g = largest(score, power_of_two(p->n_group))", 1),
    ],
    "X_one_not_divided": [
        ("if (p->norm_topk_prob) weight[k] /= sum;", "if (p->norm_topk_prob && p->num_experts_per_tok > 1) weight[k] /= sum;", 1)
    ],
    # what is midway between two results goes to the larger; SwiGLU's silu is a BF16 number, as in eager code
    "X_ties_away": [("store_at(&io->y, to + i, y[i])", "store_at(&io->y, to + i, " + AWAY.replace("VALUE", "y[i]") + ")", 1)],
    "X_ties_away_swiglu": [
        ("silu(gate) * up);", AWAY.replace("VALUE", "from_bits((uint32_t)to_bf16(silu(gate)) << 16) * up") + ");", 1),
        ("sigmoid 4; flush none; gate_sigmoid f32 may; silu f32 must", "sigmoid 4; flush none; gate_sigmoid f32 may; silu bf16 must", 1),
    ],
    "X_amax_without_last": [("i < last; i++) amax", "i < last - (last - first == BLOCK); i++) amax", 1)],
}


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def no_other_op(name, path):
    """Is the file that of the quirk's op, or of no op? Not one in which another op repeats a line by chance."""
    ops = re.findall(r"^    OP\((\w+)\)", read("include/dsv3.h"), re.MULTILINE)
    op = re.findall(rf"^QUIRK\({name}, (\w+)", read("ref/quirks.def"), re.MULTILINE)
    stem = os.path.basename(path)[:-2]
    return stem not in ops or stem in op


def main():
    if len(sys.argv) == 1:
        print("\n".join(MISTAKES))
        return
    name, folder, *paths = sys.argv[1:]
    sources = {path: read(path) for path in paths}
    right_sources = dict(sources)
    for right, wrong, times in MISTAKES[name]:
        near = [path for path in paths if no_other_op(name, path)]
        places = near if sum(sources[path].count(right) for path in near) == times else paths
        found = sum(sources[path].count(right) for path in places)
        if found != times:
            sys.exit(f"mistakes.py: {name}: '{right}' stands {found} times in {' '.join(paths)}, not {times}")
        sources.update({path: sources[path].replace(right, wrong) for path in places})
    for path, source in sources.items():
        file_name = os.path.basename(path)
        if source == right_sources[path]:
            print(os.path.join(os.path.dirname(folder), "plain", file_name[:-2] + ".o"))
            continue
        with open(os.path.join(folder, file_name), "w", encoding="utf-8") as file:
            file.write(source)
        print(os.path.join(folder, file_name))


main()
