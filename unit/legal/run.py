#!/usr/bin/env python3
"""Honest ports in all their configurations: the judge must pass every one.

run.py [--seed=N] [--seconds=S] [--op=OP[,OP...]] [--climb] [--table] [--seeds=N] [--jobs=N] [--set=CHOICE=N,...]

Draws configurations (LEGAL=N) and seeds of cases, and prints a row an op and format: configurations, elements, verdicts
other than PASS, and the largest budget with the configuration that reached it. --climb then draws more around the best:
the same configuration on other inputs, other configurations on the same input. --table prints a row an op, format and
clause instead: elements judged under it, bad ones, and the largest share of the budget with LEGAL and the case that
reached it. --seeds judges each configuration on so many inputs of each fill. Exit code 1 after a bad verdict.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import time

BUILD = os.environ.get("BUILD", "build")
JOBS, SEEDS = 2, 1
FREEDOMS = {}  # a Row for each op, format and clause
SETTINGS = ""  # choices set by hand: ",disputed=1", ",exp=0"
PRESETS = "tiny|odd|edge"
CASES = {
    "rmsnorm": ["residual=0|1,x=bf16|f32;fill=real|exact|adversarial"],
    "linear": ["weight=bf16|f8_e4m3;fill=real|exact|adversarial",
               "x=f32,weight=f32|bf16|f8_e4m3;fill=real|exact|adversarial"],
    "rope": ["x=bf16|f32;fill=real|exact|far|onehot|adversarial"],
    "gate": ["logits=f32|bf16;fill=real|exact|tie|neartie|negative|adversarial",
             "scoring_func=1,topk_method=1|2,norm_topk_prob=0|1,logits=f32;fill=real|neartie|adversarial"],
    "mla_decode": ["q=bf16|f32;fill=real|exact|onehot|uniform|nan_unused|adversarial",
                   "q=bf16|f32,kv_cache=f8_e4m3|u8;fill=real|exact|nan_unused"],
    "mla_prefill": ["q=bf16|f32;fill=real|exact|onehot|uniform|adversarial"],
    "swiglu": ["gate=bf16|f32;fill=real|exact|adversarial"],
    "cross_entropy": ["divisor=0|1,logits=f32|bf16;fill=real|exact|equal|adversarial"],
    "quant": ["amax_floor=0|1e-4,scale_fmt=0|1,x=bf16|f32;fill=real|exact|tie|adversarial"],
    "experts": ["n_tokens=4,stages=0|1,hidden_states=bf16|f32;fill=real|ids|adversarial"],
    "moe": ["n_tokens=4,stages=0|1,hidden_states=bf16|f32;fill=real|adversarial",
            "n_tokens=4,stages=0|1,weights=f8_e4m3;fill=real"],
    "mla": ["stages=0|1,hidden_states=bf16|f32;fill=real|adversarial", "stages=0|1,weights=f8_e4m3;fill=real",
            "rope_layout=1,stages=1,hidden_states=bf16|f32;fill=real"],
    "mtp": ["stages=1,hidden_states=bf16|f32;fill=real|adversarial", "stages=1,weights=f8_e4m3;fill=real"],
    "balance_loss": ["seq_aux=0|1;fill=real|exact|adversarial"],
    "bias_update": [";fill=real|exact|balanced|adversarial"],
    "embed": ["weight=bf16|f32;fill=real|exact|adversarial"],
    "mtp_accept": ["greedy=0|1;fill=real|exact|tie|neartie|onehot|adversarial"],
}


def ids_of(op, seed, words=None):
    """Case ids of an op with a seed; linear's formats of the weight need a fitting x, so they are two lists."""
    for words in CASES[op]:
        keys = words if words.startswith(";") else ":" + words
        yield f"{op}@{PRESETS}{keys};seed={seed}..{seed + SEEDS - 1}"


def judge(legal, cases):
    """One run of the harness: the rows of its results."""
    env = dict(os.environ, LEGAL=f"{legal}{SETTINGS}")
    command = [f"{BUILD}/bin/verify", "run", *cases, f"--backend={BUILD}/legal/legal.so", "--format=jsonl",
               f"--jobs={JOBS}"]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode == 2:
        sys.exit(f"run.py: {done.stderr.strip()}")
    return [json.loads(line) for line in done.stdout.splitlines()]


class Row:
    def __init__(self):
        self.configurations, self.elements, self.cases, self.bad, self.vacuous = set(), 0, 0, 0, 0
        self.budget, self.best = -1, None

    def add(self, legal, result):
        """A case that is not skipped; True if its verdict is bad."""
        bad = not result["verdict"].startswith("PASS") and result["verdict"] != "VACUOUS"
        self.cases += 1
        self.configurations.add(result["declared"])
        self.vacuous += result["verdict"] == "VACUOUS"
        self.bad += bad
        self.elements += sum(o["count"] for o in result["outputs"])
        for out in result["outputs"]:
            used = out["budget"]
            if result["verdict"] == "PASS" and isinstance(used, (int, float)) and used > self.budget:
                self.budget, self.best = used, (legal, result["id"], result["declared"])
        return bad


