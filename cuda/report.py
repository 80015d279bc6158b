#!/usr/bin/env python3
"""What can be said of the CUDA kernels without a device: make cuda-report, docs/cuda.md.

    cuda/report.py [--kernels-only] [--build=build]

Registers, spills and shared memory by ptxas for sm_90a; blocks of a multiprocessor by NVIDIA's cuda_occupancy.h; what the hot loop is
made of, by cuobjdump; then, for a few shapes of DeepSeek-V3, bytes and instructions counted by the machine, and the bounds that they
set on an H100 and an H200. All of it is an estimate: nothing ran on a GPU.

--kernels-only   without the shapes, which take ten minutes
--build=DIR      the build folder

Products by wgmma are among the kernels. Exit 1: a kernel spills; one with mma.sync has no HMMA, one with wgmma of BF16 no HGMMA, of
E4M3 no QGMMA; one of the matrix unit's is missing; E4M3 is unpacked by F2FP.
Exit 2: what it wants isn't there. Without cuobjdump and nvdisasm the part on instructions says "unsupported".
"""

import collections
import concurrent.futures
import glob
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile

from counts import all_launches, launches

HERE = os.path.dirname(os.path.abspath(__file__))
ESTIMATE = "ESTIMATE, upper bound, never run on a GPU"

# NVIDIA's data sheets of H100 SXM and H200 SXM: bytes a second. Both have 132 multiprocessors of 4 schedulers, each an instruction
# a cycle, and a matrix unit that takes 4 cycles for m16n8k16 of BF16 at the published peak.
BANDWIDTH = {"H100": 3.35e12, "H200": 4.8e12}
PROCESSORS, SCHEDULERS, CLOCK, MMA_CYCLES, SECTOR = 132, 4, 1.755e9, 4, 32

PTX = ".compute_90a.ptx"

WGMMA = "wgmma/products.ptx"

UNIT_KERNELS = ("unit_kernel<", "units::attend<")  # each must be there, and have HMMA

# What a product of the PTX must have become.
BECOMES = [
    ("mma.sync", r"\bmma\.sync", "HMMA"),
    ("wgmma of BF16", r"\bwgmma\.mma_async\S*\.bf16", "HGMMA"),
    ("wgmma of E4M3", r"\bwgmma\.mma_async\S*\.e4m3", "QGMMA"),
]

SHAPES = [
    ("mla_decode, 128 heads, 1024 keys", "mla_decode@v3:kv_len=1024"),
    ("mla_decode, 128 heads, 4096 keys", "mla_decode@v3:kv_len=4096"),
    ("a matrix of an expert, FP8, M = 16", "linear@v3:n_tokens=16,out_features=2048,weight=f8_e4m3"),
    ("linear 7168 x 2048, BF16, M = 1", "linear@v3:n_tokens=1,out_features=2048"),
    ("linear 7168 x 2048, BF16, M = 64", "linear@v3:n_tokens=64,out_features=2048"),
    ("linear 7168 x 2048, BF16, M = 512", "linear@v3:n_tokens=512,out_features=2048"),
]

# The first that matches is an instruction's class.
CLASSES = [
    ("HMMA", r"HMMA|[HQI]GMMA|QMMA"),
    ("LDSM", r"LDSM"),
    ("LDGSTS", r"LDGSTS(?!DEPBAR)"),
    ("global", r"(LD|ST|RED|ATOM)G?\."),
    ("shared", r"(LD|ST|ATOM)S\b"),
    ("local", r"(LD|ST)L\b"),
    ("float", r"F(FMA|ADD|MUL|MNMX|SETP|SEL)|D(FMA|ADD|MUL|SETP)|H(FMA2|ADD2|MUL2)|MUFU"),
    ("integer", r"U?(I|LOP|SHF|PRMT|MOV|SEL|LEA|BMSK|SGXT|POPC|FLO|BREV|R2UR|S2)|VIADD|VIMNMX|VOTE|PLOP|P2R|R2P|UP"),
]


def end(sentence):
    print(f"cuda-report: {sentence}", file=sys.stderr)
    sys.exit(2)


def run(command, **more):
    done = subprocess.run(command, capture_output=True, text=True, **more)
    if done.returncode:
        end(f"{os.path.basename(command[0])} failed: {(done.stderr or done.stdout).strip()[:500]}")
    return done.stdout + done.stderr


# ---- tools ----


def folders():
    """Where NVIDIA's tools may lie."""
    cache = os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache"))
    nvcc = os.environ.get("NVCC") or shutil.which("nvcc")
    beside = [os.path.dirname(os.path.realpath(nvcc))] if nvcc else []
    return beside + os.environ["PATH"].split(":") + glob.glob(f"{cache}/dsv3/cuda/toolchain-*/bin")


def tool(name):
    return shutil.which(name, path=":".join(folders()))


