"""Weights as engines hold them, made of a checkpoint's: moved by each rule, and with mistakes.

    build/ports/python unit/held_weights.py CHECKPOINT FOLDER

writes FOLDER/NAME.safetensors for each, and transformers.safetensors by verify/ports/record.py if the checkpoint isn't in FP8.
"""

import json
import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "verify", "ports"))

import torch  # noqa: E402
from record import Recorder  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

LAYER, MLP = "model.layers.1.", "model.layers.1.mlp."


def stacked(w, experts, *leaves):
    return torch.stack([torch.cat([w[f"{MLP}experts.{e}.{leaf}.weight"] for leaf in leaves]) for e in range(experts)])


def dequantised(w, name, once=True):
    codes, scale = w[name + ".weight"], w[name + ".weight_scale_inv"]
    blocks = scale.repeat_interleave(128, 0).repeat_interleave(128, 1)[: codes.shape[0], : codes.shape[1]]
    return (codes.float() * blocks).bfloat16() if once else (codes.double() * blocks.double()).bfloat16()


def changed(t, at, value):
    t = t.clone()
    t.view(-1)[at] = value
    return t


def plain_files(w, c):
    """Of a checkpoint in F32 or BF16."""
    experts, heads, nope, v = c["n_routed_experts"], c["num_attention_heads"], c["qk_nope_head_dim"], c["v_head_dim"]
    by_head = w[LAYER + "self_attn.kv_b_proj.weight"].view(heads, nope + v, -1)
    keys, values = by_head[:, :nope], by_head[:, nope:]
    q_a, kv_a, o = (w[f"{LAYER}self_attn.{leaf}.weight"] for leaf in ("q_a_proj", "kv_a_proj_with_mqa", "o_proj"))
    gate, up, down = (w[f"{MLP}shared_experts.{leaf}_proj.weight"] for leaf in ("gate", "up", "down"))
    w13, w2 = stacked(w, experts, "gate_proj", "up_proj"), stacked(w, experts, "down_proj")
    half = gate.shape[0] // 2
    fused = LAYER + "self_attn.fused_qkv_a_proj_with_mqa.weight"
    head = w["lm_head.weight"]
    norm = w["model.norm.weight"]
    yield "same", {"lm_head.weight": head, "model.norm.weight": norm, "model.rotary_emb.inv_freq": torch.ones(4)}
    yield "prefixed", {"weight:module.model.norm.weight": norm, "module.model.norm.output": norm}
    yield "wider", {"lm_head.weight": head.double()}
    yield "fused", {fused: torch.cat([q_a, kv_a])}
    yield "stacked", {MLP + "experts.w13_weight": w13, MLP + "experts.w2_weight": w2}
    yield "mlx", {MLP + "switch_mlp.up_proj.weight": stacked(w, experts, "up_proj"), LAYER + "self_attn.embed_q.weight": keys.transpose(1, 2),
                  LAYER + "self_attn.unembed_out.weight": values}  # fmt: skip
    yield "sglang", {LAYER + "self_attn.w_kc": keys, LAYER + "self_attn.w_vc": values.transpose(1, 2)}
    yield "transposed", {LAYER + "self_attn.o_proj.weight": o.T}
    yield "padded", {"lm_head.weight": torch.cat([head, torch.zeros(31, head.shape[1], dtype=head.dtype)])}
    yield "rank", {MLP + "shared_experts.gate_up_proj.weight": torch.cat([gate[half:], up[half:]]), LAYER + "self_attn.o_proj.weight": o[:, o.shape[1] // 2:],
                   MLP + "shared_experts.down_proj.weight": down[:, half:]}  # fmt: skip
    yield "share", {MLP + "experts.w13_weight": w13[8:], LAYER + "self_attn.w_kc": keys[2:]}
    # mistakes
    yield "bit", {"lm_head.weight": changed(head, 700, head.view(-1)[700] * 1.0078125)}
    yield "sign of 0", {"model.norm.weight": norm, LAYER + "input_layernorm.weight": torch.full_like(norm, -0.0)}
    yield "up before gate", {MLP + "experts.w13_weight": stacked(w, experts, "up_proj", "gate_proj")}
    yield "experts exchanged", {MLP + "experts.w2_weight": w2.roll(1, 0)}
    yield "parts exchanged", {fused: torch.cat([kv_a, q_a])}
    yield "never loaded", {LAYER + "mlp.gate.weight": torch.zeros_like(w[LAYER + "mlp.gate.weight"])}
    yield "padded with more", {"lm_head.weight": torch.cat([head, torch.ones(31, head.shape[1], dtype=head.dtype)])}
    yield "another shape", {"lm_head.weight": head[:, :63]}
    yield "another layer", {LAYER + "self_attn.o_proj.weight": w["model.layers.2.self_attn.o_proj.weight"]}
    yield "keys for values", {LAYER + "self_attn.w_vc": by_head[:, : v]}
    yield "integers", {"lm_head.weight": head.to(torch.int64)}
    yield "nothing", {"model.rotary_emb.inv_freq": torch.ones(4)}


def fp8_files(w):
    name = LAYER + "self_attn.o_proj"
    codes, scale = w[name + ".weight"], w[name + ".weight_scale_inv"]
    yield "codes", {name + ".weight": codes, name + ".weight_scale_inv": scale}
    yield "dequantised", {name + ".weight": dequantised(w, name)}
    yield "rounded once", {name + ".weight": dequantised(w, name, False)}
    yield "scales", {MLP + "shared_experts.gate_up_proj.weight_scale_inv": torch.cat(
        [w[f"{MLP}shared_experts.{leaf}_proj.weight_scale_inv"] for leaf in ("gate", "up")])}  # fmt: skip
    yield "scale forgotten", {name + ".weight": codes.float().bfloat16()}
    yield "scale turned", {name + ".weight": dequantised(w | {name + ".weight_scale_inv": scale.roll(1, 1)}, name)}


def hold(checkpoint, folder):
    w = load_file(os.path.join(checkpoint, "model.safetensors"))
    with open(os.path.join(checkpoint, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    quantised = any(t.dtype == torch.float8_e4m3fn for t in w.values())
    for name, tensors in fp8_files(w) if quantised else plain_files(w, config):
        save_file({n: t.clone(memory_format=torch.contiguous_format) for n, t in tensors.items()}, os.path.join(folder, name + ".safetensors"))
    if not quantised:
        from transformers import DeepseekV3ForCausalLM

        model = DeepseekV3ForCausalLM.from_pretrained(checkpoint, dtype=w["lm_head.weight"].dtype)
        Recorder(model).save_weights(os.path.join(folder, "transformers.safetensors"))


if __name__ == "__main__":
    hold(*sys.argv[1:])
