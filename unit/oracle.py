"""Hugging Face's DeepSeek-V3 and DeepSeek-V2 in true binary64: what a reference run of a whole model is compared with.

    build/ports/python unit/oracle.py CHECKPOINT OUT.safetensors [--tokens 3,1,4 | --n-tokens 12 --seed 1]
                                      [--prefill P] [--mtp own|main|none]

The classes are transformers' own, every forward that casts to binary32 is replaced by the same formula without the cast:
DeepseekV3RMSNorm, DeepseekV3RotaryEmbedding (whose frequencies are computed anew), DeepseekV3TopkRouter and the eager
attention; so of DeepSeek-V2, and apply_rotary_emb. Weights are the exact values of the files; FP8 ones are code times scale, exact in binary64. The norms of the
latents keep transformers' eps, 1e-6. With --prefill P the first P tokens are one call and the others follow one by one
through the cache: same names, same rows.

OUT, T tokens, L layers, D MTP modules (F64 unless said otherwise):

    input_ids                              I32 (T)
    model.layers.N.self_attn.output        (T, hidden_size), after o_proj
    model.layers.N.hidden_states           (T, hidden_size), the output of layer N with both residuals
    model.layers.N.mlp.gate.topk_idx       I32 (T, num_experts_per_tok), best biased score first
    model.layers.N.mlp.gate.topk_weight    (T, num_experts_per_tok), of the same experts
    logits                                 (T, vocab_size)
    mtp.K.hidden_states                    (T - K - 1, hidden_size), the block's output, before shared_head.norm
    mtp.K.logits                           (T - K - 1, vocab_size)

MTP module K counts from 0 and is layer L + K of the checkpoint. Its row i takes token i + K + 1 and the state of row i that
came before: for K = 0 the main model's after model.norm, for others module K - 1's after its shared_head.norm. It predicts
token i + K + 2. Stages inside it are model.layers.{L+K}.*, as of any layer. --mtp own takes embed_tokens and
shared_head.head of the module, main those of the model.
"""

import argparse
import glob
import json
import math
import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import DeepseekV2Config, DeepseekV2ForCausalLM, DeepseekV3Config, DeepseekV3ForCausalLM, DynamicCache  # noqa: E402
from transformers.cache_utils import MtpCache  # noqa: E402
from transformers.modeling_layers import MtpModel  # noqa: E402
from transformers.models.deepseek_v2 import modeling_deepseek_v2 as v2  # noqa: E402
from transformers.models.deepseek_v3 import modeling_deepseek_v3 as hf  # noqa: E402
from transformers.utils import logging  # noqa: E402

# ---- the forwards that cast, without the cast ----


def norm_forward(self, x):
    return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


def router_forward(self, x):
    x = x.view(-1, self.hidden_dim)
    logits = torch.nn.functional.linear(x, self.weight)
    scores = logits.sigmoid()
    biased = scores + self.e_score_correction_bias
    grouped = biased.view(len(x), self.num_group, -1)
    groups = grouped.topk(2, dim=-1)[0].sum(-1).topk(self.topk_group, dim=-1)[1]
    kept = torch.zeros(grouped.shape[:2], dtype=torch.bool).scatter_(1, groups, True)
    masked = grouped.masked_fill(~kept[..., None], -math.inf).view(biased.shape)
    index = masked.topk(self.top_k, dim=-1)[1]
    weight = scores.gather(1, index)
    if self.norm_topk_prob:
        weight = weight / (weight.sum(-1, keepdim=True) + 1e-20)
    return logits, weight * self.routed_scaling_factor, index


