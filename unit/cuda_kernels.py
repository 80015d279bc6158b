#!/usr/bin/env python3
"""Judges CUDA kernels of somebody's own without a device, `--backend=cuda:FILE.cu`: the example port passes, and each mistake
planted in it is named in one sentence, with the right verdict.

BUILD: the build folder. Without nvcc all but the first test is skipped.

Last line: N passed, N failed, N skipped.
"""

import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

BUILD = os.environ.get("BUILD", "build")
EXAMPLE = "verify/ports/cuda/rmsnorm.cu"
PTX = EXAMPLE.replace(".cu", ".ptx")
CASE = "rmsnorm@odd:x=f32"
FREE = "    cudaFree(memory);\n"
SUM = "float sum = 0;"
THREAD = r"rmsnorm_kernel, block \(\d+, 0, 0\), thread \(\d+, 0, 0\): "

# What is changed in the example, and how often; the exit code; what is said.
MISTAKES = {
    "race": [
        ("        __syncthreads();\n        if (threadIdx.x < half) part", "        if (threadIdx.x < half) part"),
        1,
        [r" CRASH ", r"race\.cu:\d+: " + THREAD + r"(race: it reads what thread|it reads shared memory that nobody wrote)"],
    ],
    "past_the_end": [
        ("i < width; i += THREADS) sum", "i <= width; i += THREADS) sum"),
        1,
        [r" CRASH ", r"past_the_end\.cu:20: " + THREAD + r"read of 4 bytes outside every allocation"],
    ],
    "ignores_status": [
        ("return cudaGetLastError() == cudaSuccess ? DSV3_OK : DSV3_FAILED;", "y_of_nobody<<<1, 1>>>(nullptr);\n    return DSV3_OK;"),
        1,
        [r" CRASH ", r"ignores_status\.cu:\d+: y_of_nobody, .*write of 4 bytes outside every allocation"],
    ],
    "copies_too_much": [
        ("cudaMemcpy(dst, src, bytes, cudaMemcpyHostToDevice)", "cudaMemcpy(dst, src, bytes + 4096, cudaMemcpyHostToDevice)"),
        1,
        [r" CRASH ", r"host code writes \d+ bytes of device memory outside every allocation"],
    ],
    "wrong": [("part[0] / width", "part[threadIdx.x] / width"), 1, [r" FAIL\(proved\) "]],
    "no_table": [("dsv3_backend_get", "their_table"), 2, [r"exports no dsv3_backend_get: see include/dsv3\.h"]],
    "does_not_compile": [
        (SUM, "flaot sum = 0;"),
        2,
        [r'does_not_compile\.cu\(\d+\): error: identifier "flaot" is undefined', r"nvcc does not compile it"],
    ],
    "unknown_opcode": [
        (SUM, 'float sum = 0;\n    asm volatile("nanosleep.u32 20;");'),
        2,
        [r"unknown_opcode\.ptx:\d+: opcode nanosleep with type \.u32 isn't known"],
    ],
    "prints": [
        (SUM, SUM + '\n    if (eps < 0) printf("%f", eps);'),
        2,
        [r"prints\.ptx:\d+: it calls printf, which isn't known: leave it out"],
    ],
    "asserts": [
        (SUM, SUM + "\n    assert(threadIdx.x != 77);"),
        1,
        [r" CRASH ", r"asserts\.cu:\d+: " + THREAD + r"assertion failed: threadIdx.x != 77"],
    ],
    "unknown_call": [(FREE, FREE + "    cudaDeviceReset();\n"), 2, [r"it calls cudaDeviceReset: cuda/emu/runtime\.c has no"]],
}

# What is changed in the example's launch table; what is said.
TABLES = {
    "no_kernel": [("rmsnorm_kernel", "norm"), r"no_kernel\.launch:3: the PTX has no kernel norm"],
    "no_op": [("rmsnorm x=f32", "norm x=f32"), r"no_op\.launch:2: there is no op norm"],
    "no_field": [("hidden_size", "width"), r"no_field\.launch:3: rmsnorm has no 'width': what it has is in include/dsv3\.h"],
    "few": [(", rms_norm_eps", ""), r"few\.launch:3: rmsnorm_kernel takes 7 arguments, and 6 are given"],
    "no_block": [("n_tokens, 128", "n_tokens"), r"no_block\.launch:3: it is <<<grid, block>>>"],
    "no_format": [("x=f32", "x=f31"), r"no_format\.launch:2: 'x=f31': a format is f32, bf16, f8_e4m3 or i32"],
    "no_value": [("residual=0", "residual"), r"no_value\.launch:2: 'residual' is not NAME=VALUE"],
    "no_launch": [("<<<", "<<"), r"no_launch\.launch:3: it is neither kernel<<<grid, block>>>\(arguments\) nor numerics"],
    "no_row": [("rmsnorm x=f32 weights.weight=f32 residual=0\n", ""), r"no_row\.launch:2: a row begins with an op"],
    "not_c": [("hidden_size,", "hidden_size +,"), r"the C of .*not_c\.launch does not compile"],
}

counts = {"passed": 0, "failed": 0, "skipped": 0}


