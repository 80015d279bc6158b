#!/usr/bin/env python3
"""Runs the commands that the documents print, as they are printed, from the root of a fresh copy of the sources.

usage: recipes.py [DOCUMENT ...]      BUILD: the build folder that the copy finds as build/
                                      RAN: commands that were run on these sources before, with ; between

A command is: a line of an indented or fenced block of a Markdown document, of the head of an example port or between
"--8<-- commands" and "-->8--" in a source, if the block begins with one of the words below; and a span in backticks that
calls make or verify with arguments. Those of one document run one after the other in one folder. Each shall end with
code 0. A block that follows a command and a colon is its output and is compared.

Last line: N passed, N failed, N skipped.
"""

import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

DOCUMENTS = ["README.md", "docs/*.md", "docs/*/*.md"]
SOURCES = ["include/dsv3.h", "verify/ports/plain/plain.c", "verify/ports/dsv3_port.py", "verify/ports/transformers/port.py"]

# What is not run, and why: at most ten, none of them a line of the start block or a recipe.
NOT_RUN = {
    "apt-get install make git": "needs root and a network",
    "make asan": "all tests once more, many times slower",
    "make fuzz": "a minute for each parser; .ci/run has it",
    "make model-test": "minutes of transformers; .ci/run has it",
    "make bench && build/bin/bench truth": "a minute of a quiet machine, and torch",
    "build/bin/verify run @ci --format=jsonl --out=build/ci": "every case: .ci/run has it",
    "build/bin/verify list --matrix --results=build/ci/results.jsonl": "reads what the line before wrote",
    "verify list --matrix --results=build/ci/results.jsonl": "the same",
    "build/bin/verify model DIR ...": "DIR is the reader's; unit/model.py and unit/engines.py run them",
}
# Run where a file is there that takes gigabytes to get; else skipped.
NEEDS = {"transformers": "ports/transformers", "f32cases": "ports/transformers", "cuda": "ports/cuda_machine.so"}
# Run where a program is there that setup doesn't install; else skipped.
PROGRAMS = {"make docs": "pandoc", "pkg-config": "pkg-config", "./mine.so": "pkg-config"}
# What commands of the AVX-512 backend say where they can't run: skipped.
NO_AVX512 = "this processor lacks AVX-512"
# This test is part of it, or it takes many minutes: it is only asked what it would do.
AROUND = {
    "make test": "make -n test",
    "make cuda-toolchain": "make -n cuda-toolchain",
    "make cuda-ci": "make -n cuda-ci",
    "make cuda-coverage": "make -n cuda-coverage",
    "make cuda-coverage COVERAGE=--choose": "make -n cuda-coverage",
    "make cuda-mutants": "make -n cuda-mutants",
    "make cuda-mutants MUTANTS='200 --seed=15'": "make -n cuda-mutants",
    "make cuda-mutants MUTANTS='40 --files=gate,mla --seed=2 --verbose'": "make -n cuda-mutants",
    "make innocent": "make -n innocent",
    "make cuda-report >docs/data/cuda_report.txt": "make -n cuda-report",
    "make cuda-witness": "make -n cuda-witness",
    "make cuda-witness ALL=1": "make -n cuda-witness",
    "cuda/gpu_check.sh": "sh -n cuda/gpu_check.sh",
    "make clean-ports": "make -n clean-ports",
    "make terms": "make -n terms",
    "make terms TERMS=tenth": "make -n terms",
    "make terms SHARES=1": "make -n terms",
    "make terms TERMS=sampled.": "make -n terms TERMS=sampled.",
    "build/bin/bench run @bench/perf.txt --format=jsonl": "build/bin/bench run --help",
    "build/bin/bench run --sum --threads=2 --format=jsonl @bench/layer.txt": "build/bin/bench run --help",
    "build/bin/bench run @bench/kv.txt --format=jsonl": "build/bin/bench run --help",
    "build/bin/bench run @bench/experts.txt --format=jsonl": "build/bin/bench run --help",
    "build/bin/bench compare HEAD~1 HEAD": "build/bin/bench compare --help",
    "build/bin/bench exact HEAD~1 HEAD": "build/bin/bench exact --help",
    "build/bin/bench peers --format=jsonl": "build/bin/bench peers --help",
    "build/bin/bench peers --format=jsonl --peer=openblas,onednn,torch,vllm": "build/bin/bench peers --help",
    "build/bin/bench compare ./old.so ./new.so linear@v3:n_tokens=16": "build/bin/bench compare --help",
    "build/bin/bench kv --config=FILE": "build/bin/bench kv",
    "build/bin/bench plot kv": "build/bin/bench plot kv --check",
    "build/bin/bench plot balance": "build/bin/bench plot balance --check",
    "build/bin/bench plot mtp": "build/bin/bench plot mtp --check",
    "build/bin/bench plot domains": "build/bin/bench plot domains --check",
    "build/bin/bench plot budget": "build/bin/bench plot budget --check",
    "build/bin/bench plot experts": "build/bin/bench plot experts --check",
    "build/bin/bench plot speculation": "build/bin/bench plot speculation --check",
    "build/bin/bench plot accumulation": "build/bin/bench plot accumulation --check",
    "build/bin/bench train --text=build/text.txt --out=build/first":
        "build/bin/bench train --text=build/text.txt --out=build/first --backend=plain --stop-at=2 --batch=2 --length=16",
    "build/bin/bench generate --model=build/studies/mtp-0 --text=build/text.txt": "build/bin/bench generate --help",
    "make install PREFIX=$HOME/.local": "make install PREFIX=$PWD/build/installed",
    "make uninstall": "make uninstall PREFIX=$PWD/build/installed",
    "time build/bin/verify run moe@v3 --diagnose --timeout=600 --backend=build/planted/mistake_E4_shared_twice.so": "build/bin/verify run --help",
    "time build/bin/verify show moe@v3": "build/bin/verify list --cases moe@v3",
    # Of a mistake and cases that the reader adds.
    "make build/bin/verify build/planted/mistake_NAME.so": "make build/planted/mistake_A1_absorbed_scale.so",
    "build/bin/verify run ID --diagnose --backend=build/planted/mistake_NAME.so": "build/bin/verify run --help",
    "build/bin/verify show OTHER_ID": "build/bin/verify show rmsnorm@tiny",
}

