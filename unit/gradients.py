#!/usr/bin/env python3
"""The exact reading of every gradient beside torch's autograd in binary64, through formulas written here: forward ones only.

    unit/gradients.py [CASE...]

verify bundle make writes inputs and truth of each case. A gradient passes if no element is further from torch's than 2^-40 of
the largest in its row. Angles of rope are formed in 80-bit numbers. Without torch every case is skipped.

Last line: N passed, N failed, N skipped.
"""

import glob
import json
import os
import subprocess
import sys
import tempfile

BUILD = os.path.realpath(os.environ.get("BUILD", "build"))
VERIFY = os.path.join(BUILD, "bin", "verify")
CASES = [f"{op}_backward@odd|tiny:{formats};fill=real|exact" for op, formats in (
    ("swiglu", "gate=bf16|f32"), ("rope", "num_heads=6,num_key_value_heads=1|2|6,in_layout=0|1,out_layout=0|1,grad_y=f32"),
    ("cross_entropy", "divisor=0|1,logits=f32|bf16"), ("rmsnorm", "residual=0|1,x=f32|bf16"),
    ("linear", "x=f32|bf16"), ("embed", "grad_y=f32|bf16"),
    ("gate", "norm_topk_prob=0|1,scoring_func=0|1,logits=f32|bf16"), ("balance_loss", "seq_aux=0|1"),
    ("experts", "hidden_states=f32|bf16"),
    ("mla_prefill", "q=bf16|f32"))] + [
    "mla_prefill_backward@odd:q_lens=0+4+2+1,kv_lens=5+0+1+7,q=f32;fill=real|uniform|shifted"]  # fmt: skip

try:
    import torch
    from safetensors.torch import load_file
except ImportError:
    python = os.path.join(BUILD, "ports", "python")
    if os.path.exists(python) and not os.environ.get("GRADIENTS_AGAIN"):
        os.execve(python, [python, __file__, *sys.argv[1:]], os.environ | {"GRADIENTS_AGAIN": "1"})
    print(f"torch is not installed\n0 passed, 0 failed, {len(CASES)} skipped")
    sys.exit(0)


# ---- forward formulas: (inputs, problem) -> outputs, by the names of their gradients ----


def swiglu(t, p):
    return {"grad_y": t["gate"] / (1 + torch.exp(-t["gate"])) * t["up"]}, ("gate", "up")


