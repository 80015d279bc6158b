#!/usr/bin/env python3
"""Changes one instruction of our kernels' PTX at a time, and counts which changes the cases see.

    unit/cuda/cuda_mutants.py [--number=200|all] [--seed=1] [--files=NAME,...] [--operators=WORD,...] [--jobs=N] [--more=40]

Mutants are made of lines that the cases of cuda_cases.txt run: an operator is drawn, then a file, then a line; so seldom
operators and small files count as much as others. Each is translated and linked with all else, and judged by the cases that
run its line, fastest first: it is killed by the first that fails, crashes or hangs. What these don't see gets the orders
down and shuffled of threads, and then up to --more cases of @ci of the same ops.

cuda_survivors.txt says of survivors why nobody sees them: some are the same program (`same`), which nobody can, and aren't
counted; the others are gaps in the cases (`gap`), and are. MUTANTS="40 --files=gate" gives make cuda-mutants these options.
Exit code 1: under 95 of 100 of those that count are killed.
"""

import argparse
import concurrent.futures
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading

from cuda_coverage import union_of
from cuda_lines import BUILD, HERE, MACHINE, Problem, Runs, all_ptx, judge, listed, read_blocks, read_cases, run_main
from cuda_operators import OPERATORS, Instruction, Kernel

LEAST = 95  # of 100
UNNOTICED = ("PASS", "SUSPECT", "VACUOUS")


# ---- mutants ----


class Mutant:
    def __init__(self, operator, ptx, n, line):
        self.operator, self.ptx, self.n, self.line = operator, ptx, n, line
        self.killer = self.verdict = self.why = ""

    def name(self):
        return f"{self.ptx.name} {self.ptx.kernel(self.n)} {self.operator}: {self.ptx.text(self.n)}"

    def becomes(self):
        return " ".join(self.line.split())


def mutants_of(ptx, bits, names):
    """Of the lines that ran."""
    made, kernels = [], {}
    for n in ptx.code:
        if not bits >> n & 1 or ptx.line[n].count(";") != 1:
            continue
        k = ptx.kernel_index(n)
        if k not in kernels:
            kernels[k] = Kernel(ptx.line[ptx.begin[k] : ptx.end(k)])
        i = Instruction(ptx.line[n], kernels[k])
        for operator in OPERATORS if i.opcode else ():
            name = operator.__name__.replace("_", " ")
            if names and not any(w in name for w in names):
                continue
            line = operator(i)
            if line:
                made.append(Mutant(name, ptx, n, line))
    return made


def drawn(mutants, number, seed):
    """An operator, then a file, then a line; without repeats."""
    if number is None or number >= len(mutants):
        return mutants
    rng, left, chosen = random.Random(seed), {}, []
    for m in mutants:
        left.setdefault(m.operator, {}).setdefault(m.ptx.name, []).append(m)
    while len(chosen) < number:
        operator = rng.choice(sorted(left))
        file = rng.choice(sorted(left[operator]))
        of_file = left[operator][file]
        chosen.append(of_file.pop(rng.randrange(len(of_file))))
        if not of_file:
            del left[operator][file]
        if not left[operator]:
            del left[operator]
    return chosen


# ---- judging one ----


class NotBuilt(Exception):
    """The translator or the compiler refuses it: no mutant."""


def call(command, **how):
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, **how)
    if done.returncode:
        raise NotBuilt(done.stderr.strip().split("\n")[0])


def objects():
    """What cuda_machine.so is linked from."""
    if "OBJECTS" not in os.environ:
        raise Problem("OBJECTS isn't set, the object files of cuda_machine.so: make cuda-mutants sets it")
    return os.environ["OBJECTS"].split()


def build(mutant, folder):
    """A port in which this kernel is the changed one: the machine takes the first of a name."""
    lines = mutant.ptx.alone(mutant.n)
    lines[mutant.n] = mutant.line
    source = folder / f"{mutant.ptx.name}.ptx"
    source.write_text("\n".join(lines[1:]))
    with open(folder / "mutant.c", "w") as out:
        call([BUILD / "bin/ptx2c", source], stdout=out)
    c = [*os.environ.get("CC", "gcc").split(), "-std=c11", "-O0", "-w", "-D_GNU_SOURCE", "-ffp-contract=off", "-fPIC", "-Iinclude", "-Icuda/emu"]
    call([*c, "-c", folder / "mutant.c", "-o", folder / "mutant.o"], env=dict(os.environ, CCACHE_DISABLE="1"))
    port = folder / "mutant.so"
    call([*os.environ.get("CXX", "g++").split(), "-shared", "-Wl,-Bsymbolic", folder / "mutant.o", *objects(), "-o", port, "-lm"])
    return port


def trials(mutant, runs, more):
    """Cases with their limits and environment, cheapest first."""
    mine = sorted((r for r in runs if r.ran(mutant.ptx.name, mutant.n)), key=lambda r: r.seconds)
    for run in mine:
        yield run.case, 5 + 10 * run.seconds, {}
    for order in ("down", "shuffled"):
        for run in mine[:3]:
            yield run.case, 5 + 10 * run.seconds, {"DSV3_CUDA_ORDER": order}
    ops = {r.case.split("@")[0] for r in mine}
    others = [c for c in more if c.split("@")[0] in ops and c not in {r.case for r in mine}]
    random.Random(mutant.name()).shuffle(others)
    for case in others[: more.number]:
        yield case, 30, {}


class More(list):
    """Cases of @ci, and how many of them a survivor gets."""

    number = 0


