"""A program as a port, with one planted fault chosen by the environment variable PLANT. rmsnorm in f32, pure Python."""

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


if PLANT == "slow_start":
    time.sleep(2)
if PLANT == "fails_to_start":
    raise ImportError("no module named arithmetic")
if PLANT == "mute":
    time.sleep(1000)
if PLANT == "old_protocol":
    dsv3_port.PROTOCOL = 0
dsv3_port.serve("planted", {"rmsnorm": rmsnorm})