def angles(t, p):
    """cos and sin (n_tokens, pairs) of the rotation, times its amplitude."""
    import numpy as np

    pi, r = 4 * np.arctan(np.longdouble(1)), int(p["qk_rope_head_dim"])
    theta, factor, length = (np.longdouble(p[k]) for k in ("rope_theta", "factor", "original_max_position_embeddings"))
    pair = lambda turns: r * np.log(length / (np.longdouble(turns) * 2 * pi)) / (2 * np.log(theta))  # noqa: E731
    low, high = max(np.floor(pair(p["beta_fast"])), 0), min(np.ceil(pair(p["beta_slow"])), r - 1)
    high = high + np.longdouble(1) / 1000 if high == low else high
    j = np.arange(r // 2, dtype=np.longdouble)
    ramp, e = np.clip((j - low) / (high - low), 0, 1), theta ** (-2 * j / r)
    f = e if factor == 1 else e * (1 - ramp) + e / factor * ramp
    scale = lambda m: 1 if factor <= 1 else np.longdouble(m) / 10 * np.log(factor) + 1  # noqa: E731
    angle = t["positions"].numpy().astype(np.longdouble)[:, None] * f
    amplitude = scale(p["mscale"]) / scale(p["mscale_all_dim"])
    return [torch.from_numpy((amplitude * g(angle)).astype(np.float64)) for g in (np.cos, np.sin)]


def halves(x, layout):
    return x.chunk(2, -1) if layout else (x[..., 0::2], x[..., 1::2])


def rope(t, p):
    tokens, width = len(t["positions"]), int(p["qk_rope_head_dim"])
    vectors, heads = int(p["num_key_value_heads"]), int(p["num_heads"])
    t["x"] = torch.zeros(tokens, vectors, width, dtype=torch.float64, requires_grad=True)
    c, s = (a[:, None] for a in angles(t, p))
    x1, x2 = halves(t["x"].repeat_interleave(heads // vectors, 1), p["in_layout"])
    y1, y2 = x1 * c - x2 * s, x2 * c + x1 * s
    y = torch.cat((y1, y2), -1) if p["out_layout"] else torch.stack((y1, y2), -1).flatten(-2)
    return {"grad_y": y}, ("x",)


def cross_entropy(t, p):
    z, labels = t["logits"], t["labels"].long()
    counted = labels != -100
    of_label = z.gather(1, labels.clamp(min=0)[:, None])[:, 0]
    loss = torch.where(counted, torch.logsumexp(z, 1) - of_label, 0)
    divisor = counted.sum() if p["divisor"] else len(labels)
    return {"grad_mean": (loss.sum() / divisor).reshape(1)}, ("logits",)


def rmsnorm(t, p):
    x = t["x"]
    y = t["weight"] * x / torch.sqrt((x * x).mean(-1, keepdim=True) + p["rms_norm_eps"])
    return {"grad_y": y} | ({"grad_residual_out": x * 1} if p["residual"] else {}), ("x", "weight")


def linear(t, p):
    return {"grad_y": t["x"] @ t["weight"].T}, ("x", "weight")


def embed(t, p):
    t["weight"] = torch.zeros(int(p["vocab_size"]), int(p["hidden_size"]), dtype=torch.float64, requires_grad=True)
    return {"grad_y": t["weight"][t["input_ids"].long()]}, ("weight",)


def gate(t, p):
    s = t["logits"].softmax(1) if p["scoring_func"] else 1 / (1 + torch.exp(-t["logits"]))
    chosen = s.gather(1, t["topk_idx"].long())
    weight = chosen / chosen.sum(1, keepdim=True) if p["norm_topk_prob"] else chosen
    return {"grad_topk_weight": p["routed_scaling_factor"] * weight}, ("logits",)


def balance_loss(t, p):
    s, begin = t["scores"], t["cu_seqlens"].tolist()
    experts, k = int(p["n_routed_experts"]), int(p["num_experts_per_tok"])
    parts = list(zip(begin, begin[1:])) if p["seq_aux"] else [(0, len(s))] * int(p["batch"])
    loss = []
    for first, last in parts:
        count = torch.bincount(t["topk_idx"][first:last].flatten().long(), minlength=experts).double()
        shares = s[first:last] / s[first:last].sum(1, keepdim=True) if p["seq_aux"] else s[first:last]
        f = experts / (k * max(last - first, 1)) * count
        loss.append(p["aux_loss_alpha"] * (f * shares.sum(0) / max(last - first, 1)).sum())
    return {"grad_loss": torch.stack(loss)}, ("scores",)


def experts(t, p):
    x, idx, w = t["hidden_states"], t["topk_idx"].long(), t["topk_weight"]
    matrices = {leaf: torch.stack([t[f"experts.{e}.{leaf}.weight"] for e in range(int(p["n_routed_experts"]))])
                for leaf in ("gate_proj", "up_proj", "down_proj")}  # fmt: skip
    for leaf, m in matrices.items():
        t[leaf] = m.detach().requires_grad_()
    y = torch.zeros_like(x)
    for k in range(idx.shape[1]):
        g, u = (torch.einsum("tiw,tw->ti", t[leaf][idx[:, k]], x) for leaf in ("gate_proj", "up_proj"))
        y = y + w[:, k, None] * torch.einsum("twi,ti->tw", t["down_proj"][idx[:, k]], g / (1 + torch.exp(-g)) * u)
    return {"grad_y": y}, ("hidden_states", "topk_weight", *matrices)


def mla_prefill(t, p):
    """Queries without keys have o 0."""
    rows = []
    begin_q, begin_k = t["cu_seqlens_q"].tolist(), t["cu_seqlens_k"].tolist()
    for q0, q1, k0, k1 in zip(begin_q, begin_q[1:], begin_k, begin_k[1:]):
        for i in range(q1 - q0):
            n = max(k1 - k0 - (q1 - q0) + i + 1, 0)
            s = p["softmax_scale"] * torch.einsum("hc,jhc->hj", t["q"][q0 + i], t["k"][k0:k0 + n])
            rows.append(torch.einsum("hj,jhc->hc", s.softmax(1), t["v"][k0:k0 + n]))
    return {"grad_o": torch.stack(rows)}, ("q", "k", "v")


# ---- a case ----


def inputs_of(folder):
    """As binary64 where a gradient may be asked for."""
    tensors = load_file(os.path.join(folder, "inputs.safetensors"))
    return {name: x.double() if x.is_floating_point() else x for name, x in tensors.items()}


def worst_of(folder):
    """The largest distance of the case's gradients, as a share of the largest in the row."""
    with open(os.path.join(folder, "case.json"), encoding="utf-8") as file:
        case = json.load(file)
    t, truth = inputs_of(folder), load_file(os.path.join(folder, "truth.safetensors"))
    for name, x in t.items():
        x.requires_grad_(x.is_floating_point() and not name.startswith("grad_"))
    outputs, names = globals()[case["op"].removesuffix("_backward")](t, case["prob"])
    torch.autograd.backward(list(outputs.values()), [t[name].reshape(y.shape) for name, y in outputs.items()])
    worst = 0.0
    for name in names:
        right = t[name].grad.flatten(0, -2) if t[name].dim() > 1 else t[name].grad[None]
        ours = truth[f"grad_{name}.centre"].reshape(right.shape)
        size = right.abs().amax(1, keepdim=True).clamp(min=1e-30)
        worst = max(worst, ((ours - right).abs() / size).max().item())
    return case["id"], worst


def main():
    cases, passed, failed = sys.argv[1:] or CASES, 0, 0
    with tempfile.TemporaryDirectory(prefix="dsv3-gradients-") as folder:
        subprocess.run([VERIFY, "bundle", "make", folder, *cases], check=True, stdout=subprocess.DEVNULL)
        for case in sorted(glob.glob(os.path.join(folder, "*", ""))):
            name, worst = worst_of(case)
            good = worst <= 2**-40
            passed, failed = passed + good, failed + (not good)
            if not good or len(sys.argv) > 1:
                print(f"{name}: {worst:.2e} of the largest in its row")
    print(f"{passed} passed, {failed} failed, 0 skipped")
    sys.exit(failed > 0)


main()
