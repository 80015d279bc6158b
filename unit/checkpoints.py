"""Tiny random checkpoints of DeepSeek-V3 and its relatives, written by Hugging Face's own classes, named as the released ones.

    build/ports/python unit/checkpoints.py FOLDER [CONFIG-FORMAT[-sharded] ...] [--seed N]

makes FOLDER/CONFIG-FORMAT for each one asked for, all of them if none is. CONFIG is odd (no two sizes alike that could
hide a mistake), noq (odd without a query latent), f8 (sizes off the 128x128 blocks), or what another model has that V3
hasn't: moonlight (no groups, no query latent, plain RoPE), kimi (no groups, a ramp of one step), v2 (softmax, groups by
their best expert), lite (softmax, no groups, no query latent). FORMAT is f32, bf16 or fp8 (Linear weights in F8_E4M3 with
weight_scale_inv, the others BF16). -sharded splits it into several files with an index.

Equal for equal seeds: a tensor depends on its name and the seed alone. MTP modules have their own embedding and head,
unlike the released one's, whose are copies; biases have both signs, those of expert group 1 are all negative. fp8 folders
have DeepSeek's config.json (rope_scaling, quantization_config), the others Hugging Face 5's (rope_parameters).
"""

import argparse
import hashlib
import json
import math
import os
import shutil
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch  # noqa: E402
from huggingface_hub import save_torch_state_dict  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from transformers import DeepseekV2Config, DeepseekV2ForCausalLM, DeepseekV3Config, DeepseekV3ForCausalLM  # noqa: E402
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3RMSNorm  # noqa: E402
from transformers.utils import logging  # noqa: E402

BLOCK = 128
ODD = dict(
    vocab_size=97, hidden_size=64, intermediate_size=96, moe_intermediate_size=20, num_hidden_layers=4,
    first_k_dense_replace=1, num_attention_heads=4, num_key_value_heads=4, q_lora_rank=24, kv_lora_rank=16,
    qk_nope_head_dim=8, qk_rope_head_dim=8, v_head_dim=12, n_routed_experts=16, n_shared_experts=2,
    num_experts_per_tok=6, n_group=4, topk_group=2, routed_scaling_factor=1.7, rms_norm_eps=0.01,
    max_position_embeddings=32768, num_nextn_predict_layers=2,
    rope_parameters=dict(
        rope_type="yarn", rope_theta=100.0, factor=8.0, original_max_position_embeddings=4096, beta_fast=32.0,
        beta_slow=1.0, mscale=0.707, mscale_all_dim=1.0,
    ),
)  # fmt: skip
PLAIN = dict(rope_type="default", rope_theta=50000.0)
# moonshotai/Moonlight-16B-A3B, Kimi-K2-Instruct, deepseek-ai/DeepSeek-V2 and DeepSeek-V2-Lite: their config.json, but for sizes.
OTHERS = dict(n_group=1, topk_group=1, num_nextn_predict_layers=0)
KIMI = dict(n_routed_experts=24, n_shared_experts=1, max_position_embeddings=131072)
KIMI_ROPE = dict(rope_theta=50000.0, factor=32.0, beta_fast=1.0, beta_slow=1.0, mscale=1.0, mscale_all_dim=1.0)
V2 = dict(topk_method="group_limited_greedy", norm_topk_prob=False, routed_scaling_factor=16.0, rms_norm_eps=1e-6,
          max_position_embeddings=163840)  # fmt: skip
