#!/usr/bin/env python3
"""Exact readings beside torch in binary64: linear and experts with codes of FP8, mla_prefill, merge_state, mtp_inputs and
cache_store.

    unit/in_torch.py [CASE...]

verify bundle make writes inputs and truth of each case. Of linear and experts torch decodes E4M3, and blocks are cut out, summed
and scaled one by one; what experts quantise is rounded here; mla_prefill is a softmax over the keys that a mask leaves, merge_state
one over the two lse, mtp_inputs is put together of slices, cache_store of rows with torch's own bytes. A case passes if no element is
further from torch's than 2^-40 of the sum of |term| that it is made of. Without torch every case is skipped.

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
    "merge_state@odd|tiny:lse_base=0|1,empty=0|1,o_a=f32|bf16;fill=real|exact|empty|adversarial",
    "mla_prefill@odd:full=0|1,q_lens=3+5+2+0,kv_lens=3+0+8+2,q=f32|bf16;fill=real|exact|uniform|adversarial|large",
    "mla_prefill@odd:full=0|1,q_lens=40+2,kv_lens=7+65,q=f32",
    "experts@odd:hidden_size=320,moe_intermediate_size=257,amax_floor=0.0001,scale_fmt=0|1,hidden_states=f8_e4m3,"
    "x_scale=f32|u8,weight_scale_inv=f32|u8,y=f32",
    "experts@odd:hidden_size=320,moe_intermediate_size=257,stages=1,scale_fmt=0|1,hidden_states=f8_e4m3,act=f32,y=f32",
    "experts@odd:amax_floor=0.5,scale_fmt=0|1,hidden_states=f8_e4m3,y=f32;fill=real|ids|mixed",
    "experts@odd:hidden_size=130,moe_intermediate_size=129,scale_fmt=0|1,hidden_states=f8_e4m3,y=f32",
    "mtp_inputs@odd:depth=1|2|6,tail=0|1,labels_given=0|1,seq_lens=5+0+1+7;fill=real|exact|adversarial",
    "cache_store@odd|tiny|v3:kv=bf16|f32;fill=real|exact|adversarial",
    "cache_store@odd|tiny|v3:kv=bf16|f32,kv_cache=f8_e4m3,slot_mapping=i64|i32;fill=real|exact|tie|adversarial",
    "cache_store@odd|v3:kv_lora_rank=300,amax_floor=0|1e-4,scale_floor=0|1e-4,scale_fmt=0|1,kv_cache=u8;fill=real|exact|tie|adversarial"]  # fmt: skip

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


def product(x, of_x, weight, of_weight):
    """Codes times codes, both with their scales; and the sum of |term| of each element."""
    y = torch.zeros(len(x), len(weight), dtype=torch.float64)
    size = y.clone()
    for n in range(0, len(weight), BLOCK):
        for b, k in enumerate(range(0, x.shape[1], BLOCK)):
            a, w = x[:, k:k + BLOCK], weight[n:n + BLOCK, k:k + BLOCK]
            both = (of_x[:, b] * of_weight[n // BLOCK, b])[:, None]
            y[:, n:n + BLOCK] += both * (a @ w.T)
            size[:, n:n + BLOCK] += both * (a.abs() @ w.abs().T)
    return y, size


def linear(t, _):
    x, of_weight = t["x"].double(), scales(t["weight_scale_inv"])
    of_x = scales(t["x_scale"]) if "x_scale" in t else torch.ones(len(x), of_weight.shape[1], dtype=torch.float64)
    return {"y": product(x, of_x, t["weight"].double(), of_weight)}


def e4m3(x):
    """The nearest number of four bits, a multiple of 2^-9; ties to even."""
    step = torch.exp2(torch.floor(torch.log2(x.abs().clamp(min=2**-6))) - 3)
    return (torch.round(x / step) * step).clamp(-448, 448)


def quantise(act, p):
    """The scales of the tiles of rows."""
    tiles = [act[:, k:k + BLOCK].abs().amax(1).clamp(min=p["amax_floor"]) for k in range(0, act.shape[1], BLOCK)]
    amax = torch.stack(tiles, 1)
    scale = torch.exp2(torch.ceil(torch.log2(amax / 448))) if p["scale_fmt"] else amax / 448
    return torch.where(amax == 0, 1, scale)


def by_tile(scale, width):
    return scale.repeat_interleave(BLOCK, 1)[:, :width]


def experts(t, p):
    """Stages are stored in binary32, and each is judged by those that are stored; act_q as it is before it is rounded."""
    stored = (lambda v: v.float().double()) if p["stages"] else (lambda v: v)
    x, of_x, slots = t["hidden_states"].double(), scales(t["x_scale"]), t["topk_idx"]
    width = p["moe_intermediate_size"]
    y = torch.zeros(len(x), p["hidden_size"], dtype=torch.float64)
    size, act = y.clone(), torch.zeros(*slots.shape, width, dtype=torch.float64)
    of_act, act_scale, act_q = act.clone(), torch.zeros(*slots.shape, (width + BLOCK - 1) // BLOCK).double(), act.clone()
    for e in slots.unique().tolist():
        at = token, slot = (slots == e).nonzero(as_tuple=True)
        rows, of_rows, share = x[token], of_x[token], t["topk_weight"][token, slot].double()[:, None]
        gate, up, down = ((t[f"experts.{e}.{leaf}.weight"].double(), scales(t[f"experts.{e}.{leaf}.weight_scale_inv"]))
                          for leaf in ("gate_proj", "up_proj", "down_proj"))
        (z, of_z), (v, of_v) = product(rows, of_rows, *gate), product(rows, of_rows, *up)
        act[at] = z * torch.sigmoid(z) * v
        of_act[at] = (1 + of_z) * of_v
        own_scale, act_scale[at] = stored(quantise(act[at], p)), quantise(stored(act[at]), p)
        act_q[at] = (stored(act[at]) / by_tile(own_scale, width)).clamp(-448, 448)
        out, terms = product(e4m3(act[at] / by_tile(quantise(act[at], p), width)), own_scale, *down)
        y.index_add_(0, token, share * out)
        size.index_add_(0, token, share * terms)
    stages = {"act": (act, of_act), "act_scale": (act_scale, 1 + act_scale), "act_q": (act_q, 1 + act_q.abs())}
    return {"y": (y, size)} | (stages if p["stages"] else {})


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


def mla_prefill(t, p):
    q, k, v = (t[name].double() for name in ("q", "k", "v"))
    o, size = (torch.zeros(len(q), *v.shape[1:], dtype=torch.float64) for _ in range(2))
    lse = torch.full(q.shape[:2], -math.inf, dtype=torch.float64)
    begin_q, begin_k = t["cu_seqlens_q"].tolist(), t["cu_seqlens_k"].tolist()
    for q0, q1, k0, k1 in zip(begin_q, begin_q[1:], begin_k, begin_k[1:]):
        hidden = torch.ones(q1 - q0, k1 - k0, dtype=torch.bool).triu(k1 - k0 - (q1 - q0) + 1)
        s = p["softmax_scale"] * torch.einsum("ihc,jhc->ihj", q[q0:q1], k[k0:k1])
        s = s if p["full"] else s.masked_fill(hidden[:, None], -math.inf)
        P = s.softmax(-1).nan_to_num(0)  # of a query without keys
        o[q0:q1], size[q0:q1] = torch.einsum("ihj,jhc->ihc", P, v[k0:k1]), torch.einsum("ihj,jhc->ihc", P, v[k0:k1].abs())
        lse[q0:q1] = s.logsumexp(-1) if k1 > k0 else -math.inf
    return {"o": (o, size), "lse": (lse, 1 + lse.abs())}


def mtp_inputs(t, p):
    depth, begin = int(p["depth"]), t["cu_seqlens"].tolist()
    further = depth + (0 if p["labels_given"] else 1)

    def shifted(x, by, fill):
        parts = [x[a:b] for a, b in zip(begin, begin[1:])]
        return torch.cat([torch.cat([part[by:], torch.full_like(part[:by], fill)]) for part in parts]).double()

    got = {"mtp_input_ids": shifted(t["input_ids"], depth, 0),
           "mtp_labels": shifted(t["labels"] if p["labels_given"] else t["input_ids"], further, -100 if p["tail"] else 0),
           "mtp_loss_mask": shifted(t["loss_mask"], further, 0),
           "valid": shifted(torch.ones_like(t["input_ids"]), depth, 0)}  # fmt: skip
    return {name: (x, torch.zeros_like(x)) for name, x in got.items()}


def row_of_bytes(key, p):
    rank, parts, of_tiles = int(p["kv_lora_rank"]), [], []
    for tile in key[:rank].split(BLOCK):
        scale = tile.abs().max().clamp(min=p["amax_floor"]) / 448
        scale = torch.ones_like(scale) if scale == 0 and not p["scale_floor"] else scale.clamp(min=p["scale_floor"])
        if p["scale_fmt"]:
            fraction, exponent = torch.frexp(scale)
            scale = torch.ldexp(torch.ones_like(scale), exponent - (fraction == 0.5).int())
        of_tiles.append(scale)
        parts.append((tile / scale).clamp(-448, 448).float().to(torch.float8_e4m3fn).view(torch.uint8))
    return torch.cat([*parts, torch.stack(of_tiles).float().view(torch.uint8), key[rank:].bfloat16().view(torch.uint8)])


def cache_store(t, p):
    pool = t["kv_cache"].float().double()
    rows, size = pool.reshape(-1, pool.shape[-1]), torch.zeros_like(pool)
    for key, slot in zip(t["kv"].double(), t["slot_mapping"].tolist()):
        if slot < 0:
            continue
        if "kv_scale" in t:
            rows[slot] = (key / t["kv_scale"].double()).clamp(-448, 448)
            size.view(rows.shape)[slot] = rows[slot].abs()
        else:
            rows[slot] = (row_of_bytes(key, p) if t["kv_cache"].dtype == torch.uint8 else key).double()
    return {"kv_cache_out": (pool, size)}


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
