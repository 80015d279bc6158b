"""One layer of DeepSeek-V3's widths with 16 experts, random BF16 weights, and transformers' recording of it.

    build/ports/python unit/record_wide.py FOLDER TOKENS

writes FOLDER/checkpoint (1.9 GB, once) and FOLDER/TOKENS.safetensors, of so many tokens.
"""

import json
import math
import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "verify", "ports"))

import torch  # noqa: E402
from record import Recorder  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM  # noqa: E402
from transformers.utils import logging  # noqa: E402

EXPERTS = 16
PERIOD = 5000011  # a prime: no two rows of a matrix are alike
WIDTHS = dict(
    vocab_size=1024, hidden_size=7168, intermediate_size=18432, moe_intermediate_size=2048, num_hidden_layers=1,
    first_k_dense_replace=0, num_attention_heads=128, num_key_value_heads=128, q_lora_rank=1536, kv_lora_rank=512,
    qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128, n_routed_experts=EXPERTS, n_shared_experts=1,
    num_experts_per_tok=8, n_group=8, topk_group=4, routed_scaling_factor=2.5, rms_norm_eps=1e-6,
    max_position_embeddings=163840, num_nextn_predict_layers=0,
    rope_parameters=dict(
        rope_type="yarn", rope_theta=10000.0, factor=40.0, original_max_position_embeddings=4096, beta_fast=32.0,
        beta_slow=1.0, mscale=1.0, mscale_all_dim=1.0,
    ),
)  # fmt: skip


def shapes(config):
    """Every tensor of the checkpoint."""
    with torch.device("meta"):
        model = DeepseekV3ForCausalLM(config)
    for name, tensor in model.state_dict().items():
        if name.endswith("experts.gate_up_proj"):
            for e in range(EXPERTS):
                for part in ("gate_proj", "up_proj"):
                    yield f"{name.rsplit('.', 1)[0]}.{e}.{part}.weight", (tensor.shape[1] // 2, tensor.shape[2])
        elif name.endswith("experts.down_proj"):
            for e in range(EXPERTS):
                yield f"{name.rsplit('.', 1)[0]}.{e}.down_proj.weight", tuple(tensor.shape[1:])
        else:
            yield name, tuple(tensor.shape)


def drawn(shape, deviation, g, numbers):
    """Of the normal numbers, which go round, from a drawn one on: to draw each anew takes half a minute."""
    first, count = int(torch.randint(PERIOD, (1,), generator=g)), math.prod(shape)
    scaled = (numbers * deviation).bfloat16()
    return torch.cat([scaled[first:], scaled.repeat(-(-count // PERIOD))])[:count].view(shape)


def values(name, shape, g, numbers):
    """Weights that keep signals near 1."""
    if name.endswith("bias"):
        return torch.empty(shape).normal_(0, 0.3, generator=g)
    if len(shape) == 1:
        return torch.empty(shape, dtype=torch.bfloat16).normal_(1, 0.3, generator=g)
    return drawn(shape, 1 if "embed" in name else 1 / math.sqrt(shape[1]), g, numbers)


def write_checkpoint(folder, config):
    g = torch.Generator().manual_seed(1)
    numbers = torch.randn(PERIOD, generator=g)
    os.makedirs(folder)
    tensors = {name: values(name, shape, g, numbers) for name, shape in shapes(config)}
    save_file(tensors, os.path.join(folder, "model.safetensors"), {"format": "pt"})
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config.to_dict() | {"architectures": ["DeepseekV3ForCausalLM"]}, f)


def main():
    folder, tokens = sys.argv[1], int(sys.argv[2])
    checkpoint = os.path.join(folder, "checkpoint")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if not os.path.exists(os.path.join(checkpoint, "config.json")):
        write_checkpoint(checkpoint, DeepseekV3Config(**WIDTHS))
    model = DeepseekV3ForCausalLM.from_pretrained(checkpoint, dtype=torch.bfloat16, attn_implementation="eager", experts_implementation="eager")
    ids = torch.tensor([[i * 37 % WIDTHS["vocab_size"] for i in range(tokens)]])
    with torch.no_grad(), Recorder(model.eval()) as r:
        out = model(ids, use_cache=True)
    r.save(os.path.join(folder, f"{tokens}.safetensors"), ids, out.past_key_values)


main()