def judge(backend, case=CASE, **environment):
    """Exit code and everything that verify prints, its lines joined where it wraps them."""
    command = [f"{BUILD}/bin/verify", "run", case, f"--backend={backend}"]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ, **environment))
    return done.returncode, re.sub(r"\n {11}", " ", done.stdout + done.stderr)


def check(name, got, code, says):
    lacks = [s for s in says if not re.search(s, got[1])]
    good = got[0] == code and not lacks
    counts["passed" if good else "failed"] += 1
    if not good:
        print(f"{name}: exit code {got[0]}, right is {code}; it doesn't say {lacks}\n{got[1]}")


def plant(folder, name, change):
    with open(EXAMPLE) as f:
        text = f.read()
    if change[0] not in text:
        sys.exit(f"{name}: {EXAMPLE} has no {change[0]!r}")
    text = text.replace(*change)
    text = text.replace("static dsv3_status rmsnorm(", "__global__ void y_of_nobody(float *y)\n{\n    *y = 1;\n}\n\nstatic dsv3_status rmsnorm(")
    text = "#include <cassert>\n#include <cstdio>\n" + text if name in ("prints", "asserts") else text
    path = f"{folder}/{name}.cu"
    with open(path, "w") as f:
        f.write(text)
    return "cuda:" + path


def with_arrays(folder):
    """The example with an array in constant memory, which host code fills, and one of a thread."""
    with open(EXAMPLE) as f:
        text = f.read()
    text = text.replace("enum { THREADS", "__constant__ float scale[4];\n\nenum { THREADS")
    text = text.replace(SUM, SUM + "\n    float four[4] = {0, 0, 0, 0};\n    four[width & 3] = scale[width & 3];")
    text = text.replace("weight[i] *", "weight[i] * four[width & 3] *")
    text = text.replace("    rmsnorm_kernel<<<", "    float const ones[4] = {1, 1, 1, 1};\n    cudaMemcpyToSymbol(scale, ones, sizeof ones);\n"
                        "    rmsnorm_kernel<<<")
    with open(f"{folder}/arrays.cu", "w") as f:
        f.write(text)
    return f"cuda:{folder}/arrays.cu"


def with_function(folder):
    """The example with a function that isn't inlined, counts of a block, a stream, events and memory of the stream's."""
    with open(EXAMPLE) as f:
        text = f.read()
    text = text.replace("enum { THREADS", "__device__ __noinline__ float root_of(const float *sum, int64_t width, float eps)\n{\n"
                        "    return sqrtf(sum[0] / width + eps);\n}\n\nenum { THREADS")
    text = text.replace("sqrtf(part[0] / width + eps);", "root_of(part, width, eps) * (__syncthreads_count(threadIdx.x < 5) / 5);")
    text = text.replace("    rmsnorm_kernel<<<(unsigned)p->n_tokens, THREADS>>>", """    cudaStream_t stream;
    cudaEvent_t from, to;
    void *memory;
    float ms;
    cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaEventCreate(&from), cudaEventCreate(&to);
    cudaMallocAsync(&memory, 16, stream), cudaFreeAsync(memory, stream);
    cudaEventRecord(from, stream), cudaEventRecord(to, stream), cudaEventSynchronize(to), cudaEventElapsedTime(&ms, from, to);
    rmsnorm_kernel<<<(unsigned)p->n_tokens, THREADS, 0, stream>>>""")
    with open(f"{folder}/function.cu", "w") as f:
        f.write(text)
    return f"cuda:{folder}/function.cu"


def retable(folder, name, change, ptx=("", "")):
    with open(PTX) as f, open(PTX.replace(".ptx", ".launch")) as table:
        kernels, text = f.read(), table.read()
    if change[0] not in text or ptx[0] not in kernels:
        sys.exit(f"{name}: the example has no {change[0]!r} or no {ptx[0]!r}")
    with open(f"{folder}/{name}.ptx", "w") as f, open(f"{folder}/{name}.launch", "w") as table:
        f.write(kernels.replace(*ptx) if ptx[0] else kernels)
        table.write(text.replace(*change))
    return f"cuda:{folder}/{name}.ptx"


