#!/usr/bin/env python3
"""verify model --stages beyond transformers: engines that run here, and recordings with other engines' names.

    unit/other_engines.py [mlx]

mlx   mlx-lm on mlx's CPU backend: its two faults are found and named, and with them mended no stage is accused

Without torch and transformers (make transformers-port) all of it is skipped, mlx without make mlx-engine too. Last line: N passed,
N failed, N skipped.
"""

import os
import re
import shutil
import struct
import subprocess
import sys

from engines import FOLDER, HERE, PYTHON, TOKENS, check, checkpoint, count, names_in, read, totals, verify, write

# ---- mlx-lm ----


def shifted():
    """A checkpoint whose biases are all 2 less: that changes no choice, and no score of an expert is positive."""
    folder = os.path.join(FOLDER, "shifted")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(checkpoint("odd-f32"), folder)
    path = os.path.join(folder, "model.safetensors")
    tensors = read(path)
    for name, (dtype, shape, data) in tensors.items():
        if name.endswith("e_score_correction_bias"):
            values = struct.unpack(f"<{shape[0]}f", data)
            tensors[name] = dtype, shape, struct.pack(f"<{shape[0]}f", *[v - 2 for v in values])
    write(path, tensors)
    return folder


def of_mlx(folder, name):
    command = [PYTHON, os.path.join(HERE, "record_mlx.py"), folder, FOLDER, TOKENS, name]
    run = subprocess.run(command, capture_output=True, text=True)
    check(run.returncode == 0, f"mlx-lm, {name}: {run.stderr[-300:]}")
    return verify(folder, f"--stages={os.path.join(FOLDER, name)}.safetensors", "--map=mlx", "--diagnose")


def first_outside(run):
    at = re.search("first stage outside: (.*)", run.stdout)
    return at and at[1]


def mlx():
    if subprocess.run([PYTHON, "-c", "import mlx_lm.models.deepseek_v3"], capture_output=True).returncode:
        print("skipped: no mlx-lm here (make mlx-engine)")
        count["skipped"] += 1
        return
    folder = shifted()
    run = of_mlx(folder, "right")
    check(run.returncode == 0 and totals(run) == (34, 0, 0), f"mlx-lm, mended: {names_in(run)[-400:]} {run.stderr}")
    run = of_mlx(folder, "rope")
    check(first_outside(run) == "model.layers.1.mlp, topk_idx" and "G3_masked_to_zero explains all" in names_in(run),
          f"mlx-lm, groups masked with 0: {first_outside(run)} {names_in(run)[:1500]}")  # fmt: skip
    run = of_mlx(checkpoint("odd-f32"), "released")
    check(first_outside(run) == "model.layers.0.self_attn, q" and totals(run) == (30, 4, 0) and "R6_no_mscale" in names_in(run),
          f"mlx-lm, rope_parameters dropped: {first_outside(run)} {totals(run)}")  # fmt: skip


def main():
    chapters = {"mlx": mlx}
    names = sys.argv[1:] or list(chapters)
    if set(names) - set(chapters):
        sys.exit(f"other_engines.py: the parts are {', '.join(chapters)}")
    os.makedirs(FOLDER, exist_ok=True)
    if not os.path.exists(PYTHON):
        print("skipped: no transformers here (make transformers-port)")
        count["skipped"] = len(names)
        names = []
    for name in names:
        chapters[name]()
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**count))
    sys.exit(count["failed"] > 0)


main()
