#!/usr/bin/env python3
"""The tools of unit/cuda, cuda_coverage.py and cuda_mutants.py, on one kernel whose PTX is in this repository: which lines run,
what becomes of an instruction, which mutants are killed.

BUILD: the build folder. Needs no nvcc.

Last line: N passed, N failed, N skipped.
"""

import contextlib
import io
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "cuda"))

import cuda_coverage
import cuda_lines
import cuda_mutants
import cuda_operators

BUILD = pathlib.Path(os.environ.get("BUILD", "build"))
PTX = pathlib.Path("verify/ports/cuda/rmsnorm.ptx")
EMU = BUILD / "ports/cuda"  # what cuda:FILE.ptx is made with
NARROW = "rmsnorm@odd:x=f32,hidden_size=1,n_tokens=1"
WIDE = "rmsnorm@odd:x=f32,hidden_size=512,n_tokens=1"
LOOP_BY_ONE, LOOP_BY_FOUR = "ld.global.f32 %f14, [%rd87];", "ld.global.f32 %f15, [%rd90+-1024];"
AGAIN_BY_ONE, AGAIN_BY_FOUR = "@%p3 bra $L__BB0_3;", "@%p5 bra $L__BB0_6;"

# An instruction, and what each operator that applies makes of it.
CHANGES = {
    "bar.sync 	0;": {"barrier removed": ";"},
    "cp.async.wait_group 1;": {"wait looser": "cp.async.wait_group 2;"},
    "cp.async.wait_all;": {"wait looser": ";"},
    "cp.async.cg.shared.global [%r10], [%rd208], 16, %r92;": {"copy dropped": ";"},
    "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f1,%f2,%f3,%f4}, {%r1,%r2,%r3,%r4}, {%r5,%r6}, {%f1,%f2,%f3,%f4};": {
        "mma a swapped": "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f1,%f2,%f3,%f4}, {%r1,%r3,%r2,%r4}, {%r5,%r6}, {%f1,%f2,%f3,%f4};",
        "mma b swapped": "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f1,%f2,%f3,%f4}, {%r1,%r2,%r3,%r4}, {%r6,%r5}, {%f1,%f2,%f3,%f4};",
    },
    "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r1,%r2,%r3,%r4}, [%r5];": {
        "ldmatrix shifted": "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r1,%r2,%r3,%r4}, [%r5+16];"
    },
    "ld.global.f32 	%f14, [%rd87+-4];": {"load shifted": "ld.global.f32 %f14, [%rd87+0];"},
    "ld.shared.v4.f32 	{%f1, %f2, %f3, %f4}, [%r1];": {"load shifted": "ld.shared.v4.f32 {%f1, %f2, %f3, %f4}, [%r1+16];"},
    "ld.param.u64 	%rd53, [a_param_0];": {},
    "st.shared.u16 	[%r1+2], %rs1;": {"store shifted": "st.shared.u16 [%r1+4], %rs1;", "store dropped": ";"},
    "max.f32 	%f1, %f2, %f3;": {"max min": "min.f32 %f1, %f2, %f3;"},
    "max.f32 	%f1, %f2, %f2;": {},
    "add.rn.f32 	%f1, %f2, %f3;": {"float add sub": "sub.rn.f32 %f1, %f2, %f3;"},
    "add.rn.f32 	%f1, %f2, 0f00000000;": {},
    "sub.s64 	%rd1, %rd2, %rd3;": {"whole add sub": "add.s64 %rd1, %rd2, %rd3;"},
    "setp.lt.s64 	%p1, %rd1, 8;": {
        "comparison negated": "setp.ge.s64 %p1, %rd1, 8;",
        "comparison off by one": "setp.le.s64 %p1, %rd1, 8;",
        "constant plus one": "setp.lt.s64 %p1, %rd1, 9;",
    },
    "setp.eq.f32 	%p1, %f1, %f2;": {"comparison negated": "setp.ne.f32 %p1, %f1, %f2;"},
    "shfl.sync.bfly.b32 	%r1|%p1, %r2, 16, 31, -1;": {"shuffle lane": "shfl.sync.bfly.b32 %r1|%p1, %r2, 8, 31, -1;"},
    "shfl.sync.bfly.b32 	%r1|%p1, %r2, %r9, 31, -1;": {"shuffle lane": "shfl.sync.bfly.b32 %r1|%p1, %r2, 2, 31, -1;"},
    "@%p1 bra 	$L__BB0_7;": {"guard negated": "@!%p1 bra $L__BB0_7;"},
    "@!%p1 bra 	$L__BB0_7;": {"guard negated": "@%p1 bra $L__BB0_7;"},
    "mov.u32 	%r1, -1;": {"constant plus one": "mov.u32 %r1, 0;"},
    "mov.f32 	%f1, 0f3F800000;": {},
    "fma.rn.f32 	%f1, %f2, %f3, %f4;": {"addend dropped": "fma.rn.f32 %f1, %f2, %f3, 0f00000000;"},
    "fma.rn.f32 	%f1, %f2, %f3, 0f00000000;": {},
    "selp.f32 	%f1, %f2, %f3, %p1;": {"choice swapped": "selp.f32 %f1, %f3, %f2, %p1;"},
    "{  cvt.rn.bf16.f32 %rs3, %f3;}": {},
}  # fmt: skip

