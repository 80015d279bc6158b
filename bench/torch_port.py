"""torch as a peer of bench peers: a port that answers, and then times itself as bench times ports: weights pass
through 192 MB, seven samples of 0.04 s, the median. Seconds of a call go into the file that DSV3_PEER_SECONDS names."""

import os
import statistics
import time

import dsv3_port
import torch

ROTATED, SAMPLE, SAMPLES = 192 << 20, 0.04, 7
TORCH = {"f32": torch.float32, "bf16": torch.bfloat16}


def copies(tensors):
    """Lists of these tensors, as many as 192 MB need; those below 4 KiB are shared."""
    size = sum(t.nbytes for t in tensors if t.nbytes >= 4096)
    count = min(ROTATED // size + 1, 512) if size else 1
    return [[t.clone() if t.nbytes >= 4096 else t for t in tensors] for _ in range(count)]


def calls(work, lists, count, start):
    begin = time.perf_counter()
    for i in range(start, start + count):
        work(*lists[i % len(lists)])
    return time.perf_counter() - begin


def median_seconds(work, tensors):
    lists = copies(tensors)
    calls(work, lists, 1, 0)
    count = max(1, min(int(SAMPLE / calls(work, lists, 1, 1)), 1000000))
    calls(work, lists, count, 2)
    return statistics.median(calls(work, lists, count, count * i) / count for i in range(SAMPLES))


def answer(work, tensors, output, dtype):
    if dtype not in TORCH or any(t.dtype not in TORCH.values() for t in tensors):
        raise dsv3_port.Unsupported("torch is asked for f32 and bf16 only")
    result = work(*tensors)
    with open(os.environ["DSV3_PEER_SECONDS"], "w", encoding="ascii") as file:
        file.write(f"{median_seconds(work, tensors):.9g}\n")
    return {output: result.to(TORCH[dtype])}


def linear(case):
    return answer(torch.nn.functional.linear, [case.torch("x"), case.torch("weight")], "y", case.dtype("y"))


def rmsnorm(case):
    if case.prob["residual"]:
        raise dsv3_port.Unsupported("torch has no residual in its rms_norm")
    size, eps = [case.prob["hidden_size"]], case.prob["rms_norm_eps"]
    work = lambda x, w: torch.nn.functional.rms_norm(x, size, w, eps)
    return answer(work, [case.torch("x"), case.torch("weight")], "y", case.dtype("y"))


def swiglu(case):
    work = lambda gate, up: torch.nn.functional.silu(gate) * up
    return answer(work, [case.torch("gate"), case.torch("up")], "y", case.dtype("y"))


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("DSV3_FAST_THREADS", "0")) or len(os.sched_getaffinity(0)))
    torch.set_grad_enabled(False)
    dsv3_port.serve("torch", {"linear": linear, "rmsnorm": rmsnorm, "swiglu": swiglu})
