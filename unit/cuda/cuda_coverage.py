#!/usr/bin/env python3
"""Which lines of our kernels' PTX run: all of those with code, or there is an excuse for each.

    unit/cuda/cuda_coverage.py [--files=NAME,...] [--lines] [--choose [--patience=40] [--twice=2]]

The cases of cuda_cases.txt are judged by the port that notes its lines; each must pass. cuda_excuses.txt says which lines
can't run, and why. --lines prints those too. `idle` are lines with a guard that never held, branches that nobody took.
--choose writes cuda_cases.txt anew: fast cases of @ci and of cuda_wide.txt that together run every line --twice as often, where
so many do; of an op's cases it tries no more after --patience in a row that ran no new line. What a case ran is kept in
BUILD/cuda/coverage until the kernels change.

Exit code 1: a line didn't run and has no excuse, an excuse isn't needed, or a case doesn't pass.
"""

import argparse
import concurrent.futures
import os
import random
import re
import sys

from cuda_lines import CASES, HERE, Problem, Runs, all_ptx, listed, read_blocks, read_cases, run_main

EXCUSES = HERE / "cuda_excuses.txt"
WIDE = HERE / "cuda_wide.txt"
SLOW = 8  # seconds of a processor: a case that takes longer isn't chosen


class Excuse:
    """A pattern of kernels, a pattern of a line of their text, and why that line can't run."""

    def __init__(self, kernel, text, why):
        self.kernel, self.text, self.why, self.used = re.compile(kernel), re.compile(text), why, 0

    def fits(self, kernel, text):
        return bool(self.kernel.fullmatch(kernel) and self.text.fullmatch(text))


def read_excuses(path=EXCUSES):
    return [Excuse(**b) for b in read_blocks(path, ("kernel", "text", "why"))]


def union_of(parts):
    union = {}
    for lines in parts:
        for file, bits in lines.items():
            union[file] = union.get(file, 0) | bits
    return union


def uncovered(ptx, bits):
    return [n for n in ptx.code if not bits >> n & 1]


def excused_lines(ptx, bits, excuses):
    """The excuse of each line that has one. A line that can't run takes its block along, and what is reached through it alone."""
    blocks = ptx.blocks()
    ways, found = ptx.ways(blocks), {}
    for b, block in enumerate(blocks):
        if not bits >> block[0] & 1:
            found[b] = next((e for n in block for e in excuses if e.fits(ptx.kernel(n), ptx.text(n))), None)
    barred = {b for b, e in found.items() if e}
    first = {ptx.kernel_index(block[0]): b for b, block in reversed(list(enumerate(blocks)))}
    reached, ahead = set(), [b for b in first.values() if b not in barred]
    while ahead:
        b = ahead.pop()
        if b not in reached:
            reached.add(b)
            ahead += [to for to in ways[b] if to not in barred]
    before = None
    for b in sorted(found):  # behind barred ones: the excuse of the nearest above
        found[b] = found[b] or (None if b in reached else before)
        before = found[b] or before
    for b, e in found.items():
        if e:
            e.used += len(blocks[b])
    return {n: e for b, e in found.items() if e for n in blocks[b]}


def report(files, runs, excuses, show):
    """A row a file. Returns how many lines have neither run nor an excuse."""
    union, acted = union_of(r.lines for r in runs), union_of(r.acted for r in runs)
    bad = total = ran = excused = idle = 0
    print(f"{'file':<28}{'lines':>8}{'ran':>8}{'excused':>8}{'left':>8}{'idle':>8}")
    left = []
    for ptx in files:
        lines, excused_by = uncovered(ptx, union.get(ptx.name, 0)), excused_lines(ptx, union.get(ptx.name, 0), excuses)
        mine = sum(n in excused_by for n in lines)
        for n in lines:
            found = excused_by.get(n)
            if show or not found:
                left.append(f"{ptx.path}:{n}: {ptx.kernel(n)}: {ptx.text(n)}" + (f"  [{found.why}]" if found else ""))
        unused = (union.get(ptx.name, 0) & ~acted.get(ptx.name, 0)).bit_count()
        bad, idle = bad + len(lines) - mine, idle + unused
        total, ran, excused = total + len(ptx.code), ran + len(ptx.code) - len(lines), excused + mine
        print(f"{ptx.name:<28}{len(ptx.code):>8}{len(ptx.code) - len(lines):>8}{mine:>8}{len(lines) - mine:>8}{unused:>8}")
    print(f"{'all':<28}{total:>8}{ran:>8}{excused:>8}{bad:>8}{idle:>8}")
    print("\n".join(left), end="\n" if left else "")
    return bad


