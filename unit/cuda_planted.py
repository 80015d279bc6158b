#!/usr/bin/env python3
"""Mistakes planted in our CUDA kernels that only values show: each is compiled, run by the machine, and fails the cases that see it.

BUILD: the build folder; OBJECTS: what cuda_machine.so is linked from; NVCC: the compiler. Without that port and nvcc all is skipped.

Last line: N passed, N failed, N skipped.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

BUILD = pathlib.Path(os.environ.get("BUILD", "build"))
NVCC = os.environ.get("NVCC") or shutil.which("nvcc")
OBJECTS = os.environ.get("OBJECTS", "").split()
DECODE = "mla_decode@v3:num_attention_heads=16,kv_len=600,batch=1,s_q=1"

# A mistake: the file, its text, what stands there instead; the kernels that are compiled; a case that it fails.
MISTAKES = {
    "rows of the cache are 512 wide": ("mla_decode.cu", "s.row_stride = io->kv_cache.stride[1]", "s.row_stride = p->kv_lora_rank", "mla_decode", DECODE),
    "sums aren't moved to a new maximum": (
        "attention.cuh",
        "__fmaf_rn(sum.o[2 * j + i][e], factor[e / 2], more[i][e])",
        "__fadd_rn(sum.o[2 * j + i][e], more[i][e])",
        "mla_decode",
        DECODE,
    ),
    "weights aren't summed again at a new maximum": (
        "attention.cuh",
        "__fmaf_rn(d.sum[row], factor, __fadd_rn",
        "__fadd_rn(d.sum[row], __fadd_rn",
        "mla_decode",
        DECODE,
    ),
    "scales are those of the first block of columns": (
        "product.cuh",
        "/ BLOCK * p.scale_stride + block]",
        "/ BLOCK * p.scale_stride + 0 * block]",
        "products",
        "linear@v3:n_tokens=16,in_features=512,out_features=256,weight=f8_e4m3",
    ),
    "scales of x are those of the first block of columns": (
        "product.cuh",
        "row * p.x_scale_stride + block",
        "row * p.x_scale_stride + 0 * block",
        "products",
        "linear@v3:n_tokens=16,in_features=512,out_features=256,x=f8_e4m3",
    ),
    "scales of x are those of the next row": (
        "product.cuh",
        "t < p.x.rows ? t : p.x.rows - 1",
        "t + 1 < p.x.rows ? t + 1 : p.x.rows - 1",
        "products",
        "linear@v3:n_tokens=16,in_features=512,out_features=256,x=f8_e4m3",
    ),
    "scales are those of the first block of a row's 128": (
        "mla_decode.cu",
        "row[rank + c / 128 * 4 + i]",
        "row[rank + i]",
        "mla_decode",
        DECODE + ",kv_cache=u8",
    ),
}


def call(*command):
    subprocess.run([str(c) for c in command], check=True)


def compiled(folder, kernels):
    """The object for a device and its PTX as C, compiled: in place of ours."""
    call(NVCC, "-O2", "-std=c++17", "-fmad=false", "-Iinclude", "-Xcompiler", "-fPIC", "-keep", "-keep-dir", folder,
         "-gencode=arch=compute_80,code=compute_80", "-c", folder / "cuda" / f"{kernels}.cu", "-o", folder / "host.o")  # fmt: skip
    with open(folder / "kernels.c", "w") as out:
        subprocess.run([BUILD / "bin/ptx2c", folder / f"{kernels}.ptx"], check=True, stdout=out)
    call(*os.environ.get("CC", "gcc").split(), "-std=c11", "-O0", "-w", "-D_GNU_SOURCE", "-ffp-contract=off", "-fPIC", "-Iinclude",
         "-Icuda/emu", "-c", folder / "kernels.c", "-o", folder / "kernels.o")  # fmt: skip
    ours = {str(BUILD / f"obj/cuda/{kernels}{end}") for end in (".o", ".compute_80.ptx.o")}
    return [folder / "host.o", folder / "kernels.o", *(o for o in OBJECTS if o not in ours)]


def verdict(port, case):
    command = [BUILD / "bin/verify", "run", case, f"--backend={port}", "--format=jsonl"]
    lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    return next(r["verdict"] for r in map(json.loads, lines) if "verdict" in r)


def judged(folder, file, text, instead, kernels, case):
    shutil.copytree("cuda", folder / "cuda")
    source = folder / "cuda" / file
    before = source.read_text()
    if before.count(text) != 1:
        return f"{file} has '{text}' {before.count(text)} times"
    source.write_text(before.replace(text, instead))
    port = folder / "planted.so"
    call(*os.environ.get("CXX", "g++").split(), "-shared", "-Wl,-Bsymbolic", *compiled(folder, kernels), "-o", port, "-lm")
    return verdict(port, case)


def main():
    if not NVCC or not OBJECTS or not (BUILD / "ports/cuda_machine.so").exists():
        print(f"0 passed, 0 failed, {len(MISTAKES)} skipped")
        return 0
    failed = 0
    honest = {case: verdict(BUILD / "ports/cuda_machine.so", case) for case in {m[-1] for m in MISTAKES.values()}}
    for name, mistake in MISTAKES.items():
        with tempfile.TemporaryDirectory() as folder:
            said = judged(pathlib.Path(folder), *mistake)
        if (honest[mistake[-1]], said) != ("PASS", "FAIL"):
            failed += 1
            print(f"{name}: {mistake[-1]}: {said}, and {honest[mistake[-1]]} without it")
    print(f"{len(MISTAKES) - failed} passed, {failed} failed, 0 skipped")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
