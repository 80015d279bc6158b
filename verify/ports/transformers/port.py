"""Hugging Face's own modules as a port: code that nobody here wrote.

    make transformers-port
    build/bin/verify run 'rmsnorm@odd:x=f32' --backend=transformers

rmsnorm: transformers.models.deepseek_v3.modeling_deepseek_v3.DeepseekV3RMSNorm
linear:  torch.nn.Linear, which DeepseekV3Attention and DeepseekV3MLP are made of
rope:    DeepseekV3RotaryEmbedding, then apply_rotary_pos_emb_interleave or apply_rotary_pos_emb
gate:    DeepseekV3TopkRouter, or for a softmax without bias DeepseekV2TopkRouter, with the identity as its weight, so that its
         logits are the ones given
mla_decode: eager_attention_forward with one key-value head; lse is torch.logsumexp of the same scores, since that
         function returns none
mla_prefill: the same with a key-value head for each query head
experts: DeepseekV3Experts, its eager loop, gate and up rows of an expert in one matrix
moe:     DeepseekV3MoE: DeepseekV3TopkRouter, DeepseekV3Experts in the same way, DeepseekV3MLP for the shared experts
mtp:     modeling_layers.MtpLayer around DeepseekV3DecoderLayer; row i at position i, where MtpModel has i + 1
swiglu:  the activation that DeepseekV3Config names, times up, as DeepseekV3MLP has it
NAME_backward: autograd through what NAME is here
embed:   torch.nn.Embedding, which DeepseekV3Model.embed_tokens is
cross_entropy: torch's cross_entropy without reduction; the mean by loss_utils.fixed_cross_entropy, on logits in f32
quant:   integrations.finegrained_fp8.Fp8Quantize with blocks of 1 x 128: it has no floor and takes whole tiles only

The declared arithmetic follows their source: DeepseekV3RMSNorm computes in f32, rounds x_norm to the format of its input,
then multiplies by the weight in that format. torch sums in f32 in lanes that depend on the processor, so no order is
declared; its rsqrt is a root and a division, two roundings. torch takes seconds to import: that waits for the first case.
"""

import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

import dsv3_port  # noqa: E402


def same_formats(case, *names):
    """HF keeps input, weight and output of a module in one format."""
    formats = {name: case.dtype(name) for name in names}
    if len(set(formats.values())) > 1:
        raise dsv3_port.Unsupported("the module keeps one format, not " + ", ".join(f"{n} {f}" for n, f in formats.items()))
    return formats[names[0]]


def rmsnorm(case):
    if case.prob["residual"]:
        raise dsv3_port.Unsupported("DeepseekV3RMSNorm has no fused residual")
    dtype = same_formats(case, "x", "weight", "y")
    from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3RMSNorm

    x = case.torch("x")
    module = DeepseekV3RMSNorm(x.shape[-1], eps=case.prob["rms_norm_eps"]).requires_grad_(False)
    module.weight.data = case.torch("weight")
    return {"y": module(x)}, f"acc 24 rn; rsqrt 2; div ieee; flush none; x_norm {dtype} must"


def rmsnorm_backward(case):
    from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3RMSNorm

    dtype = same_formats(case, "x", "weight", "grad_x")
    x = case.torch("x").requires_grad_()
    module = DeepseekV3RMSNorm(x.shape[-1], eps=case.prob["rms_norm_eps"])
    module.weight.data = case.torch("weight")
    y = module(x)
    if case.prob["residual"]:  # the sum is handed on too
        import torch

        torch.autograd.backward([y, x.clone()], [case.torch("grad_y"), case.torch("grad_residual_out")])
    else:
        y.backward(case.torch("grad_y"))
    return ({"grad_x": x.grad, "grad_weight": module.weight.grad},
            f"acc 24 rn; rsqrt 2; div ieee; flush none; g {dtype} must; x_norm {dtype} must; terms {dtype} must; "
            # in f32 the gradients that meet at x are added in any order
            f"x_hat f32 must; grad_norm {dtype} {'must' if dtype == 'bf16' else 'may'}")


def linear(case):
    if case.dtype("weight") == "f8_e4m3":
        raise dsv3_port.Unsupported("torch.nn.Linear has no block-scaled FP8 weight")
    dtype = same_formats(case, "x", "weight", "y")
    import torch

    weight = case.torch("weight")
    module = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta", dtype=weight.dtype)
    module.weight = torch.nn.Parameter(weight, requires_grad=False)
    # BF16 products may go through an instruction that takes subnormals as 0 (vdpbf16ps)
    flush = "daz" if dtype == "bf16" else "none"
    return {"y": module(case.torch("x"))}, f"acc 24 rn; flush {flush}"