def header_folder():
    for folder in folders():
        include = os.path.join(folder, "..", "include")
        if os.path.exists(os.path.join(include, "cuda_occupancy.h")):
            return include
    end("cuda_occupancy.h isn't beside nvcc: try make cuda-toolchain")


# ---- kernels ----


def short_names(mangled):
    """unit_kernel<16, unsigned char>: no arguments, no namespaces of a file, no types that follow from others."""
    names = run(["c++filt"], input="\n".join(mangled)).split("\n") if shutil.which("c++filt") else mangled
    short = {}
    for full, name in zip(mangled, names):
        name = re.sub(r"^void ", "", name.replace("(anonymous namespace)::", ""))
        name = re.sub(r"\(int\)|\(bool\)", "", re.sub(r"\(.*\)$", "", name.replace("(int)", "").replace("(bool)", "")))
        short[full] = name.replace("__nv_bfloat16", "bf16").replace("unsigned char", "u8").replace("> >", ">>")
    return short


def entries_of(ptx):
    """Of each kernel of a file: what it has of BECOMES, and how many threads its blocks may have (None: it isn't said)."""
    with open(ptx) as f:
        text = f.read()
    for part in re.split(r"\.entry\s+", text)[1:]:
        threads = re.search(r"\.maxntid (\d+)(?:, (\d+))?(?:, (\d+))?", part.split("{", 1)[0])
        yield (
            re.match(r"\w+", part)[0],
            [what for what, pattern, _ in BECOMES if re.search(pattern, part)],
            math.prod(int(n or 1) for n in threads.groups()) if threads else None,
        )


def resources_of(said):
    """What ptxas says of each kernel."""
    for part in re.split(r"Compiling entry function '", said)[1:]:
        number = lambda pattern: int((re.search(pattern, part) or [0, 0])[1])
        yield part.split("'")[0], {
            "registers": number(r"Used (\d+) registers"),
            "stack": number(r"(\d+) bytes stack frame"),
            "spills": number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads"),
            "shared": number(r"(\d+) bytes smem"),
        }


def assemble(ptxas, ptx, cubin):
    file = "products, wgmma" if ptx.endswith(WGMMA) else os.path.basename(ptx)[: -len(PTX)]
    kernels = {name: {"file": file, "unit": unit, "threads": threads} for name, unit, threads in entries_of(ptx)}
    if kernels:
        for name, resources in resources_of(run([ptxas, "-v", "-arch=sm_90a", ptx, "-o", cubin])):
            kernels[name].update(resources)
    return kernels


# ---- instructions ----


def class_of(opcode):
    return next((name for name, pattern in CLASSES if re.match(pattern, opcode)), "other")


def instructions_of(listing):
    """Of each kernel: address, opcode, operands of each instruction."""
    for part in listing.split("Function : ")[1:]:
        found = re.findall(r"/\*([0-9a-f]{4,6})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)([^;]*);", part)
        yield part.split()[0], [(int(at, 16), opcode, rest) for at, opcode, rest in found if opcode != "NOP"]


def hot_loop(code):
    """The smallest loop with most of the matrix unit's instructions; without one the longest innermost loop; else all."""
    spans = []
    for at, opcode, rest in code:
        to = re.search(r"0x([0-9a-f]+)", rest) if opcode.startswith("BRA") else None
        if to and int(to[1], 16) < at:
            spans.append([i for i in code if int(to[1], 16) <= i[0] <= at])
    products = lambda loop: sum(class_of(i[1]) == "HMMA" for i in loop)
    if any(map(products, spans)):
        return min(spans, key=lambda loop: (-products(loop), len(loop)))
    inner = [s for s in spans if not any(o is not s and s[0][0] <= o[0][0] and o[-1][0] <= s[-1][0] for o in spans)]
    return max(inner, key=len, default=code)


def disassemble(cubin, kernels):
    tools = tool("cuobjdump"), tool("nvdisasm")
    if not all(tools):
        return False
    path = os.path.dirname(tools[1]) + ":" + os.environ["PATH"]
    for name, code in instructions_of(run([tools[0], "-sass", cubin], env=dict(os.environ, PATH=path))):
        kernels[name]["became"] = {o.split(".")[0] for _, o, _ in code if class_of(o) == "HMMA"}
        kernels[name]["unpacks"] = sum(bool(re.match(r"F2FP.*(E4M3|E5M2)", o)) for _, o, _ in code)
        kernels[name]["loop"] = collections.Counter(class_of(o) for _, o, _ in hot_loop(code))
    return True


# ---- occupancy ----