# Files of the build folder that a copy makes anew, for it has no commit.
CHANGE = ("commit.txt", "version.o")

# Ports with known mistakes, in the build folder: a reader has one if a document says how to make it.
PLANTED = "planted"

# Half a minute each time: run where it stands first, behind that only asked what it would do, or of fewer cases.
ONCE = {
    "make verify": "make -n verify",
    "build/bin/verify run 'rmsnorm@*' --backend=first/port.so": "build/bin/verify run rmsnorm@odd --backend=first/port.so",
}

# Of a port that make verify judges on @smoke, or one in Python, that takes a minute: these ask it a few cases.
FEW = "'rmsnorm@tiny|odd|edge'"
JUDGED = (
    "build/bin/verify run @smoke --backend=./myport.so",
    "build/bin/verify run @smoke --backend=avx512 --require=avx512",
    "build/bin/verify run @smoke --backend=plain --format=md >build/summary.md",
    "build/bin/verify run @smoke --backend=plain --shard=1/2 --format=jsonl --out=build/shards",
    "build/bin/verify run @smoke --backend=plain --shard=2/2 --format=jsonl --out=build/shards",
    "build/bin/verify run @smoke --proofs",
    "build/bin/verify run @smoke --proofs --backend=plain --format=jsonl --out=build/mine",
    "dsv3-verify run 'rmsnorm@*' --backend=./mine.so",
    "build/bin/verify run 'rmsnorm@*' --backend='exec:python3 first_in_python/port.py'",
)
AROUND |= {key: re.sub(r"@smoke|'rmsnorm@\*'", FEW, key) for key in JUDGED}