def format_of(result):
    """That of the last output: y, o's lse apart."""
    outputs = [o for o in result["outputs"] if o["name"] != "lse"]
    return outputs[-1]["dtype"] if outputs else "?"


def freedoms_of(declared):
    """What a declaration says, clause by clause; of an accumulator the way it sums apart from its order."""
    for clause in declared.split(";"):
        words = clause.split()
        if words[:1] == ["acc"]:
            yield " ".join(w for w in words if not w.startswith("splits"))
            yield from (f"acc {w}" for w in words if w.startswith("splits"))
        elif words:
            yield " ".join(words)


def count(rows, findings, op, legal, result):
    if result["verdict"] == "SKIP":
        return
    if rows.setdefault((op, format_of(result)), Row()).add(legal, result):
        findings.append((legal, result))
    for freedom in freedoms_of(result["declared"]):
        FREEDOMS.setdefault((op, format_of(result), freedom), Row()).add(legal, result)


def climb(rows, findings, op, ends):
    """From the best of each format: other inputs, then other configurations of the same case."""
    best = [row.best for (name, _), row in rows.items() if name == op and row.best]
    for legal, case, _ in best:
        base = case.split(";seed=")[0]
        while time.time() < ends:
            first = random.randrange(1 << 30)
            for result in judge(legal, [f"{base};seed={first}..{first + 20}"]):
                count(rows, findings, op, legal, result)
            if time.time() > ends:
                break
            for _ in range(5):
                other = random.randrange(1 << 30)
                for result in judge(other, [f"{base};seed={first}"]):
                    count(rows, findings, op, other, result)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--op", default="")
    parser.add_argument("--climb", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--show", type=int, default=20)
    parser.add_argument("--set", default="")
    args = parser.parse_args()
    globals()["SETTINGS"] = args.set and "," + args.set
    globals()["JOBS"], globals()["SEEDS"] = args.jobs, args.seeds
    seed = args.seed if args.seed is not None else random.randrange(1 << 30)
    random.seed(seed)
    print(f"seed {seed}")
    ops = [o for o in args.op.split(",") if o] or have()
    rows, findings = {}, []
    for op in ops:
        ends = time.time() + args.seconds / len(ops) * (0.6 if args.climb else 1)
        while True:
            legal = random.randrange(1 << 30)
            for result in judge(legal, list(ids_of(op, random.randrange(1 << 30)))):
                count(rows, findings, op, legal, result)
            if time.time() > ends:
                break
        if args.climb:
            climb(rows, findings, op, time.time() + args.seconds / len(ops) * 0.4)
    if args.table:
        table()
    report(rows, findings, args.show)


def have():
    text = open("unit/legal/legal.h").read()
    return [op for op in CASES if f"PORT({op})" in text]


def table():
    """The witnesses: what every freedom of every op and format was seen to use of its budget."""
    print(f"{'op':14} {'format':8} {'freedom':40} {'elements':>9} {'bad':>5} {'budget':>7}  reached by")
    for (op, dtype, freedom), r in sorted(FREEDOMS.items()):
        print(f"{op:14} {dtype:8} {freedom:40} {r.elements:9} {r.bad:5} {max(r.budget, 0) * 100:6.1f}%  "
              + (f"LEGAL={r.best[0]} '{r.best[1]}'" if r.best else ""))
    print()


def report(rows, findings, show):
    print(f"{'op':14} {'format':8} {'configs':>8} {'cases':>7} {'elements':>9} {'vacuous':>8} {'bad':>5} {'budget':>7}")
    for (op, dtype), r in sorted(rows.items()):
        print(f"{op:14} {dtype:8} {len(r.configurations):8} {r.cases:7} {r.elements:9} {r.vacuous:8} {r.bad:5} "
              f"{r.budget * 100:6.1f}%  {r.best[0] if r.best else ''} {r.best[1] if r.best else ''}")
    print(f"{sum(r.elements for r in rows.values())} elements, {sum(r.bad for r in rows.values())} bad verdicts")
    for legal, result in findings[:show]:
        wrong = next((o for o in result["outputs"] if o.get("outside")), {})
        keys = ("name", "count", "outside", "worst", "got", "truth", "lower", "upper")
        print(f"\n{result['verdict']} LEGAL={legal} '{result['id']}' {result['why']}\n    {result['declared']}\n    "
              + " ".join(f"{k}={wrong[k]}" for k in keys if k in wrong))
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
