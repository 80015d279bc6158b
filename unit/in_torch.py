#!/usr/bin/env python3
"""Exact readings beside torch in binary64: linear with codes of FP8, and merge_state.

    unit/in_torch.py [CASE...]

verify bundle make writes inputs and truth of each case. Of linear torch decodes E4M3, and blocks are cut out, summed and
scaled one by one; merge_state is a softmax over the two lse. A case passes if no element is further from torch's than
2^-40 of the sum of |term| that it is made of. Without torch every case is skipped.

Last line: N passed, N failed, N skipped.
"""

import glob
import json
import math
import os
import subprocess
import sys
import tempfile

BUILD = os.path.realpath(os.environ.get("BUILD", "build"))
VERIFY = os.path.join(BUILD, "bin", "verify")
CASES = [f"linear@{sizes},x={x};fill=real|exact|adversarial"
         for sizes in ("odd:in_features=320,out_features=192", "odd:n_tokens=3,in_features=129,out_features=257",
                       "v3:n_tokens=2,in_features=1536,out_features=130")
         for x in ("f8_e4m3,x_scale=f32|u8,weight_scale_inv=f32|u8,y=f32", "f32,weight=f8_e4m3")] + [
    "merge_state@odd|tiny:lse_base=0|1,empty=0|1,o_a=f32|bf16;fill=real|exact|empty|adversarial"]  # fmt: skip

try:
    import torch
    from safetensors.torch import load_file
except ImportError:
    python = os.path.join(BUILD, "ports", "python")
    if os.path.exists(python) and not os.environ.get("IN_TORCH_AGAIN"):
        os.execve(python, [python, __file__, *sys.argv[1:]], os.environ | {"IN_TORCH_AGAIN": "1"})
    print(f"torch is not installed\n0 passed, 0 failed, {len(CASES)} skipped")
    sys.exit(0)

BLOCK = 128


def scales(t):
    """In binary64: numbers, or bytes that are exponents."""
    return torch.exp2(t.double() - 127) if t.dtype == torch.uint8 else t.double()


# ---- (inputs, problem) -> of each output its elements, and the sum of |term| of each ----


def linear(t, _):
    x, weight = t["x"].double(), t["weight"].double()
    of_weight = scales(t["weight_scale_inv"])
    of_x = scales(t["x_scale"]) if "x_scale" in t else torch.ones(len(x), of_weight.shape[1], dtype=torch.float64)
    y = torch.zeros(len(x), len(weight), dtype=torch.float64)
    size = y.clone()
    for n in range(0, len(weight), BLOCK):
        for b, k in enumerate(range(0, x.shape[1], BLOCK)):
            a, w = x[:, k:k + BLOCK], weight[n:n + BLOCK, k:k + BLOCK]
            both = (of_x[:, b] * of_weight[n // BLOCK, b])[:, None]
            y[:, n:n + BLOCK] += both * (a @ w.T)
            size[:, n:n + BLOCK] += both * (a.abs() @ w.abs().T)
    return {"y": (y, size)}


def merge_state(t, p):
    unit = math.log(2) if p["lse_base"] else 1
    lse = torch.stack([t["lse_a"], t["lse_b"]], -1).double()
    if p["empty"]:
        lse[lse == math.inf] = -math.inf
    there, most = lse > -math.inf, lse.amax(-1)
    weight = torch.exp(unit * (lse - most[..., None])).masked_fill(~there, 0)
    total = weight.sum(-1)
    parts = torch.stack([t["o_a"], t["o_b"]], -1).double().masked_fill(~there[:, :, None], 0) * weight[:, :, None]
    parts = parts / total.masked_fill(total == 0, 1)[:, :, None, None]
    whole = most + torch.log(total) / unit
    return {"o": (parts.sum(-1), parts.abs().sum(-1)), "lse": (whole, 1 + whole.abs())}


# ---- a case ----


def worst_of(folder):
    with open(os.path.join(folder, "case.json"), encoding="utf-8") as file:
        case = json.load(file)
    truth, worst = load_file(os.path.join(folder, "truth.safetensors")), 0.0
    for output, (right, size) in globals()[case["op"]](load_file(os.path.join(folder, "inputs.safetensors")), case["prob"]).items():
        ours = truth[output + ".centre"].reshape(right.shape)
        off = (ours - right).abs() / size.clamp(min=1e-300)
        worst = max(worst, torch.where(ours == right, 0, off).nan_to_num(math.inf).max().item())
    return case["id"], worst


def main():
    cases, passed, failed = sys.argv[1:] or CASES, 0, 0
    with tempfile.TemporaryDirectory(prefix="dsv3-in-torch-") as folder:
        subprocess.run([VERIFY, "bundle", "make", folder, *cases], check=True, stdout=subprocess.DEVNULL)
        for case in sorted(glob.glob(os.path.join(folder, "*", ""))):
            name, worst = worst_of(case)
            good = worst <= 2**-40
            passed, failed = passed + good, failed + (not good)
            if not good or len(sys.argv) > 1:
                print(f"{name}: {worst:.2e} of what it is made of")
    print(f"{passed} passed, {failed} failed, 0 skipped")
    sys.exit(failed > 0)


main()