BEGINS = re.compile(r"(make|cc|cp|eval|sed|cat|python3|apt-get|git|verify|build/bin/\w+|[A-Z0-9_]+=\S+ build/bin/\w+) \S|(build/unit|cuda)/\S+$")
SPAN = re.compile(r"([A-Z0-9_]+=\S+ )?(build/bin/)?verify \S+ .+|make .+")
FORM = re.compile(r"\b[A-Z]+\b(?!=)")  # a word in capitals stands for something else
CLONE = "/home/you/dsv3"  # what documents call the folder of the repository
HEREDOC = re.compile(r"<<'(\w+)'")


class Step:
    """A command, and what it shall print if the document says so."""

    def __init__(self, line, command):
        self.line, self.command, self.output = line, command, None

    def key(self):
        return re.sub(r"\s+#.*", "", re.sub(r"\s*\\\n\s*", " ", self.command))


def commands(first, lines):
    """The commands of a block whose first line has number `first`. A here-document and what follows a \\ belong to theirs."""
    steps, until = [], None
    for number, line in enumerate(lines, first):
        if until is None and (not line.strip() or line.startswith("#")):
            continue
        if until is None and steps and steps[-1].command.endswith("\\"):
            steps[-1].command += "\n" + line
        elif until is None:
            steps.append(Step(number, line))
            heredoc = HEREDOC.search(line)
            until = heredoc and heredoc.group(1)
        else:
            steps[-1].command += "\n" + line
            until = None if line == until else until
    return steps


def blocks(lines, indented):
    """(number of its first line, lines) of each block: fenced, cut out, or, if asked for, indented behind a blank line."""
    i = 0
    while i < len(lines):
        fence = {"```": "```", "--8<": "-->8--"}.get(lines[i][:4].rstrip("abcdefghijklmnopqrstuvwxyz"))
        end = i + 1
        if fence:
            while lines[end] != fence:
                end += 1
            if lines[i] == "--8<-- commands" or fence == "```":
                yield i + 2, lines[i + 1:end]
        elif indented and lines[i].startswith("    ") and (i == 0 or not lines[i - 1].strip()):
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            yield i + 1, [line[4:] for line in lines[i:end]]
        i = end + (fence is not None)


def head(text):
    """The comment or docstring that a port begins with, as lines, without what marks it."""
    if text.startswith('"""'):
        return text[3:].split('"""')[0].split("\n")
    return [line[3:] for line in re.match(r"(//.*\n)*", text).group(0).split("\n")]


def spans_of(lines):
    """The spans in backticks that are commands."""
    for number, line in enumerate(lines, 1):
        for span in re.findall(r"`([^`]+)`", line):
            if SPAN.fullmatch(span) and not FORM.search(span):
                yield Step(number, span)


def steps_of(path, text):
    """The commands of a document, in the order of its lines."""
    lines = text.split("\n") if path.endswith((".md", ".h")) else head(text)
    spans, steps, inside = list(spans_of(lines)) if path.endswith(".md") else [], [], set()
    for first, block in blocks(lines, not path.endswith(".h")):
        inside.update(range(first, first + len(block)))
        above = [s for s in spans if first - 4 < s.line < first and lines[first - 3].endswith(":")]
        if BEGINS.match(block[0]):
            steps += commands(first, block)
        elif above:
            above[-1].output = "\n".join(block).rstrip()
    printed = {s.key() for s in steps}
    steps += [s for s in spans if s.line not in inside and s.command not in printed]
    return sorted(steps, key=lambda s: s.line)


def sources(folder):
    """A repository of what git has or would take."""
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, check=True)
    for name in files.stdout.split("\n"):
        if name and os.path.exists(name):
            os.makedirs(os.path.join(folder, os.path.dirname(name)), exist_ok=True)
            shutil.copy2(name, os.path.join(folder, name))
    subprocess.run("git init -q && git add -A", shell=True, cwd=folder, check=True)


def fresh_copy(base, folder, build):
    """The sources, and a build folder: the programs and ports copied, the planted ports left out, the rest linked."""
    shutil.copytree(base, folder, symlinks=True, dirs_exist_ok=True)
    os.mkdir(os.path.join(folder, "build"))
    for name in set(os.listdir(build)) - {PLANTED}:
        place = shutil.copytree if name in ("bin", "ports") else shutil.copy2 if name in CHANGE else os.symlink
        place(os.path.join(build, name), os.path.join(folder, "build", name))