def test(mutant, runs, more):
    folder = pathlib.Path(tempfile.mkdtemp(dir=BUILD / "cuda"))
    try:
        port = build(mutant, folder)
        for case, limit, environment in trials(mutant, runs, more):
            verdict, why, _ = judge(case, port, round(limit), **environment)
            if verdict not in UNNOTICED:
                mutant.verdict, mutant.why = verdict, why
                mutant.killer = case + "".join(f" {k}={v}" for k, v in environment.items())
                return
    except NotBuilt as refused:
        mutant.why = f"not built: {refused}"
    finally:
        shutil.rmtree(folder)


def campaign(mutants, runs, more, jobs):
    lock, done = threading.Lock(), [0, 0]

    def one(mutant):
        test(mutant, runs, more)
        with lock:
            done[0] += 1
            done[1] += bool(mutant.killer)
            if not mutant.killer:
                print(f"{mutant.ptx.path}:{mutant.n}: {mutant.name()}: {mutant.why or 'survives'}", file=sys.stderr)
            print(f"{done[0]} of {len(mutants)}, {done[1]} killed", end="\r" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, mutants))


# ---- report ----


def kind(mutant):
    """How it was seen: by the machine, by numbers, by time."""
    return {"CRASH": "machine", "TIMEOUT": "time"}.get(mutant.verdict, "numbers")


def is_built(mutant):
    return not mutant.why.startswith("not built")


def report(mutants):
    """A row an operator."""
    built = [m for m in mutants if is_built(m)]
    print(f"{'operator':<28}{'mutants':>8}{'killed':>8}{'machine':>8}{'numbers':>8}{'time':>8}")
    for name in [o.__name__.replace("_", " ") for o in OPERATORS] + ["all"]:
        mine = [m for m in built if name in (m.operator, "all")]
        killed = [m for m in mine if m.killer]
        if mine:
            by = [sum(kind(m) == k for m in killed) for k in ("machine", "numbers", "time")]
            print(f"{name:<28}{len(mine):>8}{len(killed):>8}{by[0]:>8}{by[1]:>8}{by[2]:>8}")
    for m in mutants:
        if not is_built(m):
            print(f"{m.ptx.path}:{m.n}: {m.name()}: {m.why}")


class Survivor:
    """Patterns of an operator, of kernels and of their text, and why nobody sees such a mutant: `same: ...` or `gap: ...`."""

    def __init__(self, operator, kernel, text, why):
        self.pattern, self.why = [re.compile(p) for p in (operator, kernel, text)], why
        if not why.startswith(("same: ", "gap: ")):
            raise Problem(f"cuda_survivors.txt: '{why}' begins with same: or gap:")

    def fits(self, m):
        return all(p.fullmatch(t) for p, t in zip(self.pattern, (m.operator, m.ptx.kernel(m.n), m.ptx.text(m.n))))


def argument(mutant, known):
    """Why it survives."""
    return next((k.why for k in known if k.fits(mutant)), "not argued")


def score(mutants, known):
    """How many there are, are killed, and are the same program; how many of 100 of the others are killed."""
    built = [m for m in mutants if is_built(m)]
    killed = sum(bool(m.killer) for m in built)
    same = sum(not m.killer and argument(m, known).startswith("same: ") for m in built)
    return len(built), killed, same, 100 * killed / max(1, len(built) - same)


def main():
    parse = argparse.ArgumentParser(usage=__doc__)
    parse.add_argument("--number", default="200")
    parse.add_argument("--seed", type=int, default=1)
    parse.add_argument("--files", default="")
    parse.add_argument("--operators", default="")
    parse.add_argument("--jobs", type=int, default=os.cpu_count())
    parse.add_argument("--more", type=int, default=40)
    parse.add_argument("--verbose", action="store_true")
    args = parse.parse_args()
    if args.number != "all" and not args.number.isdigit():
        raise Problem(f"--number={args.number}: it is a number, or all")
    files = [p for p in all_ptx() if not args.files or p.name in args.files.split(",")]
    if not files:
        raise Problem(f"--files={args.files}: no such file of cuda/ has kernels")
    if not MACHINE.exists():
        raise Problem(f"{MACHINE} isn't there: make cuda-mutants builds it")
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        runs = list(pool.map(Runs(60).run, read_cases()))
    if any(r.verdict != "PASS" for r in runs):
        raise Problem("a case of cuda_cases.txt doesn't pass: make cuda-coverage names it")
    bits = union_of(r.lines for r in runs)
    names = [w for w in args.operators.split(",") if w]
    mutants = [m for p in files for m in mutants_of(p, bits.get(p.name, 0), names)]
    objects()
    chosen = drawn(mutants, None if args.number == "all" else int(args.number), args.seed)
    if not chosen:
        raise Problem(f"--operators={args.operators}: no line that ran has such a mutant")
    print(f"{len(chosen)} of {len(mutants)} mutants, --seed={args.seed}")
    more = More(listed("@ci") if args.more else [])
    more.number = args.more
    campaign(chosen, runs, more, args.jobs)
    report(chosen)
    known = [Survivor(**b) for b in read_blocks(HERE / "cuda_survivors.txt", ("operator", "kernel", "text", "why"))]
    for m in chosen:
        if args.verbose and m.killer:
            print(f"killed {m.ptx.path}:{m.n}: {m.name()}: becomes {m.becomes()}: {m.verdict} {m.killer}: {m.why}")
        if not m.killer and not m.why:
            print(f"survives {m.ptx.path}:{m.n}: {m.name()}\n    becomes {m.becomes()}\n    {argument(m, known)}")
    built, killed, same, share = score(chosen, known)
    print(f"{killed} of {built} are killed, {same} are the same program: {share:.1f} of 100 of the others, {LEAST} must be")
    return share < LEAST


if __name__ == "__main__":
    run_main(main)