# A choice where both sides are the same if they are equal; one where they aren't.
CLAMP = ["neg.f32 %f2, %f1;", "setp.lt.f32 %p1, %f1, 0fC2B20000;", "selp.f32 %f3, 0f42B20000, %f2, %p1;"]
JUMP = [CLAMP[0], CLAMP[1], "selp.f32 %f3, 0f42B30000, %f2, %p1;"]

counts = {"passed": 0, "failed": 0, "skipped": 0}


def check(name, good, says=""):
    counts["passed" if good else "failed"] += 1
    if not good:
        print(f"{name}: {says}")


def changed(text):
    kernel = cuda_operators.Kernel(["mov.u32 %r9, 1;", text])
    i = cuda_operators.Instruction(text, kernel)
    made = {o.__name__.replace("_", " "): o(i) for o in cuda_operators.OPERATORS}
    return {name: " ".join(line.split()) for name, line in made.items() if line}


def check_operators():
    for text, right in CHANGES.items():
        check(text, changed(text) == right, changed(text))
    for name, lines, made in (("clamp", CLAMP, False), ("jump", JUMP, True)):
        i = cuda_operators.Instruction(lines[1], cuda_operators.Kernel(lines))
        check(name, bool(cuda_operators.comparison_off_by_one(i)) == made)


def call(command, **how):
    subprocess.run([str(c) for c in command], check=True, **how)


def make_port(folder):
    """The example, which notes its lines; cuda_mutants.py links the same with a mutant before."""
    cc = [*os.environ.get("CC", "gcc").split(), "-std=gnu11", "-O1", "-w", "-ffp-contract=off", "-fPIC", f"-I{EMU}", "-Icuda/emu"]
    with open(folder / "host.c", "w") as out:
        call(["awk", "-f", EMU / "launch.awk", EMU / "dsv3.h", PTX, PTX.with_suffix(".launch")], stdout=out)
    with open(folder / "kernels.c", "w") as out:
        call([BUILD / "bin/ptx2c", "--coverage", PTX], stdout=out)
    for name in ("host", "kernels"):
        call([*cc, "-c", folder / f"{name}.c", "-o", folder / f"{name}.o"])
    objects = [folder / "host.o", folder / "kernels.o", *sorted(EMU.glob("*.o"))]
    call([os.environ.get("CXX", "g++"), "-shared", "-Wl,-Bsymbolic", *objects, "-o", folder / "coverage.so", "-lm"])
    os.environ["OBJECTS"] = " ".join(map(str, objects))
    return cuda_lines.Ptx(PTX, (folder / "kernels.c").read_text())


def check_coverage(ptx, runs):
    number = {text: next(n for n in ptx.code if ptx.text(n) == text) for text in (LOOP_BY_ONE, LOOP_BY_FOUR, AGAIN_BY_ONE, AGAIN_BY_FOUR)}
    narrow, wide = runs
    check("narrow passes", narrow.verdict == "PASS", narrow.verdict)
    ran = [{t: bool(r.ran("rmsnorm", n)) for t, n in number.items()} for r in runs]
    check("one element", ran[0] == {LOOP_BY_ONE: True, LOOP_BY_FOUR: False, AGAIN_BY_ONE: True, AGAIN_BY_FOUR: False}, ran[0])
    check("four a thread", ran[1] == {LOOP_BY_ONE: False, LOOP_BY_FOUR: True, AGAIN_BY_ONE: False, AGAIN_BY_FOUR: True}, ran[1])
    idle = [narrow.acted["rmsnorm"] >> number[AGAIN_BY_ONE] & 1, wide.acted["rmsnorm"] >> number[AGAIN_BY_FOUR] & 1]
    check("no branch back", idle == [0, 0] and narrow.acted["rmsnorm"] >> number[LOOP_BY_ONE] & 1, idle)
    code = sum(1 << n for n in ptx.code)
    check("only lines with code", not (narrow.lines["rmsnorm"] | wide.lines["rmsnorm"]) & ~code)
    check("kernel", ptx.kernel(number[LOOP_BY_ONE]) == "rmsnorm_kernel", ptx.kernels)
    again = cuda_coverage.Excuse("rmsnorm_.*", r"@%p5 bra .*", "no case here is so wide")
    left = len(cuda_coverage.uncovered(ptx, narrow.lines["rmsnorm"]))
    with contextlib.redirect_stdout(io.StringIO()) as out:
        bad = [cuda_coverage.report([ptx], [narrow], excuses, False) for excuses in ([], [again])]
    check("a line that did not run is named", left > 1 and bad[0] == left and AGAIN_BY_FOUR in out.getvalue(), out.getvalue())
    alone = next(b for b in ptx.blocks() if number[AGAIN_BY_FOUR] in b)
    check("a block", number[LOOP_BY_FOUR] == alone[0] and number[AGAIN_BY_FOUR] == alone[-1], alone)
    check("an excuse is one of its block", bad[1] == left - len(alone) and again.used == len(alone), bad)


