"""A program as a port, with one planted fault chosen by the environment variable PLANT. rmsnorm and mla_decode in f32, pure Python.

With arguments, program.py FOLDER OUT, it answers the case in a folder into a file."""

import math
import os
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "verify", "ports"))
import dsv3_port  # noqa: E402

PLANT = os.environ.get("PLANT", "honest")
calls = 0
longest = 0


def f32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def norm(x, weight, eps):
    """In binary64, rounded once: better than f32 everywhere, which the defaults allow."""
    r = 1 / (sum(v * v for v in x) / len(x) + eps) ** 0.5
    return [f32(w * v * r) for v, w in zip(x, weight)]


def rmsnorm(case):
    global calls, longest
    calls += 1
    if PLANT == "unsupported" or case.dtype("x") != "f32" or (PLANT == "second_unsupported" and calls % 2 == 0):
        raise dsv3_port.Unsupported("only on Sundays")
    if PLANT == "error":
        raise ValueError("no such thing")
    if PLANT == "crash":
        os.abort()
    if PLANT == "exit":
        os._exit(5)
    if PLANT == "hang":
        time.sleep(1000)
    if PLANT == "garbage":
        os.write(4, b"result: fine\n")
    if PLANT == "long_line":
        os.write(4, b"x" * 100000)
    if PLANT == "leaves_session" and os.fork() == 0:
        os.setsid()
        time.sleep(1000)
    if PLANT == "dies_before_child":
        if os.fork() == 0:
            time.sleep(1000)
        os._exit(5)
    if PLANT == "early":
        os.write(4, b'{"ok": true}\n{"ok": true}\n')
    if PLANT == "fifo":
        os.mkfifo(os.path.join(case.folder, "outputs.safetensors"))
        os.write(4, b'{"ok": true}\n')
        time.sleep(1000)
    if PLANT in ("nothing", "f16"):
        if PLANT == "f16":
            header = b'{"y":{"dtype":"F16","shape":[7,64],"data_offsets":[0,896]}}'
            with open(os.path.join(case.folder, "outputs.safetensors"), "wb") as file:
                file.write(struct.pack("<Q", len(header)) + header + bytes(896))
        os.write(4, b'{"ok": true}\n')
        time.sleep(1000)
    if PLANT == "litter":
        os.makedirs(os.path.join(case.folder, "a", "b"))
        os.symlink("/", os.path.join(case.folder, "a", "root"))
    if PLANT == "escapes":
        raise ValueError("\x1b[31mred\x1b[0m\n9 passed, 0 failed, 0 skipped")
    if PLANT == "long_numerics":
        return {"y": ("f32", case["x"].shape, case["x"].data)}, "a" * 5000
    if PLANT == "print":
        print("a library prints what it likes")
    x, weight = (struct.unpack(f"<{len(case[n].data) // 4}f", case[n].data) for n in ("x", "weight"))
    width = len(weight)
    y = [v for i in range(0, len(x), width) for v in norm(x[i : i + width], weight, 0 if PLANT == "no_eps" else case.prob["rms_norm_eps"])]
    longest = max(longest, len(x))
    if PLANT == "keeps_rows" and len(x) < longest:
        y[0] *= 1.5
    if PLANT == "nondet" and calls % 2:
        y[0] *= 1 + 2**-23
    shape = [width, len(x) // width] if PLANT == "shape" else case["x"].shape
    if PLANT == "missing":
        return {}
    if PLANT == "dtype":
        return {"y": ("bf16", shape, b"\0\0" * len(y))}
    return {"y": ("f32", shape, struct.pack(f"<{len(y)}f", *y))}


def numbers(tensor):
    kind = {"f32": "f", "i32": "i"}[tensor.dtype]
    return struct.unpack(f"<{len(tensor.data) // 4}{kind}", tensor.data)


def attend(q, rows, rank, scale):
    """o and lse of one query, in binary64."""
    scores = [scale * sum(a * b for a, b in zip(q, row)) for row in rows]
    if not scores:
        return [0.0] * rank, -math.inf
    most = max(scores)
    lse = most + math.log(sum(math.exp(s - most) for s in scores))
    return [sum(math.exp(s - lse) * row[c] for s, row in zip(scores, rows)) for c in range(rank)], lse


def mla_decode(case):
    global calls
    calls += 1
    if case.dtype("q") != "f32" or case.dtype("kv_cache") != "f32":
        raise dsv3_port.Unsupported("f32 only")
    p, q, cache, table, lengths = case.prob, *(numbers(case[n]) for n in ("q", "kv_cache", "block_table", "cache_seqlens"))
    rank, page, queries, heads = int(p["kv_lora_rank"]), int(p["page_size"]), int(p["s_q"]), int(p["num_attention_heads"])
    width, pages = rank + int(p["qk_rope_head_dim"]), case["block_table"].shape[1]
    o, lse = [], []
    for r in range(len(q) // width):
        b = r // (queries * heads)
        seen = max(0, lengths[b] - queries + r // heads % queries + 1)
        slots = [table[b * pages + j // page] * page + j % page for j in range(seen)]
        row, sum_of = attend(q[r * width : (r + 1) * width], [cache[s * width : (s + 1) * width] for s in slots], rank,
                             p["softmax_scale"])
        o += row
        lse.append(sum_of)
    if PLANT == "wrong_o":
        o[0] += 1
    shape = case["q"].shape[:-1]
    outputs = {"o": ("f32", shape + [rank], struct.pack(f"<{len(o)}f", *o)), "lse": ("f32", shape, struct.pack(f"<{len(lse)}f", *lse))}
    if PLANT == "half_lse":
        outputs["lse"] = ("f32", [1] + shape[1:], outputs["lse"][2][: 4 * queries * heads])
    if PLANT in ("no_lse", "undeclared", "wrong_o") or (PLANT == "second_lse" and calls % 2):
        del outputs["lse"]
    if PLANT == "no_o":
        del outputs["o"]
    return outputs, "" if PLANT == "undeclared" else "without lse"


if len(sys.argv) == 3:
    answer, _ = mla_decode(dsv3_port.Case(sys.argv[1]))
    dsv3_port.write_safetensors(sys.argv[2], {name: dsv3_port.Tensor(*tensor) for name, tensor in answer.items()})
    sys.exit(0)
if PLANT == "slow_start":
    time.sleep(2)
if PLANT == "fails_to_start":
    raise ImportError("no module named arithmetic")
if PLANT == "mute":
    time.sleep(1000)
if PLANT == "nul_hello":
    os.write(4, b'{"hello": {"protocol": 1, "name": "a\\u0000b", "ops": ["rmsnorm"]}}\n')
    time.sleep(1000)
if PLANT == "old_protocol":
    dsv3_port.PROTOCOL = 0
dsv3_port.serve("planted", {"rmsnorm": rmsnorm, "mla_decode": mla_decode})