def check_tables(folder):
    """Without nvcc."""
    check("ptx", judge("cuda:" + PTX), 0, [r"rmsnorm\(sm_80 PTX on CPU\) PASS\(proved\)"])
    check("no table", judge("cuda:unit/cuda/kernels.ptx"), 2, [r"its launch table, unit/cuda/kernels\.launch, isn't there"])
    check("neither", judge("cuda:README.md"), 2, [r"cuda:README\.md: it is neither FILE\.cu nor FILE\.ptx"])
    check("no cache", judge("cuda:" + PTX, XDG_CACHE_HOME="/dev/null"), 2, [r"the folder /dev/null/dsv3/cuda can't be made: set"])
    check("no home", judge("cuda:" + PTX, XDG_CACHE_HOME="", HOME=""), 2, [r"set HOME or XDG_CACHE_HOME"])
    check("a quotation mark", judge(retable(folder, 'a"b', ("x=f32", "x=f32"))), 2, [r"a path with a quotation mark"])
    check("no order", judge("cuda:" + PTX, DSV3_CUDA_ORDER="sideways"), 2, [r"DSV3_CUDA_ORDER=sideways: it is up, down or"])
    check("no GPU", judge("cuda:" + PTX, DSV3_CUDA_GPU="volta"), 2, [r"DSV3_CUDA_GPU=volta: it is ampere, ada, hopper or"])
    check("no threads", judge("cuda:" + PTX, DSV3_CUDA_THREADS="0"), 2, [r"DSV3_CUDA_THREADS=0: it is a whole number from 1 to 64"])
    check("no count", judge("cuda:" + PTX, DSV3_CUDA_COUNT="/no/such/file"), 2, [r"DSV3_CUDA_COUNT=/no/such/file: it can't be written"])
    newer = retable(folder, "newer", ("x=f32", "x=f32"), (".target sm_80", ".target sm_90"))
    check("newer", judge(newer), 0, [r"\(sm_90 PTX on CPU\) PASS\(proved\)"])
    check("older GPU", judge(newer, DSV3_CUDA_GPU="ada"), 1, [r"DSV3_CUDA_GPU=ada: PTX of sm_90 needs hopper or newer"])
    for name, (change, says) in TABLES.items():
        check(name, judge(retable(folder, name, change)), 2, [says])
    weight = retable(folder, "no_weight", ("(x, weights.weight", "(x, weights.wait"))
    check("no weight", judge(weight), 1, [r" REJECTED ", r"the launch table wants weight wait, which this case has not"])
    wide = retable(folder, "wide", ("hidden_size,", "hidden_size + 1,"))
    check("wide", judge(wide), 1, [r" CRASH ", r"wide\.ptx:\d+: " + THREAD + "read of 4 bytes outside every allocation"])
    racing = retable(folder, "racing", ("<<<n_tokens, 128>>>", "<<<n_tokens, 128>>>"), ("bar.sync", "//"))
    check("racing", judge(racing), 1, [r" CRASH ", r"racing\.ptx:\d+: " + THREAD])


def use_cache(folder):
    """What is made here goes with the folder; an nvcc in the user's own cache is still found."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    cached = glob.glob(f"{cache}/dsv3/cuda/toolchain-*/bin/nvcc")
    if cached and "NVCC" not in os.environ and not shutil.which("nvcc"):
        os.environ["NVCC"] = cached[0]
    os.environ["XDG_CACHE_HOME"] = folder


def main(folder):
    use_cache(folder)
    check_tables(folder)
    check("no nvcc", judge("cuda:" + EXAMPLE, NVCC="/no/such/nvcc"), 3, [r"rmsnorm: nvcc is missing: .* name it by NVCC=, or try make cuda-toolchain"])
    example = judge("cuda:" + EXAMPLE)
    if "nvcc is missing" in example[1]:
        counts["skipped"] += 12 + len(MISTAKES)
        return
    check("example", example, 0, [r"rmsnorm\(sm_80 PTX on CPU\) PASS\(proved\)"])
    check("no file", judge("cuda:./no/such.cu"), 2, [r"cuda:\./no/such\.cu: there is no such file"])
    if os.path.exists(f"{BUILD}/ports/cuda_machine.so") and not os.path.exists("/dev/nvidiactl"):
        check("ours", judge("cuda"), 0, [r"cuda\(sm_80 PTX on CPU\) PASS\(proved\)"])
        for name, value in (("ORDER", "sideways"), ("GPU", "volta"), ("COUNT", "/no/such/file"), ("THREADS", "two")):
            says = rf"backend cuda can't be used: DSV3_CUDA_{name}={value}: it "
            check(f"ours, {name}={value}", judge("cuda", **{f"DSV3_CUDA_{name}": value}), 2, [says])
    else:
        counts["skipped"] += 5
    check("a name", judge(plant(folder, "it's a kernel", (SUM, SUM))), 0, [r"it's a kernel\(sm_80 PTX on CPU\) PASS"])
    check("arrays", judge(with_arrays(folder)), 0, [r"arrays\(sm_80 PTX on CPU\) PASS\(proved\)"])
    check("function", judge(with_function(folder)), 0, [r"function\(sm_80 PTX on CPU\) PASS\(proved\)"])
    check("vector add", judge("cuda:unit/cuda/add.cu", "rmsnorm@odd:x=f32,residual=1"), 0, [r"add\(sm_80 PTX on CPU\) PASS"])
    check("softmax", judge("cuda:unit/cuda/softmax.cu", "mla_prefill@odd:q=f32"), 0, [r"softmax\(sm_80 PTX on CPU\) PASS"])
    check("no PTX", judge("cuda:" + EXAMPLE, NVCC="true"), 2, [r"the compiler wrote no PTX or no object"])
    for name, (change, code, says) in MISTAKES.items():
        check(name, judge(plant(folder, name, change)), code, says)


with tempfile.TemporaryDirectory() as temporary:
    main(temporary)
print("{passed} passed, {failed} failed, {skipped} skipped".format(**counts))
sys.exit(counts["failed"] > 0)