def linear_backward(case):
    dtype = same_formats(case, "x", "weight", "grad_weight")
    import torch

    x, weight = case.torch("x").requires_grad_(), case.torch("weight").requires_grad_()
    torch.nn.functional.linear(x, weight).backward(case.torch("grad_y"))
    flush = "daz" if dtype == "bf16" else "none"
    return {"grad_x": x.grad, "grad_weight": weight.grad}, f"acc 24 rn; flush {flush}"


def embed_backward(case):
    dtype = same_formats(case, "grad_y", "grad_weight")
    import torch

    grad_y = case.torch("grad_y")
    weight = torch.zeros(int(case.prob["vocab_size"]), grad_y.shape[1], dtype=grad_y.dtype, requires_grad=True)
    torch.nn.functional.embedding(case.torch("input_ids"), weight).backward(grad_y)
    return {"grad_weight": weight.grad}, f"acc 24 rn; flush none; partial {dtype} must"  # added in place


def rope_config(p):
    from transformers.models.deepseek_v3 import modeling_deepseek_v3 as hf
    from transformers.utils import logging

    logging.set_verbosity_error()  # it warns that factor is not what the lengths imply
    yarn = p["factor"] != 1
    parameters = {"rope_type": "default", "rope_theta": p["rope_theta"]}
    if yarn:
        keys = ("factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim")
        parameters.update({key: p[key] for key in keys}, rope_type="yarn")
        parameters["original_max_position_embeddings"] = int(p["original_max_position_embeddings"])
    config = hf.DeepseekV3Config(qk_rope_head_dim=int(p["qk_rope_head_dim"]), rope_parameters=parameters,
                                 max_position_embeddings=1 << 24)
    config.head_dim = int(p["qk_rope_head_dim"])
    return config


def rope(case):
    from transformers.models.deepseek_v3 import modeling_deepseek_v3 as hf

    p, dtype = case.prob, case.dtype("x")
    if not p["out_layout"]:
        raise dsv3_port.Unsupported("it hands the rotated vector on in half layout")
    config = rope_config(p)
    x = case.torch("x").transpose(0, 1).unsqueeze(0)  # (1, heads, tokens, dim)
    cos, sin = hf.DeepseekV3RotaryEmbedding(config)(x, case.torch("positions").unsqueeze(0))
    apply = hf.apply_rotary_pos_emb if p["in_layout"] else hf.apply_rotary_pos_emb_interleave
    y = apply(x, x[:, :1], cos, sin)[0].squeeze(0).transpose(0, 1)
    # frequencies and angles in f32; cos and sin are cast to the input's format, and the rotation is computed in it
    return {"y": y}, f"angle f32; sincos 2; flush none; cos_sin {dtype} must; arith {dtype}"


