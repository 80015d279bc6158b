#!/usr/bin/env python3
"""bench train beside torch: the same start, windows and optimizer, gradients by autograd through a model written in bench/torch_train.py.

    unit/train.py

Six steps of each plan; a loss may differ by 1e-5 of itself, which is what six steps in binary32 leave room for. Without torch
every plan is skipped.

Last line: N passed, N failed, N skipped.
"""

import os
import subprocess
import sys
import tempfile

BUILD = os.path.realpath(os.environ.get("BUILD", "build"))
PYTHON = os.path.join(BUILD, "ports", "python")
BENCH = os.path.join(BUILD, "bin", "bench")
TEXT = "docs/numerics.md"
STEPS = "6"
SMALL = ["--steps=600", "--stop-at=" + STEPS, "--batch=2", "--length=16", "--windows=2", "--log-every=1",
         "--evaluate-every=600", "--learning-rate=0.003"]  # fmt: skip
PLANS = [
    ("portable", ["--modules=0", "--balance=aux", "--aux-loss-alpha=0.1"]),
    ("portable", ["--modules=2", "--balance=bias", "--bias-update-speed=0.01"]),
]


def trains_alike(backend, plan, folder):
    out = os.path.join(folder, "-".join(plan).replace("--", ""))
    ours = subprocess.run([BENCH, "train", f"--backend={backend}", f"--text={TEXT}", f"--out={out}", *SMALL, *plan],
                          capture_output=True, text=True)  # fmt: skip
    if ours.returncode:
        print(ours.stdout + ours.stderr)
        return False
    theirs = subprocess.run([PYTHON, "bench/torch_train.py", TEXT, out + "/log.jsonl", STEPS, "1e-5"],
                            capture_output=True, text=True)  # fmt: skip
    if theirs.returncode:
        print(backend, " ".join(plan))
        print(theirs.stdout + theirs.stderr)
    return theirs.returncode == 0


def main():
    has_torch = subprocess.run([PYTHON, "-c", "import torch"], capture_output=True) if os.path.exists(PYTHON) else None
    if not has_torch or has_torch.returncode:
        print(f"torch is not installed\n0 passed, 0 failed, {len(PLANS)} skipped")
        return 0
    with tempfile.TemporaryDirectory(prefix="dsv3-train-") as folder:
        good = [trains_alike(backend, plan, folder) for backend, plan in PLANS]
    print(f"{sum(good)} passed, {len(good) - sum(good)} failed, 0 skipped")
    return sum(good) < len(good)


sys.exit(main())
