/* See profile.h. unit/verify/profiles.c checks that ops, keys and values exist, and plants the mistakes. */
#include "profile.h"

#include <string.h>

#define DOES(name, source)                                                                                             \
    {                                                                                                                  \
        QUIRK_##name, NULL, NULL, 0, source                                                                            \
    }
#define HAS(op, key, value, source)                                                                                    \
    {                                                                                                                  \
        -1, #op, #key, value, source                                                                                   \
    }
#define END                                                                                                            \
    {                                                                                                                  \
        .source = NULL                                                                                                 \
    }

static const convention deepseek[] = {
    DOES(R9_yarn_off, "inference/model.py:367: frequencies are scaled only if max_seq_len > original_seq_len"),
    DOES(R6_no_mscale, "inference/model.py:435: so is softmax_scale"),
    DOES(R6_mscale_missing, "inference/model.py:435: the same"),
    DOES(R6_mscale_missing_prefill, "inference/model.py:435: the same"),
    DOES(F10_rounded_log2, "inference/kernel.py:30: ceil(log2(s)) in binary32"),
    HAS(rope, in_layout, 0, "inference/model.py:390: view_as_complex of pairs side by side"),
    HAS(rope, out_layout, 0, "inference/model.py:392: view_as_real, flattened"),
    HAS(mla, rope_layout, 0, "inference/model.py:392: the same"),
    HAS(mla, rms_norm_eps, 1e-6, "inference/model.py:278: the default of RMSNorm, which no caller changes"),
    HAS(rmsnorm, rms_norm_eps, 1e-6, "inference/model.py:278: the same"),
    HAS(quant, amax_floor, 1e-4, "inference/kernel.py:27: tl.maximum(amax, 1e-4)"),
    END};

static const convention transformers[] = {
    DOES(M10_position_ahead, "modeling_layers.py:511: position_ids are shifted by 1 from the main model's"),
    HAS(rope, in_layout, 0, "models/deepseek_v3/modeling_deepseek_v3.py:341: q[..., 0::2], q[..., 1::2]"),
    HAS(rope, out_layout, 1, "models/deepseek_v3/modeling_deepseek_v3.py:344: cat of both halves"),
    HAS(mla, rope_layout, 1, "models/deepseek_v3/modeling_deepseek_v3.py:344: the same, and so it is cached"),
    HAS(mla, rms_norm_eps, 1e-6,
        "models/deepseek_v3/modeling_deepseek_v3.py:380, 392: the latents' norms are given no eps; 38: its default"),
    END};

static const convention transformers_2025[] = {
    DOES(G3_masked_to_zero,
         "src/transformers/models/deepseek_v3/modular_deepseek_v3.py at 000c33f: masked_fill(~score_mask.bool(), 0.0)"),
    HAS(rope, in_layout, 0, "modular_deepseek_v3.py at 000c33f: q.view(b, h, s, d // 2, 2).transpose(4, 3)"),
    HAS(rope, out_layout, 1, "modular_deepseek_v3.py at 000c33f: the result isn't put back"),
    HAS(mla, rope_layout, 1, "modular_deepseek_v3.py at 000c33f: the same"), END};

static const convention vllm[] = {
    DOES(M5_first_zeroed,
         "vllm/model_executor/models/deepseek_mtp.py at 03356f8: inputs_embeds[positions == 0] = 0; issue #33299"),
    DOES(M4_no_head_norm,
         "vllm/model_executor/models/deepseek_mtp.py at 03356f8: forward returns the block's output, and only "
         "compute_logits has shared_head.norm"),
    DOES(F10_rounded_log2,
         "vllm/model_executor/layers/quantization/utils/fp8_utils.py at 007d500: exp2(ceil(log2(scale_raw))) in "
         "binary32, in Triton"),
    HAS(quant, amax_floor, 1e-10,
        "vllm/model_executor/layers/quantization/utils/fp8_utils.py at 007d500: per_token_group_quant_fp8, eps"),
    HAS(rope, in_layout, 0, "vllm/model_executor/models/deepseek_v2.py at 002d607: is_neox_style=False"),
    HAS(rope, out_layout, 0, "vllm/model_executor/models/deepseek_v2.py at 002d607: the same"),
    HAS(mla, rope_layout, 0, "vllm/model_executor/models/deepseek_v2.py at 002d607: the same"),
    END};

static const convention sglang[] = {
    HAS(gate, routed_scaling_factor, 1,
        "python/sglang/srt/layers/moe/topk.py at 000328a: biased_grouped_topk_impl scales only if "
        "apply_routed_scaling_factor_on_output, which is False by default"),
    HAS(rope, in_layout, 0, "python/sglang/srt/models/deepseek_v2.py at 3e4a39e: is_neox_style=False"),
    HAS(rope, out_layout, 0, "python/sglang/srt/models/deepseek_v2.py at 3e4a39e: the same"),
    HAS(mla, rope_layout, 0, "python/sglang/srt/models/deepseek_v2.py at 3e4a39e: the same"), END};

static const convention llama_cpp[] = {
    DOES(G2_group_sum_of_two,
         "src/llama-graph.cpp at 00395eb: build_moe_ffn takes two of each group, whatever the gating function is"),
    END};

static const profile profiles[] = {
    {"deepseek", "2025-08-27, commit 9b4e978", "deepseek-ai/DeepSeek-V3", deepseek},
    {"transformers", "release 5.23.0", "huggingface/transformers", transformers},
    {"transformers-2025", "2025-12, as issue #42789 has it", "huggingface/transformers", transformers_2025},
    {"vllm", "2026-07, before PR #49938", "vllm-project/vllm", vllm},
    {"sglang", "commit 000328a", "sgl-project/sglang", sglang},
    {"llama.cpp", "commit 00395eb", "ggml-org/llama.cpp", llama_cpp},
    {NULL},
};

const char *const profile_names[] = {"deepseek", "transformers", "transformers-2025", "vllm", "sglang", "llama.cpp",
                                     NULL};

const profile *profile_at(int i)
{
    return profiles[i].name ? &profiles[i] : NULL;
}

int profile_named(const char *name)
{
    for (int i = 0; profile_at(i); i++)
        if (!strcmp(profiles[i].name, name)) return i;
    return -1;
}

ref_set profile_quirks(const profile *p)
{
    ref_set quirks = ref_none();
    for (const convention *c = p->conventions; c->source; c++)
        if (!c->key) ref_add(&quirks, c->quirk);
    return quirks;
}
