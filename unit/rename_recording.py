"""transformers' recording of a tiny checkpoint as other engines would have written it.

    build/ports/python unit/rename_recording.py RECORDING CHECKPOINT FOLDER ENGINE...

ENGINE: sglang-leaf, sglang, vllm, llama.cpp, megatron, batch or padded. Writes FOLDER/ENGINE.safetensors: names, ranks (two), fused norms
in either order, fused projections, layouts, tables of all experts and padding are that engine's; the numbers are transformers'.
"""

import json
import os
import sys

import torch
from safetensors.torch import load_file, save_file

RANKS = 2


class Source:
    """transformers' tensors, by our names of the stages."""

    def __init__(self, recording, checkpoint):
        with open(os.path.join(checkpoint, "config.json"), encoding="utf-8") as f:
            self.config = json.load(f)
        self.t = load_file(recording)
        self.layers, self.heads = self.config["num_hidden_layers"], self.config["num_attention_heads"]
        self.rank, self.rotated = self.config["kv_lora_rank"], self.config["qk_rope_head_dim"]
        self.tokens = self.t["input_ids"].numel()

    def __call__(self, name, layer=None):
        return self.t[name if layer is None else f"model.layers.{layer}.{name}"]

    def pairs(self, t):
        """Halves become pairs: what engines other than transformers have."""
        n = self.rotated
        turned = torch.stack([t[..., -n : -n // 2], t[..., -n // 2 :]], -1).flatten(-2)
        return torch.cat([t[..., :-n], turned], -1)

    def q(self, layer):
        """(tokens, heads, columns)"""
        return self.pairs(self.t[f"attention.input.0@{layer}"].transpose(0, 1))

    def kv(self, layer):
        return self.pairs(torch.cat([self.t[f"cache.{layer}.keys"], self.t[f"cache.{layer}.values"]], -1))

    def sparse(self, layer):
        return layer >= self.config["first_k_dense_replace"]

    def fused_a(self, layer):
        return torch.cat([self("self_attn.q_a_proj.output", layer), self("self_attn.kv_a_proj_with_mqa.output", layer)], -1)

    def partial(self, layer, rank):
        """Two numbers whose sum is the layer's output, without an error (Sterbenz)."""
        y = self("mlp.output", layer)
        first = 0.75 * y
        return first if rank == 0 else y - first


def both(out, name, y, stream, swapped, prefix=".", call=""):
    """What a fused norm gives: its output and the sum, in this order or the other."""
    out[f"{name}{prefix}0{call}"], out[f"{name}{prefix}1{call}"] = (stream, y) if swapped else (y, stream)


def cut(t, rank, axis=-1):
    return t.chunk(RANKS, axis)[rank]


def gate_up(s, n, rank=None):
    gate, up = s("mlp.gate_proj.output", n), s("mlp.up_proj.output", n)
    return torch.cat([gate, up] if rank is None else [cut(gate, rank), cut(up, rank)], -1)


def extra_column(t, value):
    """The shared expert is fused: it is one more choice."""
    return torch.cat([t, torch.full_like(t[:, :1], value)], -1)


def sglang_leaf(s):
    for r in range(RANKS):
        out, p = {}, f"TP{r}.model"
        out[f"{p}.embed_tokens"] = s("model.embed_tokens.output")
        for n in range(s.layers):
            layer = f"{p}.layers.{n}"
            if n == 0:
                out[f"{layer}.input_layernorm"] = s("input_layernorm.output", n)
            else:
                both(out, f"{layer}.input_layernorm", s("input_layernorm.output", n), s("output", n - 1), n % 2)
            out[f"{layer}.self_attn.fused_qkv_a_proj_with_mqa"] = s.fused_a(n)
            out[f"{layer}.self_attn.q_a_layernorm"] = s("self_attn.q_a_layernorm.output", n)
            out[f"{layer}.self_attn.q_b_proj"] = cut(s("self_attn.q_b_proj.output", n), r)
            out[f"{layer}.self_attn.attn_mha"] = cut(s("self_attn.o_proj.input", n), r)
            out[f"{layer}.self_attn.o_proj"] = s("self_attn.o_proj.output", n)
            both(out, f"{layer}.post_attention_layernorm", s("post_attention_layernorm.output", n),
                 s("post_attention_layernorm.input", n), n % 2 == 0)  # fmt: skip
            if s.sparse(n):
                out[f"{layer}.mlp.gate"] = s("mlp.gate.output.0", n)
                out[f"{layer}.mlp.topk.0"] = extra_column(s("mlp.gate.output.1", n), 1.0)
                out[f"{layer}.mlp.topk.1"] = extra_column(s("mlp.gate.output.2", n), s.config["n_routed_experts"])
                out[f"{layer}.mlp.shared_experts.act_fn"] = cut(s("mlp.shared_experts.down_proj.input", n), r)
            else:
                out[f"{layer}.mlp.gate_up_proj"] = gate_up(s, n, r)
                out[f"{layer}.mlp.act_fn"] = cut(s("mlp.down_proj.input", n), r)
                out[f"{layer}.mlp.down_proj"] = s("mlp.output", n)
        both(out, f"{p}.norm", s("model.norm.output"), s("output", s.layers - 1), True)
        out[f"TP{r}.logits_processor"] = s("lm_head.output")
        yield out


def sglang(s):
    for r in range(RANKS):
        out, p = {}, f"rank{r}.model"
        out[f"{p}.embed_tokens.output"] = s("model.embed_tokens.output")
        for n in range(s.layers):
            layer = f"{p}.layers.{n}"
            if n == 0:
                out[f"{layer}.input_layernorm.output"] = s("input_layernorm.output", n)
            else:
                both(out, f"{layer}.input_layernorm.output", s("input_layernorm.output", n), s("output", n - 1), n % 2)
            attention = f"{layer}.self_attn"
            out[f"{attention}.fused_qkv_a_proj_with_mqa.output"] = s.fused_a(n)
            out[f"{attention}.q_a_layernorm.output"] = s("self_attn.q_a_layernorm.output", n)
            out[f"{attention}.q_b_proj.output"] = cut(s("self_attn.q_b_proj.output", n), r)
            out[f"{attention}.attn_mha.inputs.0"] = cut(s.q(n), r, 1)
            out[f"{attention}.o_proj.inputs.0"] = cut(s("self_attn.o_proj.input", n), r)
            out[f"{attention}.output"] = s("self_attn.o_proj.output", n)
            both(out, f"{layer}.post_attention_layernorm.output", s("post_attention_layernorm.output", n),
                 s("post_attention_layernorm.input", n), False)  # fmt: skip
            if s.sparse(n):
                out[f"{layer}.mlp.gate.output"] = s("mlp.gate.output.0", n)
                out[f"{layer}.mlp.topk.output.0"] = s("mlp.gate.output.1", n)
                out[f"{layer}.mlp.topk.output.1"] = s("mlp.gate.output.2", n)
                out[f"{layer}.mlp.shared_experts.down_proj.inputs.0"] = cut(s("mlp.shared_experts.down_proj.input", n), r)
                out[f"{layer}.mlp.partial"] = s.partial(n, r)
            else:
                out[f"{layer}.mlp.gate_up_proj.output"] = gate_up(s, n, r)
                out[f"{layer}.mlp.down_proj.inputs.0"] = cut(s("mlp.down_proj.input", n), r)
                out[f"{layer}.mlp.output"] = s("mlp.output", n)
        both(out, f"{p}.norm.output", s("model.norm.output"), s("output", s.layers - 1), False)
        logits = s("lm_head.output")
        out[f"rank{r}.lm_head.output"] = logits[:, :50] if r == 0 else logits[:, 50:]  # 97 columns
        yield out


def vllm(s):
    out = {"model.embed_tokens.output": s("model.embed_tokens.output")}
    for n in range(s.layers):
        layer = f"model.layers.{n}"
        if n == 0:
            out[f"{layer}.input_layernorm.output"] = s("input_layernorm.output", n)
        else:
            both(out, f"{layer}.input_layernorm.output", s("input_layernorm.output", n), s("output", n - 1), False)
        attention, kv = f"{layer}.self_attn", s.kv(n)
        out[f"{attention}.fused_qkv_a_proj.output"] = s.fused_a(n)
        out[f"{attention}.q_a_layernorm.output"] = s("self_attn.q_a_layernorm.output", n)
        out[f"{attention}.q_b_proj.output"] = s.q(n).flatten(1)  # rotated in place
        out[f"{attention}.mla_attn.mla_attn.input.0"] = s.q(n)
        out[f"{attention}.mla_attn.mla_attn.input.1"] = kv[:, : s.rank]
        out[f"{attention}.mla_attn.mla_attn.input.2"] = kv[:, None, s.rank :]
        out[f"{attention}.o_proj.input"] = s("self_attn.o_proj.input", n)
        out[f"{attention}.o_proj.output"] = s("self_attn.o_proj.output", n)
        both(out, f"{layer}.post_attention_layernorm.output", s("post_attention_layernorm.output", n),
             s("post_attention_layernorm.input", n), False)  # fmt: skip
        if s.sparse(n):
            out[f"{layer}.mlp.gate.output"] = s("mlp.gate.output.0", n)
            out[f"{layer}.mlp.shared_experts.down_proj.input"] = s("mlp.shared_experts.down_proj.input", n)
        else:
            out[f"{layer}.mlp.gate_up_proj.output"] = gate_up(s, n)
            out[f"{layer}.mlp.down_proj.input"] = s("mlp.down_proj.input", n)
        out[f"{layer}.mlp.output"] = s("mlp.output", n)
    both(out, "model.norm.output", s("model.norm.output"), s("output", s.layers - 1), False)
    yield out | {"lm_head.output": s("lm_head.output")}


def llama_cpp(s):
    """Everything in F32, as a callback writes it."""
    out = {"inp_embd": s("model.embed_tokens.output"), "result_norm": s("model.norm.output"), "result_output": s("lm_head.output")}
    for n in range(s.layers):
        kv = s.kv(n)
        out |= {
            f"attn_norm-{n}": s("input_layernorm.output", n), f"q-{n}": s("self_attn.q_a_proj.output", n),
            f"q-{n}@1": s("self_attn.q_a_layernorm.output", n), f"q-{n}@2": s("self_attn.q_b_proj.output", n),
            f"kv_cmpr_pe-{n}": s("self_attn.kv_a_proj_with_mqa.output", n),
            f"kv_cmpr-{n}": s("self_attn.kv_a_proj_with_mqa.output", n)[:, : s.rank], f"kv_cmpr-{n}@1": kv[:, : s.rank],
            f"k_pe-{n}": s("self_attn.kv_a_proj_with_mqa.output", n)[:, None, s.rank :], f"k_pe-{n}@1": kv[:, None, s.rank :],
            f"kqv_out-{n}": s("self_attn.o_proj.input", n), f"ffn_inp-{n}": s("post_attention_layernorm.input", n),
            f"ffn_norm-{n}": s("post_attention_layernorm.output", n), f"ffn_out-{n}": s("mlp.output", n), f"l_out-{n}": s("output", n),
        }  # fmt: skip
        if s.sparse(n):
            out |= {f"ffn_moe_logits-{n}": s("mlp.gate.output.0", n), f"ffn_moe_topk-{n}": s("mlp.gate.output.2", n).int(),
                    f"ffn_moe_weights_scaled-{n}": s("mlp.gate.output.1", n)[..., None]}  # fmt: skip
        else:
            out |= {f"ffn_gate-{n}": s("mlp.gate_proj.output", n), f"ffn_up-{n}": s("mlp.up_proj.output", n),
                    f"ffn_swiglu-{n}": s("mlp.down_proj.input", n)}  # fmt: skip
    yield {name: t.float() if t.is_floating_point() else t for name, t in out.items()}


def megatron(s):
    """(sequence, batch, columns)"""
    for r in range(RANKS):
        out, p = {}, f"rank{r}.decoder"
        sb = lambda t: t[:, None]  # noqa: E731
        out[f"rank{r}.embedding.output"] = sb(s("model.embed_tokens.output"))
        for n in range(s.layers):
            layer, attention = f"{p}.layers.{n}", f"{p}.layers.{n}.self_attention"
            out |= {
                f"{layer}.input_layernorm.output": sb(s("input_layernorm.output", n)),
                f"{attention}.linear_q_down_proj.output": sb(s("self_attn.q_a_proj.output", n)),
                f"{attention}.q_layernorm.output": sb(s("self_attn.q_a_layernorm.output", n)),
                f"{attention}.linear_q_up_proj.output": sb(cut(s("self_attn.q_b_proj.output", n), r)),
                f"{attention}.linear_kv_down_proj.output": sb(s("self_attn.kv_a_proj_with_mqa.output", n)),
                f"{attention}.core_attention.input.0": sb(cut(s.q(n), r, 1)),
                f"{attention}.core_attention.output": sb(cut(s("self_attn.o_proj.input", n), r)),
                f"{attention}.linear_proj.output": sb(s("self_attn.o_proj.output", n)),
                f"{layer}.pre_mlp_layernorm.input": sb(s("post_attention_layernorm.input", n)),
                f"{layer}.pre_mlp_layernorm.output": sb(s("post_attention_layernorm.output", n)),
                f"{layer}.mlp.output": sb(s("mlp.output", n)), f"{layer}.output": sb(s("output", n)),
            }  # fmt: skip
            if s.sparse(n):
                idx, weight = s("mlp.gate.output.2", n), s("mlp.gate.output.1", n)
                dense = torch.zeros(s.tokens, s.config["n_routed_experts"], dtype=weight.dtype)
                out[f"{layer}.mlp.router.output.0"] = dense.scatter(1, idx, weight)
                out[f"{layer}.mlp.shared_experts.linear_fc2.input"] = sb(cut(s("mlp.shared_experts.down_proj.input", n), r))
            else:
                out[f"{layer}.mlp.linear_fc1.output"] = sb(gate_up(s, n, r))
                out[f"{layer}.mlp.linear_fc2.input"] = sb(cut(s("mlp.down_proj.input", n), r))
        logits = s("lm_head.output")
        out |= {f"{p}.final_layernorm.output": sb(s("model.norm.output")),
                f"rank{r}.output_layer.output": sb(logits[:, :50] if r == 0 else logits[:, 50:])}  # fmt: skip
        yield out


def padded(s):
    """Rows of nobody before and behind those of the sequence, in tensors of rows of tokens."""
    wide = lambda t: torch.cat([torch.full_like(t[:3], 7), t, torch.full_like(t[:2], 7)])  # noqa: E731
    out = {name: wide(t) for name, t in s.t.items() if t.dim() and t.shape[0] == s.tokens and not name.startswith("attention")}
    for n in range(s.layers):
        out[f"attention.input.0@{n}"] = wide(s.t[f"attention.input.0@{n}"].transpose(0, 1)).transpose(0, 1)
    yield out


ENGINES = {"sglang-leaf": sglang_leaf, "sglang": sglang, "vllm": vllm, "llama.cpp": llama_cpp, "megatron": megatron, "padded": padded}


def rename(recording, checkpoint, folder, engines):
    source = Source(recording, checkpoint)
    for engine in engines:
        tensors = {name: t for part in ENGINES[engine](source) for name, t in part.items()}
        kept = {name: t.clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}
        save_file(kept, os.path.join(folder, engine + ".safetensors"))


if __name__ == "__main__":
    rename(*sys.argv[1:4], sys.argv[4:])
