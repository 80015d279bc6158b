"""torch as a peer of bench peers: a port that answers, and then times itself as bench times ports: weights and caches pass
through as many bytes as there, seven samples of 0.04 s, the median.

usage: torch_port.py FILE BYTES    into FILE go the seconds of a call, and in words what was called
"""

import os
import statistics
import sys
import time

import dsv3_port
import torch

from torch.nn.functional import linear as product, rms_norm, silu

SAMPLE, SAMPLES = 0.04, 7
TORCH = {"f32": torch.float32, "bf16": torch.bfloat16}


def copies(tensors):
    """Lists of these tensors, as many as so many bytes need; those below 4 KiB are shared."""
    size = sum(t.nbytes for t in tensors if t.nbytes >= 4096)
    count = min(int(sys.argv[2]) // size + 1, 512) if size else 1
    return [[t.clone() if t.nbytes >= 4096 else t for t in tensors] for _ in range(count)]


def calls(work, lists, count, start):
    begin = time.perf_counter()
    for i in range(start, start + count):
        work(*lists[i % len(lists)])
    return time.perf_counter() - begin


def median_seconds(work, tensors, prepare=None):
    lists = copies(tensors)
    if prepare:
        lists = [prepare(*some) for some in lists]
    calls(work, lists, 1, 0)
    count = max(1, min(int(SAMPLE / calls(work, lists, 1, 1)), 1000000))
    calls(work, lists, count, 2)
    return statistics.median(calls(work, lists, count, count * i) / count for i in range(SAMPLES))


def answer(how, work, tensors, prepare=None):
    """What the work returns. prepare, of the tensors, isn't timed, as that of our own ops isn't."""
    result = work(*(prepare(*tensors) if prepare else tensors))
    seconds = median_seconds(work, tensors, prepare)
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        file.write(f"{seconds:.9g} {how}\n")
    return result


def refuse_unless(condition, rule):
    if not condition:
        raise dsv3_port.Unsupported(rule)


def floats(case, *names):
    """These tensors, f32 or bf16."""
    refuse_unless(all(case.dtype(name) in TORCH for name in names), "torch is asked for f32 and bf16 only")
    return [case.torch(name) for name in names]


def one_format(case, output, *names):
    refuse_unless(len({case.dtype(name) for name in names}) == 1 and case.dtype(output) in TORCH, "torch keeps one format")
    return floats(case, *names)


def dequantised(case, name):
    """FP8 weights as bf16."""
    codes, scale = case.torch(name).float(), case.torch(name + "_scale_inv")
    blocks = scale.repeat_interleave(128, 0).repeat_interleave(128, 1)
    return (codes * blocks[: codes.shape[0], : codes.shape[1]]).bfloat16()


def linear(case):
    if case.dtype("weight") == "f8_e4m3":
        refuse_unless(case.dtype("x") == "bf16", "torch is asked for bf16 beside FP8 weights")
        tensors, how = [case.torch("x"), dequantised(case, "weight")], "linear in bf16, weights dequantised before"
    else:
        tensors, how = one_format(case, "y", "x", "weight"), "linear"
    return {"y": answer(how, product, tensors).to(TORCH[case.dtype("y")])}


def rmsnorm(case):
    refuse_unless(not case.prob["residual"], "torch has no residual in its rms_norm")
    size, eps = [case.prob["hidden_size"]], case.prob["rms_norm_eps"]
    work = lambda x, w: rms_norm(x, size, w, eps)
    return {"y": answer("rms_norm", work, one_format(case, "y", "x", "weight")).to(TORCH[case.dtype("y")])}


def swiglu(case):
    work = lambda gate, up: silu(gate) * up
    return {"y": answer("silu times up", work, one_format(case, "y", "gate", "up")).to(TORCH[case.dtype("y")])}


def mla_decode(case):
    p = case.prob
    refuse_unless(p["batch"] == 1 and p["s_q"] == 1, "torch is asked for one query of one sequence")
    query, cache = one_format(case, "o", "q", "kv_cache")
    table, length = case.torch("block_table")[0].long(), int(case.torch("cache_seqlens")[0])
    scale, rank = p["softmax_scale"], int(p["kv_lora_rank"])
    lies_together = lambda q, pages: (q[0, 0], pages[table[: -(-length // pages.shape[1])]].flatten(0, 1)[:length])

    def work(q, keys):
        return torch.matmul(torch.softmax(torch.matmul(q, keys.t()) * scale, -1), keys[:, :rank])

    q, keys = lies_together(query, cache)
    lse = torch.logsumexp(torch.matmul(q, keys.t()).float() * scale, -1)
    o = answer("matmul, softmax, matmul on pages that lie together, lse not timed", work, [query, cache], lies_together)
    return {"o": o[None, None].to(TORCH[case.dtype("o")]), "lse": lse[None, None]}


def frequencies(p):
    """YaRN's, by arXiv 2309.00071."""
    width, base = int(p["qk_rope_head_dim"]), float(p["rope_theta"])
    one = torch.arange(0, width, 2, dtype=torch.float64)
    plain = base ** (-one / width)
    if p["factor"] == 1:
        return plain
    turn = lambda beta: torch.log(torch.tensor(p["original_max_position_embeddings"] / (beta * 2 * torch.pi), dtype=torch.float64))
    at = lambda beta: width * turn(beta) / (2 * torch.log(torch.tensor(base, dtype=torch.float64)))
    low, high = max(float(torch.floor(at(p["beta_fast"]))), 0), min(float(torch.ceil(at(p["beta_slow"]))), width - 1)
    ramp = ((one / 2 - low) / max(high - low, 0.001)).clamp(0, 1)
    return plain / p["factor"] * ramp + plain * (1 - ramp)


def rope(case):
    p = case.prob
    refuse_unless(p["in_layout"] == 0 and p["out_layout"] == 0, "torch is asked for pairs side by side")
    refuse_unless(p["mscale"] == p["mscale_all_dim"], "torch is asked for rotations without a factor")
    x, positions = floats(case, "x")[0], case.torch("positions").long()
    angles = torch.arange(int(positions.max()) + 1, dtype=torch.float64)[:, None] * frequencies(p)
    turns = torch.polar(torch.ones_like(angles), angles).to(torch.complex64)

    def work(x):
        pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * turns[positions][:, None]).flatten(-2).to(x.dtype)

    return {"y": answer("view_as_complex times a table of turns", work, [x]).to(TORCH[case.dtype("y")])}


def choose(p, logits, bias):
    """Experts and their weights."""
    groups, kept, chosen = int(p["n_group"]), int(p["topk_group"]), int(p["num_experts_per_tok"])
    scores = torch.sigmoid(logits)
    grouped = (scores + bias).unflatten(-1, (groups, -1))
    best = grouped.topk(min(2, grouped.shape[-1]), sorted=False)[0].sum(-1).topk(kept, sorted=False)[1]
    open_groups = torch.zeros(best.shape[0], groups, dtype=torch.bool).scatter_(1, best, True)
    index = grouped.masked_fill(~open_groups[..., None], -torch.inf).flatten(-2).topk(chosen)[1]
    weight = scores.gather(1, index)
    if p["norm_topk_prob"]:
        weight = weight / weight.sum(-1, keepdim=True)
    return index, weight * p["routed_scaling_factor"]


def gate(case):
    p = case.prob
    refuse_unless(p["scoring_func"] == 0 and p["topk_method"] == 0, "torch is asked for sigmoid and noaux_tc")
    work = lambda logits, bias: choose(p, logits, bias)
    index, weight = answer("sigmoid, topk, gather", work, [case.torch("logits"), case.torch("e_score_correction_bias")])
    return {"topk_idx": index.to(torch.int32), "topk_weight": weight}


NAMES = ("gate_proj", "up_proj", "down_proj")


def expert_weights(case, prefix):
    """gate, up and down; in bf16, whatever they are stored in."""
    names = [f"{prefix}.{name}.weight" for name in NAMES]
    return [dequantised(case, n) if case.dtype(n) == "f8_e4m3" else floats(case, n)[0] for n in names]


def network(x, weights):
    act = silu(product(x, weights[0])) * product(x, weights[1])
    return act, product(act, weights[2])


def routed(x, index, weight, experts, act=None):
    """Expert by expert, as transformers does it."""
    y = torch.zeros_like(x)
    for e in index.unique().tolist():
        token, slot = torch.where(index == e)
        inner, out = network(x[token], experts[3 * e : 3 * e + 3])
        if act is not None:
            act[token, slot] = inner
        y.index_add_(0, token, (out * weight[token, slot, None]).to(x.dtype))
    return y


def all_experts(case):
    every = [w for e in range(int(case.prob["n_routed_experts"])) for w in expert_weights(case, f"experts.{e}")]
    refuse_unless(case.dtype("hidden_states") == "bf16" and all(w.dtype == torch.bfloat16 for w in every),
                  "torch is asked for experts in bf16")
    quantised = case.dtype("experts.0.gate_proj.weight") == "f8_e4m3"
    return every, "linear expert by expert" + (" in bf16, weights dequantised before" if quantised else "")


def experts(case):
    every, how = all_experts(case)
    index, weight = case.torch("topk_idx").long(), case.torch("topk_weight")
    act = torch.zeros(*index.shape, every[0].shape[0], dtype=torch.bfloat16)
    work = lambda x, index, weight, *w: routed(x, index, weight, w)
    routed(case.torch("hidden_states"), index, weight, every, act)
    y = answer(how, work, [case.torch("hidden_states"), index, weight, *every])
    return {name: t.to(TORCH[case.dtype(name)]) for name, t in (("act", act), ("y", y)) if name in case.outputs}


def moe(case):
    p, (every, how) = case.prob, all_experts(case)
    refuse_unless(p["scoring_func"] == 0 and p["topk_method"] == 0, "torch is asked for sigmoid and noaux_tc")
    refuse_unless(not p["stages"], "torch is asked for no stages")
    shared = expert_weights(case, "shared_experts")
    tensors = [case.torch("hidden_states"), *floats(case, "gate.weight"), case.torch("gate.e_score_correction_bias")]

    def work(x, gate_weight, bias, *w):
        index, weight = choose(p, product(x.float(), gate_weight.float()), bias)
        return index, weight, routed(x, index, weight, w[3:]) + network(x, w[:3])[1]

    index, weight, y = answer("sigmoid, topk, " + how, work, [*tensors, *shared, *every])
    return {"topk_idx": index.to(torch.int32), "topk_weight": weight, "y": y.to(TORCH[case.dtype("y")])}


OPS = {"linear": linear, "rmsnorm": rmsnorm, "swiglu": swiglu, "mla_decode": mla_decode, "rope": rope, "gate": gate,
       "experts": experts, "moe": moe}


def threads():
    said = os.environ.get("DSV3_FAST_THREADS", str(min(len(os.sched_getaffinity(0)), 64)))
    if not (said.isascii() and said.isdigit() and 1 <= int(said) <= 64):
        sys.exit(f"DSV3_FAST_THREADS={said}: it is a whole number from 1 to 64")
    return int(said)


def begin():
    torch.set_num_threads(threads())
    torch.set_grad_enabled(False)


if __name__ == "__main__":
    begin()
    dsv3_port.serve("torch", OPS)
