#!/usr/bin/env python3
"""Judges ports and the plain port's planted mistakes, and prints how much of its budget each output used, in few lines.

usage: bench/budget.py >docs/data/budget.jsonl      BUILD: the build folder; build unless set

Ports: plain, avx512, portable, and transformers where it is installed, on @smoke. Mistakes: build/planted/mistake_NAME.so
of each known one (make test builds them), on the cases of @smoke that are its op's and on its witness. A line is an op,
port, format of an output and verdict, and the budgets of all such outputs, in order; docs/formats.md has the keys.
"""

import collections
import json
import os
import re
import subprocess
import sys
import tempfile

BUILD = os.environ.get("BUILD", "build")
VERIFY = os.path.join(BUILD, "bin", "verify")
PORTS = ["plain", "avx512", "portable"]
TRANSFORMERS = os.path.join(BUILD, "ports", "transformers")
AT_ONCE = 16  # ports of a run


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def known_mistakes():
    """{op: [names]} of those that are planted in a port of their own."""
    listed = subprocess.run([VERIFY, "list", "--quirks"], capture_output=True, text=True, check=True).stdout
    of = collections.defaultdict(list)
    for name, op in re.findall(r"^([A-Z]\w+) +(\w+) ", listed, re.M):
        if os.path.exists(shared_object(name)):
            of[op].append(name)
    return of


def shared_object(name):
    return os.path.join(BUILD, "planted", f"mistake_{name}.so")


def judge(cases, ports):
    """The results, an object a case and port. Exit code 1 says that a port failed, as mistakes shall."""
    with tempfile.TemporaryDirectory() as folder:
        command = [VERIFY, "run", *cases, "--backend=" + ",".join(ports), "--format=jsonl", f"--out={folder}"]
        code = subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode
        if code > 1:
            sys.exit(f"budget.py: {' '.join(command[:4])} ... ended with code {code}")
        return [json.loads(line) for line in read(os.path.join(folder, "results.jsonl")).splitlines() if line.startswith('{"id":')]


def add(groups, results):
    for r in results:
        op, port = re.split("[@:;]", r["id"])[0], os.path.basename(r["backend"]).removesuffix(".so")
        for output in r["outputs"]:
            groups[op, port, output["dtype"], r["verdict"]].append(float(output["budget"]))
        if not r["outputs"]:
            groups[op, port, "", r["verdict"]] += []


def number(budget):
    """Six digits, but never rounded to the other side of 1; JSON lacks infinity and NaN."""
    text = f"{budget:.6g}"
    if (float(text) > 1) != (budget > 1):
        text = repr(budget)
    return text if text[-1].isdigit() else f'"{text}"'


def main():
    groups = collections.defaultdict(list)
    add(groups, judge(["@smoke"], PORTS + ["transformers"] * os.path.exists(TRANSFORMERS)))
    smoke = [line for line in read(os.path.join(BUILD, "cases", "smoke.txt")).splitlines() if line and line[0] != "#"]
    witness = dict(re.findall(r'{"(\w+)", "([^"]+)"}', read("verify/witness.c")))
    for op, names in known_mistakes().items():
        ours = [line for line in smoke if re.split("[@:;]", line)[0] == op] + [witness[n] for n in names]
        for i in range(0, len(names), AT_ONCE):
            add(groups, judge(ours, [shared_object(n) for n in names[i : i + AT_ONCE]]))
    for (op, port, dtype, verdict), budgets in groups.items():
        print(f'{{"study":"budget","op":"{op}","backend":"{port}","dtype":"{dtype}","verdict":"{verdict}",'
              f'"budget":[{",".join(map(number, sorted(budgets)))}]}}')


main()