def add_occupancy(kernels, folder):
    program = os.path.join(folder, "occupancy")
    run([os.environ.get("CXX", "g++"), "-O1", "-w", "-I", header_folder(), os.path.join(HERE, "occupancy.cpp"), "-o", program])
    known = [k for k in kernels.values() if k["threads"]]
    lines = [f"{k['registers']} {k['shared']} {k.get('dynamic', 0)} {k['threads']}\n" for k in known]
    for k, line in zip(known, run([program], input="".join(lines)).splitlines()):
        blocks, k["limit"] = line.split()
        k["blocks"] = int(blocks)


# ---- what is printed ----


def print_kernels(kernels):
    print("Kernels, sm_90a, ptxas. dynamic: shared memory at the shapes below; threads ?: no launch here has it.")
    print("blocks and warps of a multiprocessor, which has 64 warps: cuda_occupancy.h, and what limits them\n")
    print(f"{'file':22}{'regs':>5}{'spills':>7}{'stack':>6}{'static':>7}{'dynamic':>8}{'threads':>8}{'blocks':>7}{'warps':>6} {'limit':10}kernel")
    for k in kernels.values():
        warps = k["blocks"] * -(-k["threads"] // 32) if k["threads"] else "?"
        print(
            f"{k['file']:22}{k['registers']:5}{k['spills']:7}{k['stack']:6}{k['shared']:7}{k.get('dynamic', 0):8}"
            f"{k['threads'] or '?':>8}{k.get('blocks', '?'):>7}{warps:>6} {k.get('limit', '?'):10}{k['name']}"
        )


def print_loops(kernels):
    names = [name for name, _ in CLASSES] + ["other"]
    print("\nInstructions of the hot loop, sm_90a: the smallest with most HMMA, else the longest innermost one, else all of the kernel")
    print("global, shared, local: loads and stores. /HMMA: instructions for each of the matrix unit's\n")
    print(f"{'file':22}" + "".join(f"{n:>8}" for n in names) + f"{'all':>7}{'/HMMA':>7} kernel")
    for k in kernels.values():
        loop, total = k["loop"], sum(k["loop"].values())
        each = f"{total / loop['HMMA']:.1f}" if loop["HMMA"] else "-"
        print(f"{k['file']:22}" + "".join(f"{loop[n] or '-':>8}" for n in names) + f"{total:7}{each:>7} {k['name']}")


def bounds_of(launch):
    """Seconds that a launch takes at least: by bytes, each once, of each GPU; by instructions; by the matrix unit."""
    blocks, warps = math.prod(launch["grid"]), -(-math.prod(launch["block"]) // 32)
    turns = -(-blocks // PROCESSORS)  # blocks of the multiprocessor that has most
    schedulers = min(SCHEDULERS, turns * warps)
    once = sum(m["read_once"] + m["written_once"] for m in launch["memory"])
    cycles = lambda n: n / blocks * turns / schedulers / CLOCK
    return {gpu: once / rate for gpu, rate in BANDWIDTH.items()}, cycles(launch["issued"]), cycles(launch["mma"] * MMA_CYCLES)


def print_launch(launch, name):
    memory, issue, unit = bounds_of(launch)
    once = sum(m["read_once"] + m["written_once"] for m in launch["memory"])
    asked = (launch["sectors_read"] + launch["sectors_written"]) * SECTOR
    micro = lambda seconds: f"{seconds * 1e6:9.1f}"
    print(
        f"{math.prod(launch['grid']):8}{once / 1e6:9.2f}{asked / 1e6:9.2f}{launch['issued'] / 1e6:9.2f}{launch['mma'] / 1e3:9.1f}"
        + micro(memory["H100"]) + micro(memory["H200"]) + micro(issue) + micro(unit) + f"  {name}"
    )  # fmt: skip
    return {gpu: max(seconds, issue, unit) for gpu, seconds in memory.items()}


def print_shape(title, counted, names):
    print(f"\n{title}")
    print(f"{'blocks':>8}{'MB once':>9}{'MB asked':>9}{'M instr':>9}{'k mma':>9}{'us H100':>9}{'us H200':>9}{'us issue':>9}{'us mma':>9}")
    total = collections.Counter()
    for launch in counted:
        total.update(print_launch(launch, names.get(launch["kernel"], launch["kernel"])))
    print(f"  {ESTIMATE}: H100 {total['H100'] * 1e6:.1f} us, H200 {total['H200'] * 1e6:.1f} us at least")


def print_shapes(shapes, names):
    print(f"\nShapes of V3, sm_90a PTX on the machine with hopper's units. {ESTIMATE}")
    print("MB once: different bytes of global memory. MB asked: sectors of 32 bytes that warps ask for. M instr: PTX instructions of warps,")
    print("which ptxas makes fewer or more of. us: of bytes once at 3.35 (H100 SXM) and 4.8 TB/s (H200 SXM); of instructions and of the matrix")
    print("unit on the multiprocessor that has most blocks (132 of 4 schedulers, 1.755 GHz). The largest bounds a launch; launches add up.")
    for title, counted in shapes:
        print_shape(title, counted, names)


# ---- what must hold ----


def complaints_of(kernels, disassembled):
    for k in kernels.values():
        if k["spills"] or k["stack"]:
            yield f"{k['file']}: {k['name']} spills {k['spills']} bytes, its stack has {k['stack']}"
        for what, _, wanted in BECOMES:
            if disassembled and what in k["unit"] and wanted not in k["became"]:
                yield f"{k['file']}: {k['name']} has no {wanted}: its {what} became something else"
        if disassembled and k["unpacks"]:
            yield f"{k['file']}: {k['name']} unpacks E4M3 by F2FP: {k['unpacks']} instructions that the matrix unit waits for"
    for name in UNIT_KERNELS:
        if not any(k["name"].startswith(name) and k["unit"] for k in kernels.values()):
            yield f"no kernel {name}...> has a product by the matrix unit"
    for what, _, _ in BECOMES:
        if not any(what in k["unit"] for k in kernels.values()):
            yield f"no kernel has {what}"


def print_complaints(complaints, kernels, disassembled):
    unit = sum(bool(k["unit"]) for k in kernels.values())
    print(f"\n{len(kernels)} kernels, {unit} with the matrix unit")
    if not disassembled:
        print("instructions: unsupported, cuobjdump and nvdisasm aren't here: try make cuda-toolchain")
    for complaint in complaints:
        print(f"WRONG: {complaint}")
    if not complaints:
        print("no spills" + ("; " + ", ".join(f"{wanted} for {what}" for what, _, wanted in BECOMES) + "; no F2FP of E4M3" if disassembled else ""))


# ---- all ----


def count_shapes(build):
    """Launches of each shape, and of a small case of each op, which tell threads of a block."""
    port = f"{build}/ports/cuda_machine_sm_90a.so"
    for path in (port, f"{build}/bin/verify"):
        if not os.path.exists(path):
            end(f"{path} isn't there: make cuda-report builds it")
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        counting = [pool.submit(launches, build, case, port, "hopper") for _, case in reversed(SHAPES)]  # the longest first
        small = pool.submit(all_launches, build, ["*@odd"], port, "hopper")
        try:
            return [(title, c.result()) for (title, _), c in zip(SHAPES, reversed(counting))], small.result()
        except ValueError as e:
            end(str(e))


def add_launch(kernels, launch, of_shape):
    k = kernels[launch["kernel"]]
    k["threads"] = math.prod(launch["block"])
    if of_shape:
        k["dynamic"] = max(k.get("dynamic", 0), launch["dynamic"])


def options(arguments):
    if "--help" in arguments or "-h" in arguments:
        print(__doc__.strip())
        sys.exit(0)
    build, kernels_only = "build", False
    for a in arguments:
        if a == "--kernels-only":
            kernels_only = True
        elif a.startswith("--build="):
            build = a[len("--build=") :].rstrip("/")
        else:
            end(f"{a} isn't known: --kernels-only, --build=DIR and --help are")
    return build, kernels_only


def read_kernels(build, folder):
    """All kernels, by their names in the PTX; and whether there are tools that list instructions."""
    ptxas = tool("ptxas") or end("ptxas isn't here: install NVIDIA's CUDA toolkit, or try make cuda-toolchain")
    files = sorted(glob.glob(f"{build}/obj/cuda/*{PTX}")) + glob.glob(f"{build}/obj/cuda/{WGMMA}")
    kernels, disassembled, cubin = {}, True, os.path.join(folder, "one.cubin")
    for ptx in files:
        of_file = assemble(ptxas, ptx, cubin)
        if of_file:
            disassembled &= disassemble(cubin, of_file)
        for mangled, name in short_names(list(of_file)).items():
            of_file[mangled]["name"] = name
        kernels.update({(WGMMA if ptx.endswith(WGMMA) else "") + mangled: k for mangled, k in of_file.items()})
    if not kernels:
        end(f"{build}/obj/cuda has no PTX: make cuda-report builds it")
    return kernels, disassembled


def main():
    build, kernels_only = options(sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        kernels, disassembled = read_kernels(build, folder)
        shapes, small = ([], []) if kernels_only else count_shapes(build)
        for launch in small:
            add_launch(kernels, launch, False)
        for launch in (launch for _, counted in shapes for launch in counted):
            add_launch(kernels, launch, True)
        add_occupancy(kernels, folder)
    print_kernels(kernels)
    if disassembled:
        print_loops(kernels)
    if shapes:
        print_shapes(shapes, {mangled: k["name"] for mangled, k in kernels.items()})
    complaints = list(complaints_of(kernels, disassembled))
    print_complaints(complaints, kernels, disassembled)
    return 1 if complaints else 0


sys.exit(main())