LITE = dict(topk_method="greedy", norm_topk_prob=False, routed_scaling_factor=1.0, rms_norm_eps=1e-6, q_lora_rank=None)
CONFIGS = {
    "odd": ODD,
    "noq": ODD | dict(q_lora_rank=None),
    "f8": ODD
    | dict(
        hidden_size=320, intermediate_size=448, moe_intermediate_size=192, num_attention_heads=3, num_key_value_heads=3,
        q_lora_rank=192, kv_lora_rank=160, qk_nope_head_dim=96, qk_rope_head_dim=32, v_head_dim=64,
    ),
    "moonlight": ODD | OTHERS | dict(q_lora_rank=None, routed_scaling_factor=2.446, rms_norm_eps=1e-5, rope_parameters=PLAIN),
    "kimi": ODD | OTHERS | KIMI | dict(rope_parameters=ODD["rope_parameters"] | KIMI_ROPE),
    "v2": ODD | V2 | dict(rope_parameters=ODD["rope_parameters"] | dict(rope_theta=10000.0, factor=40.0, mscale=1.0)),
    "lite": ODD | OTHERS | LITE | dict(rope_parameters=ODD["rope_parameters"] | dict(mscale_all_dim=0.707)),
}  # fmt: skip
FORMATS = ("f32", "bf16", "fp8")
SHARD = {"f8": "5MB"}  # of the others 200KB


def generator(seed, name):
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def block_gains(rows, columns, g):
    """A power of two between 1/2 and 2 for each block, so that a scale of the wrong block is seen."""
    grid = (math.ceil(rows / BLOCK), math.ceil(columns / BLOCK))
    gains = torch.exp2(torch.randint(-1, 2, grid, generator=g).float())
    return gains.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)[:rows, :columns]


def biases(count, groups, g):
    """Both signs, those of group 1 all negative."""
    bias = 0.3 * torch.randn(count, generator=g)
    member = torch.arange(count) // (count // groups) == 1
    return torch.where(member & (groups > 1), -bias.abs() - 0.01, bias)


def values(name, shape, config, seed):
    """Weights that keep signals near 1: columns of a matrix are independent, of variance 1 / inputs."""
    g = generator(seed, name)
    if name.endswith("e_score_correction_bias"):
        return biases(shape[0], config.n_group, g)
    if len(shape) == 1:
        return 1 + 0.3 * torch.randn(shape, generator=g)
    if "embed_tokens" in name:
        return torch.randn(shape, generator=g)
    return torch.randn(shape, generator=g) / math.sqrt(shape[1]) * block_gains(*shape[-2:], g)


def expert_values(name, parameter, config, seed):
    """transformers stacks the experts of a layer and saves them one by one: so they are named and filled."""
    prefix, kind = name.rsplit(".", 1)
    names = ("gate_proj", "up_proj") if kind == "gate_up_proj" else ("down_proj",)
    rows = parameter.shape[1] // len(names)
    return torch.stack(
        [
            torch.cat([values(f"{prefix}.{e}.{n}.weight", (rows, parameter.shape[2]), config, seed) for n in names])
            for e in range(parameter.shape[0])
        ]
    )


def add_mtp_modules(model, config, first):
    """The layers from `first` on become MTP modules, with DeepSeek's names."""
    hidden, vocabulary = config.hidden_size, config.vocab_size
    for layer in model.model.layers[first:]:
        layer.embed_tokens = torch.nn.Embedding(vocabulary, hidden)
        layer.enorm, layer.hnorm = DeepseekV3RMSNorm(hidden), DeepseekV3RMSNorm(hidden)
        layer.eh_proj = torch.nn.Linear(2 * hidden, hidden, bias=False)
        head = torch.nn.Linear(hidden, vocabulary, bias=False)
        layer.shared_head = torch.nn.ModuleDict({"norm": DeepseekV3RMSNorm(hidden), "head": head})


def is_v2(config):
    return config.model_type == "deepseek_v2"


def config_of(name):
    of = DeepseekV2Config if "topk_method" in CONFIGS[name] else DeepseekV3Config
    return of(**CONFIGS[name])


def build(config, seed):
    """The model in binary32, its MTP modules as further layers."""
    layers = config.num_hidden_layers
    config.num_hidden_layers = layers + config.num_nextn_predict_layers
    model = (DeepseekV2ForCausalLM if is_v2(config) else DeepseekV3ForCausalLM)(config)
    config.num_hidden_layers = layers
    add_mtp_modules(model, config, layers)
    for name, tensor in model.state_dict().items():
        fused = name.endswith(("experts.gate_up_proj", "experts.down_proj"))
        tensor.copy_(expert_values(name, tensor, config, seed) if fused else values(name, tuple(tensor.shape), config, seed))
    return model