def run(step, folder, before):
    """None, or what is wrong. before: keys of what was run already, in any folder."""
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "BUILD")}
    environment["PATH"] += ":" + os.path.join(folder, "build/bin") + ":" + os.path.join(folder, "build/installed/bin")
    environment["PKG_CONFIG_PATH"] = os.path.join(folder, "build/installed/share/pkgconfig")
    command = AROUND.get(step.key(), step.command)
    if step.key() in before:
        command = ONCE.get(step.key(), command)
    before.add(step.key())
    if "safetensors.numpy" in command:  # no Debian package of setup has it
        command = command.replace("python3", "build/ports/python")
    try:
        done = subprocess.run(["sh", "-c", command], cwd=folder, env=environment, stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
    except subprocess.TimeoutExpired:
        return "takes more than 600 s"
    if step.output is not None:
        own = done.stdout.replace(os.path.realpath(folder), CLONE)
        printed = "\n".join(line.rstrip() for line in own.rstrip().split("\n"))
        return None if printed == step.output else f"prints something else:\n{printed}"
    return None if done.returncode == 0 else f"exit code {done.returncode}:\n" + "\n".join(done.stdout.split("\n")[-12:])


def check(path, base, build, counts, unused, before):
    with open(path, encoding="utf-8") as file:
        steps = steps_of(path, file.read())
    if not steps:
        return
    passed = failed = skipped = 0
    with tempfile.TemporaryDirectory(prefix="dsv3-recipes-") as folder:
        fresh_copy(base, folder, build)
        for step in steps:
            if row_not_run(step.key()):
                unused.discard(row_not_run(step.key()))
                continue
            lacks = [f for word, f in NEEDS.items() if word in step.command and not os.path.exists(f"{build}/{f}")]
            lacks += [p for key, p in PROGRAMS.items() if key in step.key() and not shutil.which(p)]
            since = time.monotonic()
            wrong = None if lacks else run(step, folder, before)
            if wrong and NO_AVX512 in wrong:
                lacks, wrong = ["AVX-512"], None
            if os.environ.get("VERBOSE"):
                took = "skipped" if lacks else f"{time.monotonic() - since:.0f} s"
                print(f"{path}:{step.line}: {step.key()} ({took})", flush=True)
            if wrong:
                print(f"{path}:{step.line}: {step.command}\n{wrong}")
            passed, failed, skipped = passed + (not lacks and not wrong), failed + bool(wrong), skipped + bool(lacks)
    print(f"{path:34} {passed:3} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    for i, n in enumerate((passed, failed, skipped)):
        counts[i] += n


def row_not_run(key):
    """The row of NOT_RUN that has it: that of the command, or of its beginning, if it ends with dots; None: it is run."""
    rows = [r for r in NOT_RUN if r == key or (r.endswith(" ...") and key.startswith(r[:-3]))]
    return rows[0] if rows else None


def main():
    build = os.path.realpath(os.environ.get("BUILD", "build"))
    counts, unused, before = [0, 0, 0], set(NOT_RUN), set(os.environ.get("RAN", "").split(";"))
    paths = sys.argv[1:] or [p for pattern in DOCUMENTS for p in sorted(glob.glob(pattern))] + SOURCES
    with tempfile.TemporaryDirectory(prefix="dsv3-sources-") as base:
        sources(base)
        for path in paths:
            check(path, base, build, counts, unused, before)
    if len(NOT_RUN) > 10:
        print(f"recipes.py: {len(NOT_RUN)} commands are not run, ten may be")
        counts[1] += 1
    if unused and not sys.argv[1:]:
        print(f"recipes.py: no document has the command {sorted(unused)[0]}")
        counts[1] += 1
    print(f"{counts[0]} passed, {counts[1]} failed, {counts[2]} skipped")
    sys.exit(counts[1] > 0 or counts[0] == 0)


main()