# ---- choosing ----


def try_cases(runs, patience):
    """Of each op: the wide cases and those of @smoke, then the others of @ci in a drawn order."""
    wide = listed(f"@{WIDE}")
    by_op, first = {}, set(listed("@smoke") + wide)
    for case in dict.fromkeys(wide + listed("@ci")):
        by_op.setdefault(case.split("@")[0], []).append(case)
    for cases in by_op.values():
        random.Random(1).shuffle(cases)
        cases.sort(key=lambda c: c not in first)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for op, done in zip(by_op, pool.map(lambda o: try_op(runs, by_op[o], first, patience), by_op)):
            print(f"{op:<28}{len(by_op[op]):>8} cases, {len(done)} of them pass fast", file=sys.stderr, flush=True)
            yield from done


def try_op(runs, cases, first, patience):
    done, seen, idle = [], {}, 0
    for case in cases:
        new = case not in first and not runs.kept(case).exists()
        if idle > patience and new:
            continue
        run = runs.run(case)
        if run.verdict == "SKIP":
            break
        idle += new
        if run.verdict != "PASS" or run.seconds > SLOW:
            continue
        done.append(run)
        for file, bits in run.lines.items():
            if bits & ~seen.get(file, 0):
                seen[file], idle = seen.get(file, 0) | bits, 0
    return done


def choose(runs, twice):
    """Greedy: next is the case that runs most lines, a second, of those that still lack runs."""
    chosen, left = [], list(runs)
    for _ in range(twice):
        seen = {}
        while True:
            def gain(run):
                return sum((b & ~seen.get(f, 0)).bit_count() for f, b in run.lines.items())
            best = max(left, key=lambda r: gain(r) / (0.2 + r.seconds), default=None)
            if best is None or not gain(best):
                break
            chosen.append(best)
            left.remove(best)
            for file, bits in best.lines.items():
                seen[file] = seen.get(file, 0) | bits
    return sorted(chosen, key=lambda r: r.case)


def main():
    parse = argparse.ArgumentParser(usage=__doc__)
    parse.add_argument("--files", default="")
    parse.add_argument("--lines", action="store_true")
    parse.add_argument("--choose", action="store_true")
    parse.add_argument("--patience", type=int, default=40)
    parse.add_argument("--twice", type=int, default=2)
    args = parse.parse_args()
    files = [p for p in all_ptx() if not args.files or p.name in args.files.split(",")]
    if not files:
        raise Problem(f"--files={args.files}: no such file of cuda/ has kernels")
    if args.choose:
        chosen = choose(list(try_cases(Runs(3 * SLOW), args.patience)), args.twice)
        kept = [line for line in CASES.read_text().split("\n") if line.startswith("#")] if CASES.exists() else []
        CASES.write_text("".join(line + "\n" for line in kept + [r.case for r in chosen]))
        print(f"{len(chosen)} cases, {sum(r.seconds for r in chosen):.0f} s", file=sys.stderr)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        done = list(pool.map(Runs(60).run, read_cases()))
    excuses = read_excuses()
    bad = report(files, done, excuses, args.lines)
    for run in done:
        if run.verdict != "PASS":
            bad += 1
            print(f"{run.case}: {run.verdict}: a case of {CASES.name} must pass")
    for e in excuses:
        if not e.used and not args.files:
            bad += 1
            print(f"{EXCUSES.name}: no line needs the excuse of {e.kernel.pattern}: {e.text.pattern}")
    return bad > 0


if __name__ == "__main__":
    run_main(main)
