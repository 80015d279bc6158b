"""Hugging Face's own modules as a port: code that nobody here wrote.

rmsnorm: transformers.models.deepseek_v3.modeling_deepseek_v3.DeepseekV3RMSNorm
linear:  torch.nn.Linear, which DeepseekV3Attention and DeepseekV3MLP are made of

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


if __name__ == "__main__":
    dsv3_port.serve("transformers", {"rmsnorm": rmsnorm, "linear": linear})