def quantise(weight):
    """Blocks of 128x128: S = amax / 448 with amax at least 1e-4, codes E4M3(w / S), both quotients in binary32."""
    rows, columns = weight.shape
    padded = torch.zeros(math.ceil(rows / BLOCK) * BLOCK, math.ceil(columns / BLOCK) * BLOCK)
    padded[:rows, :columns] = weight
    blocks = padded.view(padded.shape[0] // BLOCK, BLOCK, padded.shape[1] // BLOCK, BLOCK)
    scale = blocks.abs().amax(dim=(1, 3)).clamp(min=1e-4) / 448
    codes = (blocks / scale[:, None, :, None]).to(torch.float8_e4m3fn).view(padded.shape)
    return codes[:rows, :columns].clone(memory_format=torch.contiguous_format), scale


def is_quantised(name):
    parts = name.split(".")
    return parts[-1] == "weight" and parts[-2].endswith(("_proj", "_with_mqa")) and parts[-2] != "eh_proj"


def quantised(state):
    result = {}
    for name, tensor in state.items():
        if is_quantised(name):
            result[name], result[name + "_scale_inv"] = quantise(tensor)
        else:
            result[name] = tensor if name.endswith("e_score_correction_bias") else tensor.to(torch.bfloat16)
    return result


def write_deepseek_config(folder):
    """config.json with the keys of the released one."""
    path = os.path.join(folder, "config.json")
    with open(path) as f:
        config = json.load(f)
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = {"type": rope.pop("rope_type")} | rope
    for key in ("head_dim", "qk_head_dim", "rope_interleave", "dtype"):
        config.pop(key, None)
    config |= dict(moe_layer_freq=1, scoring_func="sigmoid", topk_method="noaux_tc", torch_dtype="bfloat16")
    if os.path.basename(folder).startswith("kimi"):
        config["model_type"] = "kimi_k2"
    config["quantization_config"] = dict(
        activation_scheme="dynamic", fmt="e4m3", quant_method="fp8", weight_block_size=[BLOCK, BLOCK]
    )
    with open(path, "w") as f:
        json.dump(config, f, indent=2, sort_keys=True)


def tensors_of(folder):
    state = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".safetensors"):
            state |= load_file(os.path.join(folder, name))
    return state


def make(folder, name, seed=1):
    """FOLDER/name, replaced if it exists."""
    config_name, dtype = name.removesuffix("-sharded").split("-")
    shard = SHARD.get(config_name, "200KB") if name.endswith("-sharded") else "1GB"
    path = os.path.join(folder, name)
    shutil.rmtree(path, ignore_errors=True)
    model = build(config_of(config_name), seed)
    if dtype == "bf16":
        for parameter in model.parameters():
            parameter.data = parameter.data.to(torch.bfloat16)
    if is_v2(model.config):
        del model.config.num_nextn_predict_layers
    model.config.dtype = "bfloat16" if dtype == "bf16" else "float32"
    model.save_pretrained(path, max_shard_size=shard if dtype != "fp8" else "1GB")
    if dtype == "fp8":
        state = quantised(tensors_of(path))
        os.remove(os.path.join(path, "model.safetensors"))
        save_torch_state_dict(state, path, max_shard_size=shard)
        write_deepseek_config(path)
    return path


def all_names():
    return [f"{c}-{f}{s}" for c in CONFIGS for f in FORMATS for s in ("", "-sharded")]


def main():
    parser = argparse.ArgumentParser(description="Tiny random checkpoints of DeepSeek-V3 and its relatives.")
    parser.add_argument("folder")
    parser.add_argument("names", nargs="*", metavar="CONFIG-FORMAT[-sharded]")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    unknown = set(options.names) - set(all_names())
    if unknown:
        sys.exit(f"checkpoints.py: {', '.join(sorted(unknown))} is none of {', '.join(all_names())}")
    logging.disable_progress_bar()
    with torch.no_grad():
        for name in options.names or all_names():
            print(make(options.folder, name, options.seed))


if __name__ == "__main__":
    main()
