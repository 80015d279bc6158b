#!/usr/bin/env python3
"""F16 in checkpoints and recordings.

    unit/f16.py

A checkpoint in F16 has the truth of one in F32 with the same numbers, bit by bit; a port isn't given it. Recordings in F16: what is made of them
is judged, they themselves aren't, neither as F16 nor widened to F32; logits and weights in F16 are read. Last line: N passed, N failed, N skipped.
"""

import os
import shutil
import struct

from engines import FOLDER, check, checkpoint, names_in, read, record_own, run_chapters, totals, verify, write


def halved(tensor):
    dtype, shape, data = tensor
    values = struct.unpack(f"<{len(data) // 4}f", data)
    return "F16", shape, struct.pack(f"<{len(values)}e", *values)


def widened(tensor):
    _, shape, data = tensor
    values = struct.unpack(f"<{len(data) // 2}e", data)
    return "F32", shape, struct.pack(f"<{len(values)}f", *values)


def folder(name, weights):
    path = os.path.join(FOLDER, "checkpoints", name)
    os.makedirs(path, exist_ok=True)
    shutil.copy(os.path.join(checkpoint("odd-f32"), "config.json"), path)
    write(os.path.join(path, "model.safetensors"), weights)
    return path


def truth(path):
    dump = path + ".truth.safetensors"
    run = verify(path, "--tokens=3,1,4,1", f"--dump={dump}")
    check(run.returncode == 0, f"{path}: {run.stderr}")
    return read(dump)


def checkpoints():
    weights = read(os.path.join(checkpoint("odd-f32"), "model.safetensors"))
    half = {name: t if name.endswith("e_score_correction_bias") else halved(t) for name, t in weights.items()}
    short = folder("odd-f16", half)
    wide = folder("odd-wide", {name: widened(t) if t[0] == "F16" else t for name, t in half.items()})
    one, other = truth(short), truth(wide)
    check(one == other and len(one) > 100, "truth of F16 weights isn't that of the same in F32")
    run = verify(short, "--tokens=3,1,4", "--backend=plain")
    check(run.returncode == 2 and "F16" in run.stderr and len(run.stderr.splitlines()) == 1, f"a port: {run.returncode} {run.stderr}")
    run = verify(wide, f"--weights={short}")
    check(run.returncode == 0 and "equal, in F16" in run.stdout and "0 different" in run.stdout, f"weights: {run.stdout}{run.stderr}")
    run = verify(checkpoint("odd-f32"), f"--weights={short}")
    check(run.returncode == 0 and "0 different" in run.stdout, f"weights that were rounded: {run.stdout}{run.stderr}")
    run = verify(short, f"--weights={checkpoint('odd-f32')}")
    check(run.returncode == 1, f"F32 that isn't F16: {run.stdout[-300:]}{run.stderr}")
    nan = dict(half)
    nan["lm_head.weight"] = "F16", nan["lm_head.weight"][1], b"\x00\x7c" + nan["lm_head.weight"][2][2:]
    run = verify(folder("odd-inf", nan), "--tokens=3,1")
    check(run.returncode == 2 and "lm_head.weight, row 0, column 0 is inf" in run.stderr, f"an infinity: {run.stdout[-200:]}{run.stderr}")


def recordings():
    whole = read(record_own("odd-f32", "plain", "3,1,4"))
    for what, change in (("F16", halved), ("widened F16", lambda t: widened(halved(t)))):
        every = {name: change(t) if t[0] == "F32" else t for name, t in whole.items()}
        run = verify(checkpoint("odd-f32"), "--stages=" + write(os.path.join(FOLDER, "half.safetensors"), every))
        got = totals(run)
        good = got and got[1] == 0 and got[2] > 90 and "is F16, and results in F16 aren't judged" in names_in(run)
        check(good, f"all in {what}: {got} {names_in(run)[-300:]} {run.stderr}")
        rounded = {"model.norm.output": change(whole["model.norm.output"]), "input_ids": whole["input_ids"]}
        other = widened(halved(whole["model.norm.output"]))
        rounded["logits"] = whole["logits"]
        run = verify(checkpoint("odd-f32"), "--stages=" + write(os.path.join(FOLDER, "half.safetensors"), rounded))
        words = "FAIL(proved)" if other[2] != whole["model.norm.output"][2] else "PASS"
        check(words in run.stdout and totals(run)[:2] == (0, 1), f"logits of a state in {what}: {names_in(run)[-500:]}")
    run = verify(checkpoint("odd-f32"), "--band=8", "--logits=" + write(os.path.join(FOLDER, "half.safetensors"),
                 {"logits": halved(whole["logits"])}), "--tokens=3,1,4")  # fmt: skip
    check(run.returncode == 1 and "rejects: divergence, half" in run.stdout, f"logits of an F32 model, rounded to F16: {run.stdout}{run.stderr}")


def numbers():
    checkpoints()
    recordings()


run_chapters({"numbers": numbers})
