#!/usr/bin/env python3
"""What the CUDA machine and the kernels take for granted, beside NVIDIA's own headers: number formats, and the frozen table of layouts.

cuda_witness.py [--all]: with --all every number of binary32 is rounded. BUILD: the build folder, whose cuda/formats and cuda/layouts
the Makefile makes where it finds the headers; what is missing is skipped. VERBOSE: each comparison is a line.

Last line: N passed, N failed, N skipped.
"""

import os
import re
import subprocess
import sys

BUILD = os.environ.get("BUILD", "build")
FROZEN = "unit/cuda/layouts.txt"
NO_NVCC = "nvcc, beside which NVIDIA's headers lie, is missing"
NO_CUTE = "CuTe's headers are not in the cache, make cuda-witness gets them"
FORMATS = 17  # lines that cuda/formats prints, each one conversion

counts = {"passed": 0, "failed": 0, "skipped": 0}


def run(command, absent, tests):
    """What a program prints and its exit code; None where it is not there, which are so many tests skipped."""
    if not os.path.exists(command[0]):
        counts["skipped"] += tests
        print(f"SKIP {os.path.basename(command[0])}: {absent}")
        return None
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout, done.returncode, done.stderr


def check(good, says):
    counts["passed" if good else "failed"] += 1
    if not good or os.environ.get("VERBOSE"):
        print(says)


def check_formats():
    got = run([f"{BUILD}/cuda/formats"] + sys.argv[1:], NO_NVCC, FORMATS + 1)
    if not got:
        return
    lines = got[0].splitlines()
    for line in lines:
        check(re.search(r": [1-9]\d* (floats|doubles|codes), 0 differ$", line), line)
    check(len(lines) == FORMATS and got[1] == 0, f"formats: {len(lines)} of {FORMATS} conversions, exit code {got[1]} {got[2]}")


def check_layouts():
    got = run([f"{BUILD}/cuda/layouts"], NO_CUTE, 1)
    if not got:
        return
    with open(FROZEN) as f:
        frozen, fresh = f.read().splitlines(), got[0].splitlines()
    apart = [n for n in range(max(len(frozen), len(fresh))) if frozen[n:n + 1] != fresh[n:n + 1]]
    says = f"layouts: {len(fresh)} lines of CuTe's, {len(apart)} differ from {FROZEN}"
    if apart:
        n = apart[0]
        says += f", the first is line {n + 1}: {''.join(fresh[n:n + 1])!r}, frozen is {''.join(frozen[n:n + 1])!r}"
    check(not apart and got[1] == 0, says)


if sys.argv[1:] not in ([], ["--all"]):
    sys.exit(f"cuda_witness.py: {sys.argv[1]!r}: the only option is --all")
check_formats()
check_layouts()
print("{passed} passed, {failed} failed, {skipped} skipped".format(**counts))
sys.exit(counts["failed"] > 0)