def v2_router_forward(self, x):
    logits = torch.nn.functional.linear(x.view(-1, self.hidden_dim), self.weight)
    scores = kept = logits.softmax(dim=-1)
    if self.topk_method == "group_limited_greedy":
        best = scores.view(len(scores), self.num_group, -1).amax(-1)
        groups = torch.zeros_like(best).scatter_(1, best.topk(self.topk_group, dim=-1)[1], 1)
        kept = scores * groups.repeat_interleave(self.num_experts // self.num_group, dim=1)
    weight, index = kept.topk(self.top_k, dim=-1)
    return logits, weight * self.routed_scaling_factor, index


def attention_forward(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = torch.softmax(scores, dim=-1)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


def frequencies(config):
    """(frequency of each pair, amplitude of cos and sin), by the formulas of transformers' _compute_yarn_parameters."""
    rope, dim = config.rope_parameters, config.qk_rope_head_dim
    theta, plain = rope["rope_theta"], range(0, dim, 2)
    plain = [rope["rope_theta"] ** (-j / dim) for j in plain]
    if rope["rope_type"] == "default":
        return torch.tensor(plain), 1.0
    original = rope["original_max_position_embeddings"]
    factor = rope["factor"] if rope["factor"] is not None else config.max_position_embeddings / original
    mscale, mscale_all_dim = rope.get("mscale"), rope.get("mscale_all_dim")

    def amplitude(m):
        return 1.0 if factor <= 1 else 0.1 * m * math.log(factor) + 1

    def turns(n):
        return dim * math.log(original / (n * 2 * math.pi)) / (2 * math.log(theta))

    low = max(math.floor(turns(rope.get("beta_fast") or 32)), 0)
    high = min(math.ceil(turns(rope.get("beta_slow") or 1)), dim - 1)
    high += 0.001 if low == high else 0
    ramp = [min(max((j - low) / (high - low), 0), 1) for j in range(dim // 2)]
    blended = [f * (1 - r) + f / factor * r for f, r in zip(plain, ramp)]
    both = mscale and mscale_all_dim
    return torch.tensor(blended), amplitude(mscale) / amplitude(mscale_all_dim) if both else amplitude(1)


def rotary_forward(self, x, position_ids):
    frequency, amplitude = frequencies(self.config)
    angle = position_ids[..., None].double() * torch.cat((frequency, frequency))
    return angle.cos() * amplitude, angle.sin() * amplitude


def v2_rotary_forward(self, x, position_ids):
    frequency, amplitude = frequencies(self.config)
    angle = position_ids[..., None].double() * frequency
    return torch.polar(torch.full_like(angle, amplitude), angle)


def v2_rotate(q, k, turns):
    def turn(x):
        pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
        return torch.view_as_real(pairs * turns.unsqueeze(1)).flatten(3)

    return turn(q), turn(k)


def replace_forwards():
    v2.DeepseekV2RMSNorm.forward = norm_forward
    v2.DeepseekV2TopkRouter.forward = v2_router_forward
    v2.DeepseekV2RotaryEmbedding.forward = v2_rotary_forward
    v2.apply_rotary_emb = v2_rotate
    v2.eager_attention_forward = attention_forward
    hf.DeepseekV3RMSNorm.forward = norm_forward
    hf.DeepseekV3TopkRouter.forward = router_forward
    hf.DeepseekV3RotaryEmbedding.forward = rotary_forward
    hf.eager_attention_forward = attention_forward


# ---- weights ----


def read_state(folder, block):
    """Every tensor in binary64."""
    raw = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.safetensors"))):
        raw |= load_file(path)
    state = {}
    for name, tensor in raw.items():
        if name.endswith("_scale_inv"):
            continue
        state[name] = tensor.double()
        if tensor.dtype == torch.float8_e4m3fn:
            scale = raw[name + "_scale_inv"].double()
            scale = scale.repeat_interleave(block[0], 0).repeat_interleave(block[1], 1)
            state[name] *= scale[: tensor.shape[0], : tensor.shape[1]]
    return state


def read_model_type(folder):
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        return json.load(file)["model_type"]


def tensor_for(state, name):
    """The tensor of that name; experts, which transformers stacks, are stacked."""
    prefix, _, kind = name.rpartition(".experts.")
    if not prefix:
        return state[name]
    parts = ("gate_proj", "up_proj") if kind == "gate_up_proj" else ("down_proj",)
    count = 1 + max(int(n.split(".experts.")[1].split(".")[0]) for n in state if n.startswith(prefix + ".experts."))
    return torch.stack([torch.cat([state[f"{prefix}.experts.{e}.{p}.weight"] for p in parts]) for e in range(count)])


def fill(module, state, rename=lambda name: name):
    for name, tensor in module.state_dict().items():
        tensor.copy_(tensor_for(state, rename(name)))


def mtp_name(layer):
    """DeepSeek's name of a parameter of transformers' MtpLayer."""

    def rename(name):
        return f"model.layers.{layer}." + name.removeprefix("mtp_block.").replace("post_norm.", "shared_head.norm.")

    return rename


class Oracle:
    """A model, its MTP modules, and what a run leaves behind."""

    def __init__(self, folder, mtp):
        replace_forwards()
        torch.set_default_dtype(torch.float64)
        is_v2 = read_model_type(folder) == "deepseek_v2"
        config = (DeepseekV2Config if is_v2 else DeepseekV3Config).from_pretrained(folder)
        quantised = getattr(config, "quantization_config", None) or {}
        state = read_state(folder, quantised.get("weight_block_size", (128, 128)))
        eager = dict(attn_implementation="eager", experts_implementation="eager")
        causal = DeepseekV2ForCausalLM if is_v2 else DeepseekV3ForCausalLM
        self.model = causal._from_config(config, **eager).double().eval()
        self.layers = config.num_hidden_layers
        self.depth = getattr(config, "num_nextn_predict_layers", 0) if mtp != "none" else 0
        fill(self.model, state)
        self.mtp = MtpModel(self.model, self.depth).double().eval() if self.depth else None
        self.embed, self.head = [], []
        self.kept = {}
        for k in range(self.depth):
            fill(self.mtp.layers[k], state, mtp_name(self.layers + k))
            of = f"model.layers.{self.layers + k}."
            own = mtp == "own"
            self.embed.append(state[of + "embed_tokens.weight" if own else "model.embed_tokens.weight"])
            self.head.append(state[of + "shared_head.head.weight" if own else "lm_head.weight"])
            self.watch(self.mtp.layers[k].mtp_block, self.layers + k)
        for n, layer in enumerate(self.model.model.layers):
            self.watch(layer, n)

    def keep(self, name, rows):
        self.kept.setdefault(name, []).append(rows.reshape(-1, rows.shape[-1]))

    def watch(self, layer, n):
        prefix = f"model.layers.{n}."
        layer.register_forward_hook(lambda m, a, out: self.keep(prefix + "hidden_states", out))
        layer.self_attn.register_forward_hook(lambda m, a, out: self.keep(prefix + "self_attn.output", out[0]))
        gate = getattr(layer.mlp, "gate", None)
        if gate is not None:
            gate.register_forward_hook(lambda m, a, out: self.keep(prefix + "mlp.gate.topk_weight", out[1]))
            gate.register_forward_hook(lambda m, a, out: self.keep(prefix + "mlp.gate.topk_idx", out[2].int()))

    def run_main(self, tokens, first, cache):
        """Rows first.. of the main model: their states after model.norm."""
        positions = torch.arange(first, first + len(tokens))[None]
        out = self.model.model(tokens[None], position_ids=positions, past_key_values=cache, use_cache=True)
        self.keep("logits", self.model.lm_head(out.last_hidden_state))
        return out.last_hidden_state

    def run_mtp(self, k, hidden, tokens, first, cache):
        """Rows first.. of module k; hidden and tokens are those of the rows. Returns the states after shared_head.norm."""
        embeds = self.embed[k][tokens][None]
        positions = torch.arange(first, first + len(tokens))[None] + k + 1
        state = self.mtp.forward_layer(k, hidden, positions, cache, inputs_embeds=embeds)
        self.keep(f"mtp.{k}.logits", state @ self.head[k].T)
        return state

    def run(self, tokens, prefill):
        self.kept = {}
        cache = DynamicCache(config=self.model.config)
        mtp_cache = MtpCache(config=self.mtp.config) if self.mtp else None
        states = [torch.empty(1, 0, self.model.config.hidden_size) for _ in range(self.depth + 1)]
        ends = [prefill, *range(prefill + 1, len(tokens) + 1)]
        for begin, end in zip([0, *ends], ends):
            states[0] = torch.cat((states[0], self.run_main(tokens[begin:end], begin, cache)), 1)
            for k in range(self.depth):  # module k has rows up to token end - 1, which is what row end - k - 2 takes
                rows = slice(max(begin - k - 1, 0), max(end - k - 1, 0))
                if rows.start < rows.stop:
                    taken = tokens[rows.start + k + 1 : rows.stop + k + 1]
                    new = self.run_mtp(k, states[k][:, rows], taken, rows.start, mtp_cache)
                    states[k + 1] = torch.cat((states[k + 1], new), 1)
        return self.result(tokens)

    def result(self, tokens):
        out = {name: torch.cat(rows).contiguous() for name, rows in self.kept.items()}
        for k in range(self.depth):
            out[f"mtp.{k}.hidden_states"] = out[f"model.layers.{self.layers + k}.hidden_states"].clone()
        return out | {"input_ids": tokens.int()}


def main(arguments=None):
    parser = argparse.ArgumentParser(description="DeepSeek-V3 of transformers in binary64.")
    parser.add_argument("checkpoint")
    parser.add_argument("out")
    parser.add_argument("--tokens", help="ids with commas between them")
    parser.add_argument("--n-tokens", type=int, default=12, help="as many random ids, if --tokens is not given")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--prefill", type=int, help="tokens of the first call; all of them if it is not given")
    parser.add_argument("--mtp", choices=("own", "main", "none"), default="own")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    with torch.no_grad():
        oracle = Oracle(options.checkpoint, options.mtp)
        if options.tokens:
            tokens = torch.tensor([int(t) for t in options.tokens.split(",")])
        else:
            g = torch.Generator().manual_seed(options.seed)
            tokens = torch.randint(oracle.model.config.vocab_size, (options.n_tokens,), generator=g)
        prefill = options.prefill or len(tokens)
        if not 0 < prefill <= len(tokens):
            sys.exit(f"oracle.py: --prefill {prefill}: must be between 1 and the number of tokens, {len(tokens)}")
        save_file(oracle.run(tokens, prefill), options.out)


if __name__ == "__main__":
    main()