def rope_backward(case):
    from transformers.models.deepseek_v3 import modeling_deepseek_v3 as hf

    p, dtype = case.prob, case.dtype("grad_y")
    if not p["out_layout"]:
        raise dsv3_port.Unsupported("it hands the rotated vector on in half layout")
    import torch

    grad_y = case.torch("grad_y")
    tokens, heads, width = grad_y.shape
    vectors = int(p["num_key_value_heads"])
    config = rope_config(p)
    cos, sin = hf.DeepseekV3RotaryEmbedding(config)(grad_y, case.torch("positions").unsqueeze(0))
    x = torch.zeros(1, vectors, tokens, width, dtype=grad_y.dtype, requires_grad=True)
    apply = hf.apply_rotary_pos_emb if p["in_layout"] else hf.apply_rotary_pos_emb_interleave
    y = hf.repeat_kv(apply(x, x[:, :1], cos, sin)[0], heads // vectors)
    y.squeeze(0).transpose(0, 1).backward(grad_y)
    return ({"grad_x": x.grad.squeeze(0).transpose(0, 1)},
            f"acc 24 rn; angle f32; sincos 2; flush none; cos_sin {dtype} must; grad_sum {dtype} must; arith {dtype}")


def gate_v2(case):
    import torch
    from transformers.models.deepseek_v2 import modeling_deepseek_v2 as hf

    p = case.prob
    if p["norm_topk_prob"]:
        raise dsv3_port.Unsupported("DeepseekV2TopkRouter ignores norm_topk_prob")
    experts, method = int(p["n_routed_experts"]), ("noaux_tc", "greedy", "group_limited_greedy")[int(p["topk_method"])]
    config = hf.DeepseekV2Config(n_routed_experts=experts, hidden_size=experts, num_attention_heads=1, n_group=int(p["n_group"]),
                                 topk_group=int(p["topk_group"]), num_experts_per_tok=int(p["num_experts_per_tok"]),
                                 routed_scaling_factor=float(p["routed_scaling_factor"]), topk_method=method)
    router = hf.DeepseekV2TopkRouter(config).requires_grad_(False)
    router.weight.data = torch.eye(experts)
    _, weight, idx = router(case.torch("logits"))
    return {"topk_idx": idx.to(torch.int32), "topk_weight": weight}, "acc 24 rn; div 2; exp 4 0; flush none; scores f32 must"


def gate(case):
    import torch
    from transformers.models.deepseek_v3 import modeling_deepseek_v3 as hf

    p = case.prob
    if p["scoring_func"] == 1 and p["topk_method"] != 0:
        return gate_v2(case)
    if p["scoring_func"] == 1 or p["topk_method"] != 0:
        raise dsv3_port.Unsupported("its routers are sigmoid with noaux_tc, and softmax without bias")
    experts, groups = int(p["n_routed_experts"]), int(p["n_group"])
    if experts // groups < 2:
        raise dsv3_port.Unsupported("the router takes the two best of a group: a group has two experts or more")
    config = hf.DeepseekV3Config(n_routed_experts=experts, hidden_size=experts, n_group=groups,
                                 topk_group=int(p["topk_group"]), num_experts_per_tok=int(p["num_experts_per_tok"]),
                                 routed_scaling_factor=p["routed_scaling_factor"], norm_topk_prob=bool(p["norm_topk_prob"]))
    router = hf.DeepseekV3TopkRouter(config).requires_grad_(False)
    router.weight.data = torch.eye(experts)
    router.e_score_correction_bias = case.torch("e_score_correction_bias")
    _, weight, idx = router(case.torch("logits"))
    return {"topk_idx": idx.to(torch.int32), "topk_weight": weight}, "acc 24 rn; div ieee; sigmoid 6 2; flush none; scores f32 must"


def gate_backward(case):
    import torch

    p = case.prob
    if p["scoring_func"]:
        raise dsv3_port.Unsupported("DeepseekV3TopkRouter's scores are sigmoids")
    logits, idx = case.torch("logits").requires_grad_(), case.torch("topk_idx").long()
    # the lines of DeepseekV3TopkRouter.forward behind the choice
    weight = logits.float().sigmoid().gather(1, idx)
    if p["norm_topk_prob"]:
        weight = weight / (weight.sum(dim=-1, keepdim=True) + 1e-20)
    (weight * p["routed_scaling_factor"]).backward(case.torch("grad_topk_weight"))
    return ({"grad_logits": logits.grad},
            "acc 24 rn; div ieee; sigmoid 6 2; flush none; scores f32 must; grad_scores f32 may")


def mla_decode(case):
    import types

    import torch
    from transformers.models.deepseek_v3.modeling_deepseek_v3 import eager_attention_forward

    p, dtype = case.prob, same_formats(case, "q", "kv_cache")
    heads, s_q, rank = (int(p[key]) for key in ("num_attention_heads", "s_q", "kv_lora_rank"))
    module = types.SimpleNamespace(num_key_value_groups=heads, training=False)
    q, cache, table, lengths = (case.torch(name) for name in ("q", "kv_cache", "block_table", "cache_seqlens"))
    o = torch.zeros(q.shape[:-1] + (rank,), dtype=q.dtype)
    lse = torch.full(q.shape[:-1], float("-inf"))
    for b, length in enumerate(lengths.tolist()):
        pages = -(-length // cache.shape[1])
        keys = cache[table[b, :pages].long()].flatten(0, 1)[:length]
        hidden = max(0, s_q - length)  # queries that see no key
        if hidden == s_q:
            continue
        query = q[b, hidden:].transpose(0, 1).unsqueeze(0)  # (1, heads, queries, dim)
        key = keys[None, None]
        seen = torch.arange(length) <= length - s_q + torch.arange(hidden, s_q)[:, None]
        mask = torch.zeros(seen.shape, dtype=q.dtype).masked_fill(~seen, float("-inf"))
        out, _ = eager_attention_forward(module, query, key, key[..., :rank], mask, p["softmax_scale"])
        scores = torch.matmul(query, key.transpose(2, 3)) * p["softmax_scale"] + mask
        o[b, hidden:] = out[0]
        lse[b, hidden:] = torch.logsumexp(scores.float(), -1)[0].transpose(0, 1)
    # scores and weights are stored in the input's format; softmax is computed in f32 with torch's vectorised exp
    flush = "daz" if dtype == "bf16" else "none"
    return {"o": o, "lse": lse}, (f"acc 24 rn; div 2; exp 4 0; log 2 1; rescales 0; scaled scores; parts 1; flush {flush}; "
                                  f"arith {dtype} softmax=f32; scores {dtype} must; P {dtype} must")


def mla_prefill(case):
    import types

    import torch
    from transformers.models.deepseek_v3.modeling_deepseek_v3 import eager_attention_forward

    p, dtype = case.prob, case.dtype("q")
    module = types.SimpleNamespace(num_key_value_groups=1, training=False)
    q, k, v = (case.torch(name) for name in ("q", "k", "v"))
    o = torch.zeros(q.shape[:-1] + v.shape[-1:], dtype=q.dtype)
    lse = torch.full(q.shape[:-1], float("-inf"))
    starts_q, starts_k = (case.torch(name).tolist() for name in ("cu_seqlens_q", "cu_seqlens_k"))
    for from_q, to_q, from_k, to_k in zip(starts_q, starts_q[1:], starts_k, starts_k[1:]):
        queries, keys = to_q - from_q, to_k - from_k
        hidden = 0 if p["full"] and keys else max(0, queries - keys)  # queries that see no key
        if hidden == queries:
            continue
        query, key, value = (x.transpose(0, 1).unsqueeze(0)  # (1, heads, tokens, dim)
                             for x in (q[from_q + hidden:to_q], k[from_k:to_k], v[from_k:to_k]))
        seen = (torch.arange(keys) <= keys - queries + torch.arange(hidden, queries)[:, None]) | bool(p["full"])
        mask = torch.zeros(seen.shape, dtype=q.dtype).masked_fill(~seen, float("-inf"))
        out, _ = eager_attention_forward(module, query, key, value, mask, p["softmax_scale"])
        scores = torch.matmul(query, key.transpose(2, 3)) * p["softmax_scale"] + mask
        o[from_q + hidden:to_q] = out[0]
        lse[from_q + hidden:to_q] = torch.logsumexp(scores.float(), -1)[0].transpose(0, 1)
    flush = "daz" if dtype == "bf16" else "none"  # as in mla_decode
    return {"o": o, "lse": lse}, (f"acc 24 rn; div 2; exp 4 0; log 2 1; rescales 0; scaled scores; parts 1; flush {flush}; "
                                  f"arith {dtype} softmax=f32; scores {dtype} must; P {dtype} must")


def mla_prefill_backward(case):
    import types

    import torch
    from transformers.models.deepseek_v3.modeling_deepseek_v3 import eager_attention_forward

    p, dtype = case.prob, case.dtype("q")
    module = types.SimpleNamespace(num_key_value_groups=1, training=False)
    q, k, v = (case.torch(name).requires_grad_() for name in ("q", "k", "v"))
    grad_o = case.torch("grad_o")
    starts_q, starts_k = (case.torch(name).tolist() for name in ("cu_seqlens_q", "cu_seqlens_k"))
    for from_q, to_q, from_k, to_k in zip(starts_q, starts_q[1:], starts_k, starts_k[1:]):
        queries, keys = to_q - from_q, to_k - from_k
        hidden = max(0, queries - keys)  # queries that see no key
        if hidden == queries:
            continue
        query, key, value = (x.transpose(0, 1).unsqueeze(0)  # (1, heads, tokens, dim)
                             for x in (q[from_q + hidden:to_q], k[from_k:to_k], v[from_k:to_k]))
        seen = torch.arange(keys) <= keys - queries + torch.arange(hidden, queries)[:, None]
        mask = torch.zeros(seen.shape, dtype=q.dtype).masked_fill(~seen, float("-inf"))
        out, _ = eager_attention_forward(module, query, key, value, mask, p["softmax_scale"])
        out.backward(grad_o[from_q + hidden:to_q].unsqueeze(0))
    flush = "daz" if dtype == "bf16" else "none"  # as in mla_decode
    grads = {f"grad_{name}": torch.zeros_like(x) if x.grad is None else x.grad for name, x in zip("qkv", (q, k, v))}
    return grads, (f"acc 24 rn; div 2; exp 4 0; log 2 1; rescales 0; scaled scores; parts 1; flush {flush}; "
                   f"arith {dtype} softmax=f32; scores {dtype} must; o f32 must; lse f32 must; P f32 must; "
                   f"P_v {dtype} must; dP {dtype} must; D f32 must; dS {dtype} must")


def rope_parameters(p):
    """The rotation of a config: YaRN, or plain when nothing is extended."""
    if p["factor"] == 1:
        return {"rope_type": "default", "rope_theta": p["rope_theta"]}
    keys = ("rope_theta", "factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim")
    return {"rope_type": "yarn", "original_max_position_embeddings": int(p["original_max_position_embeddings"])} | {
        key: p[key] for key in keys}


class PastOfOne:
    """The cache of one sequence, as DeepseekV3Attention calls it; keeps what is appended."""

    def __init__(self, rows, rank):
        self.rows, self.rank, self.new = rows, rank, None

    def update(self, latent, key, layer):
        import torch

        self.new = torch.cat((latent, key), dim=-1)[0, 0]
        rows = torch.cat((self.rows, self.new))[None, None]
        return rows[..., : self.rank], rows[..., self.rank :]


def attention_module(case, hf, dtype):
    """DeepseekV3Attention with the case's weights."""
    import torch

    p = case.prob
    sizes = ("hidden_size", "num_attention_heads", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
    config = hf.DeepseekV3Config(**{key: int(p[key]) for key in sizes}, q_lora_rank=int(p["q_lora_rank"]) or None,
                                 num_key_value_heads=int(p["num_attention_heads"]), rope_parameters=rope_parameters(p),
                                 max_position_embeddings=1 << 24)
    config.head_dim = int(p["qk_rope_head_dim"])
    config._attn_implementation = "eager"
    with torch.device("meta"):
        module = hf.DeepseekV3Attention(config, 0).requires_grad_(False).eval()
    names = [name for name, _ in module.named_parameters()]
    module.load_state_dict({name: case.torch(name) for name in names}, assign=True)
    for name in ("q_a_layernorm", "kv_a_layernorm"):
        if hasattr(module, name) and getattr(module, name) is not None:
            getattr(module, name).variance_epsilon = p["rms_norm_eps"]  # HF builds these with 1e-6
    return config, module


ATTENTION_POINTS = ("q_a_proj", "x_norm", "q_a_layernorm", "q_b_proj", "cos_sin", "q", "kv_a_proj_with_mqa", "kv_b_proj", "scores", "P", "attn_output")


def watch_attention(config, module, hf, seen):
    """Each call of DeepseekV3Attention leaves its stages in `seen`."""

    def capture(module, query, key, value, mask, scaling, **more):
        seen["q"] = query[0].transpose(0, 1)
        return hf.eager_attention_forward(module, query, key, value, mask, scaling, **more)

    hf.ALL_ATTENTION_FUNCTIONS.register("capture", capture)
    config._attn_implementation = "capture"
    module.o_proj.register_forward_pre_hook(lambda _, inputs: seen.update(attn_output=inputs[0][0]))
    if module.q_lora_rank is not None:
        module.q_a_layernorm.register_forward_hook(lambda _, inputs, output: seen.update(q_a_layernorm=output[0]))


def causal_mask(position, length, dtype):
    import torch

    seen = torch.arange(length) <= position[:, None]
    return torch.zeros(seen.shape, dtype=dtype).masked_fill(~seen, float("-inf"))[None, None]


def mla(case):
    import torch
    from transformers.models.deepseek_v3 import modeling_deepseek_v3 as hf
    from transformers.utils import logging

    logging.set_verbosity_error()
    p = case.prob
    if not p["rope_layout"]:
        raise dsv3_port.Unsupported("it keeps rotated parts in half layout")
    if case.dtype("kv_a_proj_with_mqa.weight") == "f8_e4m3":
        raise dsv3_port.Unsupported("torch.nn.Linear has no block-scaled FP8 weight")
    dtype = same_formats(case, "hidden_states", "kv_a_proj_with_mqa.weight")
    config, module = attention_module(case, hf, dtype)
    rank, heads = int(p["kv_lora_rank"]), int(p["num_attention_heads"])
    x, cache, table, cu, lengths = (case.torch(name) for name in ("hidden_states", "kv_cache", "block_table", "cu_seqlens", "cache_seqlens"))
    seen = {}
    watch_attention(config, module, hf, seen)
    rotary = hf.DeepseekV3RotaryEmbedding(config)
    outputs = {name: [] for name in case.outputs}
    for b, length in enumerate(lengths.tolist()):
        first, last = cu[b].item(), cu[b + 1].item()
        past = length - (last - first)
        if last == first:
            continue
        pages = -(-past // cache.shape[1])
        rows = PastOfOne(cache[table[b, :pages].long()].flatten(0, 1)[:past], rank)
        hidden = x[None, first:last]
        position = torch.arange(past, length)
        seen["y"] = module(hidden, rotary(hidden, position[None]), causal_mask(position, length, x.dtype), rows)[0][0]
        seen["kv"] = rows.new
        for name, parts in outputs.items():
            parts.append(seen[name])
    flush = "daz" if dtype == "bf16" else "none"
    numerics = "; ".join(f"{point} {dtype} must" for point in ATTENTION_POINTS)
    return ({name: torch.cat(parts).reshape(case.outputs[name]["shape"]) for name, parts in outputs.items()},
            f"acc 24 rn; rsqrt 2; div 2; exp 4 0; rescales 0; scaled scores; parts 1; angle f32; sincos 2; flush {flush}; "
            f"arith {dtype} norm=f32 softmax=f32; form naive; {numerics}")


def experts_module(case, hf):
    """DeepseekV3MoE, on no device, with the case's routed experts; and their format."""
    import torch

    p, experts = case.prob, range(int(case.prob["n_routed_experts"]))
    if case.dtype("experts.0.gate_proj.weight") == "f8_e4m3":
        raise dsv3_port.Unsupported("DeepseekV3Experts has no block-scaled FP8 weight")
    dtype = same_formats(case, "hidden_states", "experts.0.gate_proj.weight")
    sizes = ("hidden_size", "moe_intermediate_size", "n_routed_experts", "n_shared_experts", "n_group", "topk_group",
             "num_experts_per_tok")
    config = hf.DeepseekV3Config(**{key: int(p[key]) for key in sizes if key in p}, num_attention_heads=1, num_key_value_heads=1)
    config._experts_implementation = "eager"
    if case.op == "moe":
        config.routed_scaling_factor, config.norm_topk_prob = float(p["routed_scaling_factor"]), bool(p["norm_topk_prob"])
    with torch.device("meta"):
        module = hf.DeepseekV3MoE(config).requires_grad_(False).eval()
    gate, up, down = ([case.torch(f"experts.{e}.{name}_proj.weight") for e in experts] for name in ("gate", "up", "down"))
    weights = {"gate_up_proj": torch.stack([torch.cat(pair) for pair in zip(gate, up)]), "down_proj": torch.stack(down)}
    module.experts.load_state_dict(weights, assign=True)
    return module, dtype


def linear_inputs(module, *inputs):
    """What the module returns, and what goes into each product with a matrix on its way there."""
    import torch

    seen = []

    class Record(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            if function is torch.nn.functional.linear:
                seen.append(args[0])
            return function(*args, **(kwargs or {}))

    with Record():
        return module(*inputs), seen


def routed_act(idx, rows):
    """act (tokens, k, width) from the rows of each expert that was chosen, as DeepseekV3Experts goes through them."""
    import torch

    act = torch.empty(idx.shape + rows[0].shape[-1:], dtype=rows[0].dtype)
    for e, of_expert in zip(idx.unique(), rows):
        slot, token = torch.where((idx == e).T)
        act[token, slot] = of_expert
    return act


EXPERTS_POINTS = ("gate_proj", "up_proj", "silu", "act", "expert_out", "routed")  # each is a tensor of the module's format


def experts_numerics(dtype):
    flush = "daz" if dtype == "bf16" else "none"  # as in linear
    return f"acc 24 rn; sigmoid 5; flush {flush}; gate_sigmoid f32 may; " + "; ".join(f"{point} {dtype} must" for point in EXPERTS_POINTS)


def experts(case):
    from transformers.models.deepseek_v3 import modeling_deepseek_v3 as hf

    module, dtype = experts_module(case, hf)
    idx = case.torch("topk_idx").long()
    y, inputs = linear_inputs(module.experts, case.torch("hidden_states"), idx, case.torch("topk_weight"))
    outputs = {"act": routed_act(idx, inputs[1::2]), "y": y}  # of each expert: gate and up at once, down
    return {name: outputs[name] for name in case.outputs}, experts_numerics(dtype)


def experts_backward(case):
    from transformers.models.deepseek_v3 import modeling_deepseek_v3 as hf

    same_formats(case, "hidden_states", "grad_gate_proj")
    module, dtype = experts_module(case, hf)
    experts = module.experts.requires_grad_()
    x, weight = case.torch("hidden_states").requires_grad_(), case.torch("topk_weight").requires_grad_()
    experts(x, case.torch("topk_idx").long(), weight).backward(case.torch("grad_y"))
    gate, up = experts.gate_up_proj.grad.chunk(2, dim=1)
    grads = {"hidden_states": x, "topk_weight": weight, "down_proj": experts.down_proj}
    # gate and up are one matrix; w grad_y is made in f32 and rounded to the input's format
    rounded = ("grad_expert_out", "grad_act", "grad_silu", "grad_gate", "grad_up")
    never = ("weighted_act", "grad_weighted_act", "grad_x")
    return ({f"grad_{name}": leaf.grad for name, leaf in grads.items()} | {"grad_gate_proj": gate, "grad_up_proj": up},
            "; ".join([experts_numerics(dtype)] + [f"{p} {dtype} must" for p in rounded] + [f"{p} f32 may" for p in never]))


def moe_module(case, hf):
    """DeepseekV3MoE with the case's weights, and their format."""
    p = case.prob
    if p["scoring_func"] == 1 or p["topk_method"] != 0:
        raise dsv3_port.Unsupported("DeepseekV3MoE routes by sigmoids with noaux_tc")
    if p["n_shared_experts"] == 0:
        raise dsv3_port.Unsupported("DeepseekV3MoE always has shared experts")
    if p["n_routed_experts"] // p["n_group"] < 2:
        raise dsv3_port.Unsupported("the router takes the two best of a group: a group has two experts or more")
    module, dtype = experts_module(case, hf)
    for part in ("gate", "shared_experts"):
        child = getattr(module, part)
        child.load_state_dict({name: case.torch(f"{part}.{name}") for name in child.state_dict()}, assign=True)
    return module, dtype


def run_moe(module, hidden):
    """DeepseekV3MoE's output, and its stages by name."""
    import torch

    seen = {}

    def keep_routing(module, inputs, output):
        logits, weight, idx = output
        seen.update(router_logits=logits, topk_weight=weight, topk_idx=idx.to(torch.int32))

    hook = module.gate.register_forward_hook(keep_routing)
    y, inputs = linear_inputs(lambda x: type(module).forward(module, x), hidden)
    hook.remove()
    # products: the gate's; of each expert as above; of the shared experts gate, up and down
    act, shared = inputs[1:-3][1::2], inputs[-1].flatten(0, -2)
    return y, seen | {"act": routed_act(seen["topk_idx"], act), "shared_act": shared}


def moe_numerics(dtype):
    return f"{experts_numerics(dtype)}; shared_act {dtype} must; div ieee; router_logits f32 must; scores f32 must"


def moe(case):
    from transformers.models.deepseek_v3 import modeling_deepseek_v3 as hf

    module, dtype = moe_module(case, hf)
    y, outputs = run_moe(module, case.torch("hidden_states"))
    outputs["y"] = y
    return {name: outputs[name] for name in case.outputs}, moe_numerics(dtype)


class PartOf:
    """The case of a part of a composition: weights below a prefix, and sizes."""

    def __init__(self, case, op, prefix, **prob):
        self.case, self.op, self.prefix, self.prob = case, op, prefix, case.prob | prob

    def dtype(self, name):
        return self.case.dtype(name if name == "hidden_states" else self.prefix + name)

    def torch(self, name):
        return self.case.torch(self.prefix + name)


def mtp_layer(case, hf, seen):
    """MtpLayer with the case's weights; each call leaves its stages in `seen`."""
    import torch
    from transformers.modeling_layers import MtpLayer

    p = case.prob
    config, attention = attention_module(PartOf(case, "mla", "self_attn.", rms_norm_eps=p["latent_eps"]), hf, None)
    experts, _ = moe_module(PartOf(case, "moe", "mlp."), hf)
    config.rms_norm_eps, config.first_k_dense_replace, config._experts_implementation = p["rms_norm_eps"], 0, "eager"
    with torch.device("meta"):
        layer = MtpLayer(config, hf.DeepseekV3DecoderLayer, hf.DeepseekV3RMSNorm, 0).requires_grad_(False).eval()
    block = layer.mtp_block
    block.self_attn, block.mlp = attention, experts
    own = {"enorm": layer.enorm, "hnorm": layer.hnorm, "eh_proj": layer.eh_proj, "shared_head.norm": layer.post_norm,
           "input_layernorm": block.input_layernorm, "post_attention_layernorm": block.post_attention_layernorm}
    for name, module in own.items():
        module.weight = torch.nn.Parameter(case.torch(name + ".weight"), requires_grad=False)
    watch_attention(config, attention, hf, seen)
    for name in ("eh_proj", "input_layernorm", "post_attention_layernorm"):
        own[name].register_forward_hook(lambda _, inputs, output, name=name: seen.update({name: output[0]}))
    attention.register_forward_hook(lambda _, inputs, output: seen.update(self_attn=output[0][0]))

    def moe_forward(hidden):
        y, stages = run_moe(experts, hidden)
        seen.update(stages, mlp=y[0])
        return y

    experts.forward = moe_forward
    return config, layer


def mtp(case):
    import torch
    from transformers.models.deepseek_v3 import modeling_deepseek_v3 as hf
    from transformers.utils import logging

    logging.set_verbosity_error()
    p, seen = case.prob, {}
    if not p["rope_layout"]:
        raise dsv3_port.Unsupported("it keeps rotated parts in half layout")
    dtype = same_formats(case, "hidden_states", "self_attn.kv_a_proj_with_mqa.weight")
    config, layer = mtp_layer(case, hf, seen)
    rotary = hf.DeepseekV3RotaryEmbedding(config)
    state, embedding, cu = (case.torch(name) for name in ("hidden_states", "inputs_embeds", "cu_seqlens"))
    outputs = {name: [] for name in case.outputs}
    for first, last in zip(cu.tolist(), cu.tolist()[1:]):
        if last == first:
            continue
        position = torch.arange(last - first)
        h = state[None, first:last]
        rows = PastOfOne(h.new_empty(0, int(p["kv_lora_rank"] + p["qk_rope_head_dim"])), int(p["kv_lora_rank"]))
        mask = causal_mask(position, last - first, h.dtype)
        seen["y"] = layer(embedding[None, first:last], h, rotary(h, position[None]), mask, position[None], rows)[0]
        seen["kv"] = rows.new
        for name, parts in outputs.items():
            parts.append(seen[name])
    points = ["x_norm", "enorm", "hnorm", "eh_proj", "input_layernorm", "h1", "post_attention_layernorm", "h2"]
    points += ["self_attn." + point for point in ATTENTION_POINTS + ("kv", "y")]
    points += ["mlp." + point for point in EXPERTS_POINTS + ("shared_act", "y")]
    flush = "daz" if dtype == "bf16" else "none"
    return ({name: torch.cat(parts).reshape(case.outputs[name]["shape"]) for name, parts in outputs.items()},
            f"acc 24 rn; rsqrt 2; div 2; exp 4 0; sigmoid 5; mlp.gate_sigmoid f32 may; rescales 0; scaled scores; parts 1; angle f32; sincos 2; flush {flush}; "
            # RMSNorm, softmax and silu compute in f32 and hand on the input's format
            f"arith {dtype} norm=f32 softmax=f32 sigmoid=f32; form naive; "
            "mlp.router_logits f32 must; mlp.scores f32 must; " + "; ".join(f"{point} {dtype} must" for point in points))


def swiglu(case):
    from transformers.activations import ACT2FN
    from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3Config

    y = ACT2FN[DeepseekV3Config().hidden_act](case.torch("gate")) * case.torch("up")
    # x / (1 + exp(-x)) in f32, rounded to the input's format
    return {"y": y}, f"sigmoid 5; flush none; gate_sigmoid f32 may; silu {case.dtype('gate')} must"


def swiglu_backward(case):
    from transformers.activations import ACT2FN
    from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3Config

    gate, up = (case.torch(name).requires_grad_() for name in ("gate", "up"))
    (ACT2FN[DeepseekV3Config().hidden_act](gate) * up).backward(case.torch("grad_y"))
    dtype = case.dtype("gate")  # silu is saved, and grad_y up made, in the input's format
    return ({"grad_gate": gate.grad, "grad_up": up.grad},
            f"sigmoid 5; flush none; gate_sigmoid f32 may; silu {dtype} must; grad_silu {dtype} must")


def embed(case):
    import torch

    weight = case.torch("weight")
    module = torch.nn.Embedding(*weight.shape, device="meta", dtype=weight.dtype)
    module.weight = torch.nn.Parameter(weight, requires_grad=False)
    return {"y": module(case.torch("input_ids"))}


def cross_entropy(case):
    import torch
    from transformers.loss.loss_utils import fixed_cross_entropy

    logits, labels = case.torch("logits").float(), case.torch("labels").long()
    loss = torch.nn.functional.cross_entropy(logits, labels, reduction="none", ignore_index=-100)
    count = None if case.prob["divisor"] else len(labels)  # None: the mean over labels that are not ignored
    mean = fixed_cross_entropy(logits, labels, num_items_in_batch=count, ignore_index=-100)
    return {"loss": loss, "mean": mean.reshape(1)}, "acc 24 rn; div ieee; exp 4 0; log 2 1; rescales 0; flush none; terms f32 must"


def cross_entropy_backward(case):
    from transformers.loss.loss_utils import fixed_cross_entropy

    stored, labels = case.torch("logits").requires_grad_(), case.torch("labels").long()
    count = None if case.prob["divisor"] else len(labels)
    mean = fixed_cross_entropy(stored.float(), labels, num_items_in_batch=count, ignore_index=-100)
    mean.backward(case.torch("grad_mean").reshape(()))
    return {"grad_logits": stored.grad}, "acc 24 rn; div ieee; exp 4 0; log 2 1; rescales 0; flush none; P f32 must"


def quant(case):
    import types

    import torch
    from transformers.integrations.finegrained_fp8 import Fp8Quantize

    p, x = case.prob, case.torch("x")
    if p["amax_floor"]:
        raise dsv3_port.Unsupported("Fp8Quantize has no amax_floor")
    if x.shape[1] % 128:
        raise dsv3_port.Unsupported("Fp8Quantize takes whole tiles only")
    config = types.SimpleNamespace(weight_block_size=[1, 128], scale_fmt="ue8m0" if p["scale_fmt"] else None)
    result = Fp8Quantize(types.SimpleNamespace(quantization_config=config)).convert({"x.weight": x})
    # 448 / amax, its reciprocal stored: two roundings; x is multiplied by 448 / amax
    scale = result["x.weight_scale_inv"].to(torch.float32)
    return {"q": result["x.weight"], "scale": scale}, "div 2; quotient recip; flush none"


if __name__ == "__main__":
    ops = {"rmsnorm": rmsnorm, "linear": linear, "rope": rope, "gate": gate, "mla_decode": mla_decode,
           "mla_prefill": mla_prefill, "mla": mla}
    ops.update({"swiglu": swiglu, "embed": embed, "cross_entropy": cross_entropy, "quant": quant})
    ops.update({"swiglu_backward": swiglu_backward, "rope_backward": rope_backward,
                "cross_entropy_backward": cross_entropy_backward, "rmsnorm_backward": rmsnorm_backward,
                "linear_backward": linear_backward, "embed_backward": embed_backward, "gate_backward": gate_backward,
                "mla_prefill_backward": mla_prefill_backward})
    ops.update({"experts": experts, "experts_backward": experts_backward, "moe": moe, "mtp": mtp})
    dsv3_port.serve("transformers", ops)
