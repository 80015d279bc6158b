#!/usr/bin/env python3
"""The biases of a training, made again from the loads that it logged, in Python's own numbers: an oracle that shares nothing with
the ops in C (unit/bench/replay.c is the same with them).

usage: replay.py [LOG ...]      logs of bench train --loads; docs/data/biases.jsonl unless said

Last line: N passed, N failed, N skipped.
"""

import json
import struct
import sys


def single(x):
    """The nearest binary32. Of a sum of two of them binary64 holds enough to round twice without harm."""
    return struct.unpack("f", struct.pack("f", x))[0]


def step(bias, load, speed):
    """bias + speed sign(mean - load), the mean compared in whole numbers; speed in binary32, as ports and torch have it."""
    total, n = sum(load), len(load)
    sign = [(total > n * x) - (total < n * x) for x in load]
    return [single(b + s * single(speed)) for b, s in zip(bias, sign)]


def check(path):
    """The number of layers whose last biases come out, and of those that don't."""
    plan, biases, passed, failed = None, {}, 0, 0
    for line in map(json.loads, open(path, encoding="utf-8")):
        if "study" in line:
            plan, biases = line, {}
        for layer, load in enumerate(line["load"] if "loads" in line else []):
            before = biases.get(layer, [0.0] * len(load))
            biases[layer] = step(before, load, plan["bias_update_speed"])
        for layer, bias in enumerate(line.get("bias", [])):
            same = [single(b) for b in bias] == biases[layer]
            if not same:
                print(f"{path}: layer {layer}: the biases that were logged are not those of the loads")
            passed, failed = passed + same, failed + (not same)
    return passed, failed


def main():
    results = [check(path) for path in sys.argv[1:] or ["docs/data/biases.jsonl"]]
    passed, failed = (sum(r[i] for r in results) for i in (0, 1))
    print(f"{passed} passed, {failed} failed, 0 skipped")
    sys.exit(failed > 0 or passed == 0)


main()
