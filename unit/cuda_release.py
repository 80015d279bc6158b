#!/usr/bin/env python3
"""The committed PTX of our kernels (cuda/release.sh): it is what nvcc makes here, it is refused for other kernels, and without nvcc a
port of it is judged like any. What is the same for two processors is compiled once.

BUILD: the build folder; NVCC: the compiler, or nothing. Where the kernels changed since, that is said, and what needs them is skipped.

Last line: N passed, N failed, N skipped.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

BUILD = pathlib.Path(os.environ.get("BUILD", "build"))
NVCC = os.environ.get("NVCC") or shutil.which("nvcc")
DIFFERENT, NOT_COMPARED = 1, 77

counts = {"passed": 0, "failed": 0, "skipped": 0}


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def check(name, good, says):
    counts["passed" if good else "failed"] += 1
    if not good:
        print(f"{name}: {says}")


def skip(name, why):
    counts["skipped"] += 1
    print(f"{name}: skipped, {why.strip()}")


def compare_with_nvcc(folder):
    """With what nvcc made, and with the same, one constant changed."""
    if not NVCC or not (BUILD / "obj/cuda/wgmma/products.ptx").exists():
        return skip("compared with nvcc's", "nvcc made no PTX here: make cuda-release")
    code, says = run("cuda/release.sh", "--compare", BUILD, NVCC)
    if code == NOT_COMPARED:
        return skip("compared with nvcc's", says)
    check("compared with nvcc's", code == 0, says)
    other = folder / "build/obj/cuda"
    (other / "wgmma").mkdir(parents=True)
    for ptx in [*BUILD.glob("obj/cuda/*.compute_*.ptx"), BUILD / "obj/cuda/wgmma/products.ptx"]:
        shutil.copy(ptx, other / ptx.relative_to(BUILD / "obj/cuda"))
    changed = other / "rope.compute_90a.ptx"
    changed.write_text(changed.read_text().replace("add.s32", "sub.s32", 1))
    code, says = run("cuda/release.sh", "--compare", folder / "build", NVCC)
    check("an instruction changed", code == DIFFERENT and "rope.compute_90a.ptx" in says, says)


def refuse_other_kernels(folder):
    """A copy of the tree, one kernel changed."""
    shutil.copytree("cuda", folder / "cuda")
    shutil.copytree("include", folder / "include")
    with open(folder / "cuda/rope.cu", "a") as f:
        f.write("/* changed */\n")
    code, says = run(folder / "cuda/release.sh", "--check")
    check("kernels changed", code == 0 and says.startswith("the kernels changed since"), says)


def judge_without_nvcc(folder):
    """rmsnorm alone: the other ops are absent then."""
    lacks = run("cuda/release.sh", "--check")[1].strip()
    if lacks:
        return skip("judged without nvcc", lacks)
    parts = ("backend", "products", "rmsnorm")
    objects = [BUILD / f"obj/cuda/release/{part}{end}" for part in parts for end in (".o", ".compute_80.ptx.o")]
    machine = [BUILD / f"obj/cuda/emu/{m}.o" for m in "machine machine_blocks machine_memory machine_warp machine_wgmma counts tensor switch runtime fault port".split()]
    code, says = run("make", "-s", "NVCC=", f"B={BUILD}", *objects, *machine)
    check("built without nvcc", code == 0, says)
    port = folder / "rmsnorm.so"
    code, says = run("g++", "-shared", "-Wl,-Bsymbolic", *objects, *machine, "-o", port, "-lm")
    check("linked without nvcc", code == 0, says)
    code, says = run(BUILD / "bin/verify", "run", "rmsnorm@odd:x=f32", f"--backend={port}")
    check("judged without nvcc", code == 0 and " PASS(proved) " in says, says)


def compare_sm_89():
    """Its objects are copies of sm_80's, but for their names, of all kernels but products: nothing is compiled twice."""
    sm_89 = [f for kernels in ("obj/cuda", "obj/cuda/release") for f in sorted((BUILD / kernels).glob("*.compute_89.ptx.o"))]
    if not sm_89:
        return skip("sm_89's objects", "nobody made them")
    own = set()
    for name in sm_89:
        of_sm_80 = pathlib.Path(str(name).replace("compute_89", "compute_80")).read_bytes()
        renamed = of_sm_80.replace(b"compute_80", b"compute_89").replace(b"sm_80", b"sm_89")
        if name.read_bytes() != renamed:
            own.add(name.name.split(".")[0])
    check("sm_89's objects", own == {"products"}, f"sm_89 has objects of its own of {sorted(own)}, not of products alone")


with tempfile.TemporaryDirectory() as temporary:
    compare_with_nvcc(pathlib.Path(temporary))
    refuse_other_kernels(pathlib.Path(temporary))
    judge_without_nvcc(pathlib.Path(temporary))
compare_sm_89()
print("{passed} passed, {failed} failed, {skipped} skipped".format(**counts))
sys.exit(counts["failed"] > 0)
