/* See reach.h. */
#include "reach.h"

#include <stdio.h>

typedef struct {
    int quirk;
    const char *outputs;
} reach_row;

#define ROTATED    "q|attn_output|y kv"
#define NORMALISED "q_a_layernorm|q|attn_output|y kv"

static const reach_row rows[] = {
    {QUIRK_A1_latent_scale, "attn_output|y"},
    {QUIRK_R6_no_mscale, "attn_output|y"},
    {QUIRK_A2_no_q_norm, "q_a_layernorm|q|attn_output|y"},
    {QUIRK_A2_wide_norm, "kv"},
    {QUIRK_A5_latent_not_normed, "kv"},
    {QUIRK_A6_halves_swapped, "attn_output|y"},
    {QUIRK_A6_halves_global, "attn_output|y"},
    {QUIRK_A9_no_mask, "attn_output|y"},
    {QUIRK_A10_mask_from_start, "attn_output|y"},
    {QUIRK_R2_k_half_split, "kv"},
    {QUIRK_R14_k_not_rotated, "kv"},
    {QUIRK_R15_positions_restart, "q|attn_output|y kv"},
    {QUIRK_M1_hidden_first, "eh_proj"},
    {QUIRK_M1_norms_exchanged, "eh_proj"},
    {QUIRK_M4_no_enorm, "eh_proj"},
    {QUIRK_M4_no_hnorm, "eh_proj"},
    {QUIRK_M4_no_head_norm, "y"},
    {QUIRK_M5_first_zeroed, "eh_proj"},
    {QUIRK_M6_own_token, "eh_proj"},
    {QUIRK_M10_position_ahead, "q kv"},
    {QUIRK_G1_bias_in_weights, "topk_weight"},
    {QUIRK_G2_group_max, "topk_idx"},
    {QUIRK_G2_group_sum_of_two, "topk_idx"},
    {QUIRK_G2_group_top_k_over_m, "topk_idx"},
    {QUIRK_G3_masked_to_zero, "topk_idx"},
    {QUIRK_G4_ungrouped, "topk_idx"},
    {QUIRK_G5_not_normalised, "topk_weight"},
    {QUIRK_G7_scaled_twice, "topk_weight"},
    {QUIRK_G15_bias_missing, "topk_idx"},
    {QUIRK_E8_gate_up_swapped, "act|y"},
    {QUIRK_A12_lse_base_2, "lse"},
    {QUIRK_A12_lse_base_2_prefill, "lse"},
    {QUIRK_M11_labels_rolled, "loss"},
    {QUIRK_M11_ignored_counted, "loss mean"},
    {QUIRK_M11_other_divisor, "mean"},
    {QUIRK_G7_scale_again, "y"},
    {QUIRK_G8_scale_dropped, "y"},
    {QUIRK_G9_shared_scaled, "y"},
    {QUIRK_G9_shared_lost, "y"},
    {QUIRK_E4_shared_twice, "y"},
};

/* Mistakes of other ops, within mla and moe. Of any other op with parts nothing is known. */
static const reach_row in_mla[] = {
    {QUIRK_A1_absorbed_scale, "attn_output|y"},
    {QUIRK_A1_nope_scale_prefill, "attn_output|y"},
    {QUIRK_A9_not_itself_prefill, "attn_output|y"},
    {QUIRK_R1_half_split, ROTATED},
    {QUIRK_R4_sign_flipped, ROTATED},
    {QUIRK_R7_mscale_on_cos, ROTATED},
    {QUIRK_R9_yarn_off, ROTATED},
    {QUIRK_R9_keys_unknown, ROTATED},
    {QUIRK_R10_untruncated, ROTATED},
    {QUIRK_R10_clamp_half, ROTATED},
    {QUIRK_M10_position_ahead, ROTATED},
    {QUIRK_A2_mean_subtracted, NORMALISED},
    {QUIRK_A3_eps_missing, NORMALISED},
    {QUIRK_A3_eps_outside, NORMALISED},
};

static const reach_row in_moe[] = {
    {QUIRK_G1_bias_in_weights, "topk_weight"}, {QUIRK_G2_group_max, "topk_idx"},
    {QUIRK_G2_group_sum_of_two, "topk_idx"},   {QUIRK_G2_group_top_k_over_m, "topk_idx"},
    {QUIRK_G3_masked_to_zero, "topk_idx"},     {QUIRK_G4_ungrouped, "topk_idx"},
    {QUIRK_G5_not_normalised, "topk_weight"},  {QUIRK_G7_scaled_twice, "topk_weight"},
    {QUIRK_G15_bias_missing, "topk_idx"},
};

#define FIND(rows, quirk) find(rows, sizeof rows / sizeof *rows, quirk)

static const char *find(const reach_row *row, size_t n, int quirk)
{
    for (size_t i = 0; i < n; i++)
        if (row[i].quirk == quirk) return row[i].outputs;
    return NULL;
}

const char *reach_of(int quirk, const char *in)
{
    if (!strcmp(ref_quirk(quirk)->op, in)) return FIND(rows, quirk);
    if (!strcmp(in, "mla")) return FIND(in_mla, quirk);
    return strcmp(in, "moe") ? NULL : FIND(in_moe, quirk);
}

/* The first of the outputs "a|b|c" that the problem has: `length` bytes. NULL: it has none of them. */
static const tensor_info *first_present(const problem *p, const char *names, size_t length)
{
    char name[64];
    for (const char *s = names, *const end = names + length; s < end; s += strcspn(s, "| ") + 1) {
        snprintf(name, sizeof name, "%.*s", (int)strcspn(s, "| "), s);
        const tensor_info *const t = problem_tensor(p, name);
        if (t) return t;
    }
    return NULL;
}

bool reached(int quirk, const problem *p, bool outputs[])
{
    const char *s = reach_of(quirk, p->op->name);
    if (!s) return false;
    for (size_t n; *s; s += n, s += strspn(s, " ")) {
        n = strcspn(s, " ");
        const tensor_info *const t = first_present(p, s, n);
        if (!t) return false;
        outputs[t - p->tensor] = true;
    }
    return true;
}
