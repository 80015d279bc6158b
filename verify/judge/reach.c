/* See reach.h. */
#include "reach.h"

typedef struct {
    int quirk;
    const char *outputs;
} reach_row;

static const reach_row rows[] = {
    {QUIRK_A1_latent_scale, "attn_output"},
    {QUIRK_R6_no_mscale, "attn_output"},
    {QUIRK_A2_no_q_norm, "q_a_layernorm"},
    {QUIRK_A2_wide_norm, "kv"},
    {QUIRK_A5_latent_not_normed, "kv"},
    {QUIRK_A6_halves_swapped, "attn_output"},
    {QUIRK_A6_halves_global, "attn_output"},
    {QUIRK_A9_no_mask, "attn_output"},
    {QUIRK_A10_mask_from_start, "attn_output"},
    {QUIRK_R2_k_half_split, "kv"},
    {QUIRK_R14_k_not_rotated, "kv"},
    {QUIRK_R15_positions_restart, "q kv"},
    {QUIRK_M1_hidden_first, "eh_proj"},
    {QUIRK_M1_norms_exchanged, "eh_proj"},
    {QUIRK_M4_no_enorm, "eh_proj"},
    {QUIRK_M4_no_hnorm, "eh_proj"},
    {QUIRK_M4_no_head_norm, "y"},
    {QUIRK_M5_first_zeroed, "eh_proj"},
    {QUIRK_M6_own_token, "eh_proj"},
    {QUIRK_M10_position_ahead, "q kv"},
    {QUIRK_G7_scale_again, "y"},
    {QUIRK_G8_scale_dropped, "y"},
    {QUIRK_G9_shared_scaled, "y"},
    {QUIRK_G9_shared_lost, "y"},
    {QUIRK_E4_shared_twice, "y"},
};

const char *reach_of(int quirk)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].quirk == quirk) return rows[i].outputs;
    return NULL;
}

static bool has_word(const char *words, const char *word, size_t length)
{
    for (const char *s = words; *s; s += strcspn(s, " "), s += strspn(s, " "))
        if (strcspn(s, " ") == length && !strncmp(s, word, length)) return true;
    return false;
}

static bool all_present(const problem *p, const char *words)
{
    char name[64];
    for (const char *s = words; *s; s += strcspn(s, " "), s += strspn(s, " ")) {
        size_t const length = strcspn(s, " ");
        memcpy(name, s, length);
        name[length] = 0;
        if (!problem_tensor(p, name)) return false;
    }
    return true;
}

bool reaches(int quirk, const problem *p, const char *const outputs[], int count)
{
    const char *const words = reach_of(quirk);
    if (!words || !all_present(p, words)) return true;
    for (int i = 0; i < count; i++)
        if (has_word(words, outputs[i], strlen(outputs[i]))) return true;
    return false;
}

bool reached(int quirk, const problem *p, bool outputs[])
{
    const char *const words = reach_of(quirk);
    if (!words || !all_present(p, words)) return false;
    for (int i = 0; i < p->tensors; i++) outputs[i] = has_word(words, p->tensor[i].name, strlen(p->tensor[i].name));
    return true;
}