def check_choice(runs):
    narrow, wide = runs
    check("both are chosen", {r.case for r in cuda_coverage.choose([narrow, wide, narrow], 1)} == {NARROW, WIDE})


def find(mutants, operator, text):
    return next(m for m in mutants if m.operator == operator and m.ptx.text(m.n).startswith(text))


def check_mutants(ptx, runs):
    bits = runs[0].lines["rmsnorm"]
    mutants = cuda_mutants.mutants_of(ptx, bits, [])
    check("lines that ran", all(bits >> m.n & 1 for m in mutants) and len(mutants) > 50, len(mutants))
    once, twice = (cuda_mutants.drawn(mutants, 20, 7) for _ in range(2))
    check("drawn again", once == twice and len({id(m) for m in once}) == 20)
    # CRASH: the machine names it. In a row of one element nothing was summed yet, and no thread has 384 elements left.
    rights = [("barrier removed", "bar.sync", "CRASH"), ("store dropped", "st.global", "UNWRITTEN"), ("addend dropped", "fma", ""),
              ("guard negated", "@%p1 bra", "CRASH"), ("float add sub", "add.f32 %f46", "NAN"),
              ("comparison off by one", "setp.lt.u64 %p4, %rd6, 384", "")]  # fmt: skip
    chosen = [find(mutants, operator, text) for operator, text, _ in rights]
    more = cuda_mutants.More()
    with contextlib.redirect_stderr(io.StringIO()):
        cuda_mutants.campaign(chosen, runs[:1], more, 1)
    for m, (operator, text, verdict) in zip(chosen, rights):
        check(f"{operator} {text}", m.verdict == verdict, f"{m.verdict}: {m.why}")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        cuda_mutants.report(chosen)
    built, killed, same, share = cuda_mutants.score(chosen, [])
    check("share", (built, killed, same, round(share)) == (6, 4, 0, 67), out.getvalue())
    known = [cuda_mutants.Survivor("addend dropped", ".*", ".*", "same: it is")]
    check("same program", cuda_mutants.score(chosen, known) == (6, 4, 1, 80), cuda_mutants.score(chosen, known))
    gaps = [cuda_mutants.Survivor("addend dropped", ".*", ".*", "gap: no case"), *known]
    check("gap", cuda_mutants.score(chosen, gaps)[2] == 0)
    refused = cuda_mutants.Mutant("none", ptx, chosen[0].n, "nanosleep.u32 20;")
    cuda_mutants.test(refused, runs[:1], more)
    check("not built", refused.why.startswith("not built: ptx2c: ") and not refused.killer, refused.why)


def check_sentences(folder):
    for name, text, says in (("key", "because x\n", ":1: a line begins with kernel, text, why or #"), ("short", "kernel x\nwhy y\n", ":2: a block has"),
                             ("end", "kernel x\n", "the last block has no why")):  # fmt: skip
        (folder / name).write_text(text)
        try:
            cuda_coverage.read_excuses(folder / name)
            check(name, False, "it is read")
        except cuda_lines.Problem as problem:
            check(name, says in str(problem), problem)


def main(folder):
    check_operators()
    check_sentences(folder)
    if not (EMU / "launch.awk").exists():
        counts["skipped"] += 1
        return
    ptx = make_port(folder)
    runs = cuda_lines.Runs(60, folder / "coverage.so", folder)
    runs = [runs.run(case) for case in (NARROW, WIDE)]
    check_coverage(ptx, runs)
    check_choice(runs)
    (BUILD / "cuda").mkdir(exist_ok=True)
    check_mutants(ptx, runs)


with tempfile.TemporaryDirectory() as temporary:
    main(pathlib.Path(temporary))
print("{passed} passed, {failed} failed, {skipped} skipped".format(**counts))
sys.exit(counts["failed"] > 0)
