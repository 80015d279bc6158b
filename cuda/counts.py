"""What the launches of a case ask of memory and of the processor, counted by the machine: docs/cuda.md, Bytes and instructions."""

import json
import os
import subprocess
import tempfile


def all_launches(build, cases, port, gpu="ampere", patience=3600):
    """The launches of cases, which verify runs twice each. ValueError: one wasn't judged right, or nothing was counted."""
    with tempfile.TemporaryDirectory() as folder:
        counts = os.path.join(folder, "counts.jsonl")
        command = [f"{build}/bin/verify", "run", *cases, "--proofs", f"--backend={port}", "--jobs=1", f"--timeout={patience}"]
        environment = dict(os.environ, DSV3_CUDA_COUNT=counts, DSV3_CUDA_GPU=gpu)
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode or not os.path.exists(counts):
            raise ValueError(f"{' '.join(cases)}: {(done.stdout + done.stderr).strip() or 'nothing was counted'}")
        with open(counts) as f:
            return [json.loads(line) for line in f]


def launches(build, case, port, gpu="ampere"):
    """The launches of one run of the case, in their order."""
    both = all_launches(build, [case], port, gpu)
    return both[: len(both) // 2]


def asked(launches_of_case, what="read"):
    """Of each size of allocation: bytes asked for, and how many different ones that is at most."""
    total = {}
    for launch in launches_of_case:
        for memory in launch["memory"]:
            bytes_asked, once = total.get(memory["bytes"], (0, 0))
            total[memory["bytes"]] = bytes_asked + memory[what], once + memory[what + "_once"]
    return total
