#!/usr/bin/env python3
"""Honest ports in all their configurations: the judge must pass every one.

run.py [--seed=N] [--seconds=S] [--elements=N] [--total=N] [--op=OP[,OP...]] [--climb] [--table] [--seeds=N] [--jobs=N]
       [--set=CHOICE=N,...]

Draws configurations (LEGAL=N) and seeds of cases, and prints a row an op and format: declarations drawn, cases (views and
sequences of calls among them), elements that were judged, vacuous and bad verdicts, and the largest budget with the
configuration that reached it. Each round is one configuration of an op on its CASES, on the larger ones in MANY, and on
a case with views or a sequence from verify/cases/ci.txt. Rounds go on for --seconds; with --elements until every op and
format has so many elements of cases that are not vacuous, and all together --total, and --seconds is a limit. --climb
then draws more around the best: the same configuration on other inputs, other configurations on the same input. --table
prints a row an op, format and clause besides: elements judged under it, bad ones, and the largest share of the budget
with LEGAL and the case that reached it. --seeds judges each configuration on so many inputs of each fill. Exit code 1
after a bad verdict, or where the elements were not reached.
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
SETTINGS = ""  # choices set by hand: ",exp=0"
PRESETS = "tiny|odd|edge"
CASES = {
    "rmsnorm": ["residual=0|1,x=bf16|f32;fill=real|exact|adversarial"],
    "linear": ["weight=bf16|f8_e4m3;fill=real|exact|adversarial",
               "x=f32,weight=f32|bf16|f8_e4m3;fill=real|exact|adversarial",
               "x=f8_e4m3,x_scale=f32|u8,weight_scale_inv=f32|u8,y=bf16|f32;fill=real|exact|adversarial"],
    "rope": ["x=bf16|f32;fill=real|exact|far|onehot|adversarial",
             "mscale=2.855425153,mscale_all_dim=1,x=bf16;fill=exact"],
    "gate": ["logits=f32|bf16;fill=real|exact|tie|neartie|negative|adversarial",
             "scoring_func=1,topk_method=1|2,norm_topk_prob=0|1,logits=f32;fill=real|neartie|adversarial"],
    "mla_decode": ["q=bf16|f32;fill=real|exact|onehot|uniform|nan_unused|adversarial",
                   "q=bf16|f32,kv_cache=f8_e4m3|u8;fill=real|exact|nan_unused|adversarial"],
    "mla_prefill": ["full=0|1,q=bf16|f32;fill=real|exact|onehot|uniform|adversarial"],
    "swiglu": ["gate=bf16|f32;fill=real|exact|tie|adversarial"],
    "cross_entropy": ["divisor=0|1,logits=f32|bf16;fill=real|exact|equal|adversarial"],
    "quant": ["amax_floor=0|1e-4,scale_fmt=0|1,x=bf16|f32;fill=real|exact|tie|adversarial"],
    "experts": ["n_tokens=4,stages=0|1,hidden_states=bf16|f32;fill=real|ids|adversarial",
                "n_tokens=4,stages=0|1,scale_fmt=0|1,hidden_states=f8_e4m3,x_scale=f32|u8,y=bf16|f32;fill=real|ids|mixed",
                "n_tokens=4,amax_floor=0.0001,hidden_states=f8_e4m3,y=f32;fill=adversarial"],
    "moe": ["n_tokens=4,stages=0|1,hidden_states=bf16|f32;fill=real|adversarial",
            "n_tokens=4,stages=0|1,weights=f8_e4m3;fill=real"],
    "mla": ["stages=0|1,hidden_states=bf16|f32;fill=real|adversarial", "stages=0|1,weights=f8_e4m3;fill=real",
            "rope_layout=1,stages=1,hidden_states=bf16|f32;fill=real"],
    "mtp": ["stages=0|1,hidden_states=bf16|f32;fill=real|adversarial", "stages=0|1,weights=f8_e4m3;fill=real"],
    "balance_loss": ["seq_aux=0|1;fill=real|exact|adversarial"],
    "bias_update": [";fill=real|exact|balanced|adversarial"],
    "embed": ["weight=bf16|f32;fill=real|exact|adversarial"],
    "mtp_accept": ["greedy=0|1;fill=real|exact|tie|neartie|onehot|adversarial"],
    "cache_store": ["kv=bf16|f32;fill=real|exact|adversarial",
                    "kv=bf16|f32,kv_cache=f8_e4m3,slot_mapping=i64|i32;fill=real|exact|tie|adversarial",
                    "amax_floor=0|1e-4,scale_floor=0|1e-4,scale_fmt=0|1,kv_cache=u8;fill=real|exact|tie|adversarial"],
    "mtp_inputs": ["tail=0|1,labels_given=0|1;fill=real|exact|adversarial"],
    "swiglu_backward": ["gate=bf16|f32;fill=real|exact|adversarial"],
    "rope_backward": ["grad_y=bf16|f32;fill=real|exact|far|onehot|adversarial",
                      "mscale=2.855425153,mscale_all_dim=1,grad_y=bf16;fill=exact"],
    "cross_entropy_backward": ["divisor=0|1,logits=f32|bf16;fill=real|exact|equal|large|adversarial"],
    "rmsnorm_backward": ["residual=0|1,x=bf16|f32,weight=bf16|f32;fill=real|exact|adversarial"],
    "linear_backward": ["x=bf16|f32,grad_weight=bf16|f32;fill=real|exact|adversarial"],
    "embed_backward": ["grad_y=bf16|f32,grad_weight=bf16|f32;fill=real|exact|adversarial"],
    "gate_backward": ["logits=bf16|f32,norm_topk_prob=0|1;fill=real|exact|adversarial",
                      "scoring_func=1,topk_method=1|2,norm_topk_prob=0|1,logits=bf16|f32;fill=real|exact|adversarial"],
    "balance_loss_backward": ["seq_aux=0|1;fill=real|exact|adversarial"],
    "mla_prefill_backward": ["q=bf16|f32;fill=real|exact|onehot|uniform|adversarial|shifted"],
    "experts_backward": ["n_tokens=4,hidden_size=9,hidden_states=bf16|f32,grad_gate_proj=bf16|f32;fill=real|exact|adversarial"],
    "merge_state": ["lse_base=0|1,empty=0|1,o_a=bf16|f32;fill=real|exact|empty|adversarial"],
}

MANY = {  # cases of many elements, where the sizes above have few
    "rmsnorm": ["@odd:n_tokens=100,x=bf16|f32"],
    "linear": ["@odd:n_tokens=100,weight=bf16|f8_e4m3", "@odd:n_tokens=100,x=f32,weight=f32|f8_e4m3",
               "@odd:n_tokens=9,in_features=320,out_features=192,x=f8_e4m3,x_scale=f32|u8,y=f32;fill=real|exact|adversarial"],
    "rope": ["@odd:n_tokens=200,x=bf16|f32;fill=real|far"],
    "gate": ["@odd:n_tokens=1000,logits=f32|bf16"],
    "mla_decode": ["@odd:batch=20,q=bf16|f32,kv_cache=bf16|u8"],
    "mla_prefill": ["@odd:batch=10,n_tokens=60,n_keys=100,q=bf16|f32"],
    "swiglu": ["@odd:n_tokens=400,gate=bf16|f32"],
    "cache_store": ["@odd:n_tokens=200,kv_lora_rank=300,scale_fmt=0|1,kv_cache=u8;fill=real|tie|adversarial",
                    "@odd:n_tokens=500,kv=bf16|f32,kv_cache=f8_e4m3;fill=real|tie|adversarial"],
    "cross_entropy": [":n_tokens=5000,vocab_size=7,logits=f32|bf16;fill=real|exact|adversarial"],
    "experts": ["@odd:n_tokens=30,stages=1,hidden_states=bf16|f32", "@tiny:n_tokens=200,stages=0,hidden_states=bf16|f32",
                "@odd:n_tokens=8,hidden_size=130,moe_intermediate_size=257,stages=0|1,hidden_states=f8_e4m3,y=f32"],
    "moe": ["@odd:n_tokens=30,stages=1,hidden_states=bf16|f32", "@tiny:n_tokens=200,stages=0,hidden_states=bf16|f32"],
    "mla": ["@odd:batch=8,n_tokens=40,kv_len=5,stages=1,hidden_states=bf16|f32",
            "@tiny:batch=40,n_tokens=200,kv_len=5,stages=0|1,hidden_states=bf16|f32"],
    "mtp": ["@odd:batch=4,n_tokens=20,stages=1,hidden_states=bf16|f32",
            "@tiny:batch=40,n_tokens=200,stages=0|1,hidden_states=bf16|f32"],
    "balance_loss": [":batch=4096,n_tokens=9000,n_routed_experts=4,num_experts_per_tok=2"],
    "bias_update": [":n_routed_experts=16384;fill=real|balanced|adversarial"],
    "mtp_accept": [":batch=5000,vocab_size=8,n_draft=2,greedy=0|1;fill=real|neartie"],
    "swiglu_backward": ["@odd:n_tokens=400,gate=bf16|f32"],
    "rope_backward": ["@odd:n_tokens=200,grad_y=bf16|f32;fill=real|far"],
    "cross_entropy_backward": [":n_tokens=1000,vocab_size=7,logits=f32|bf16;fill=real|exact|adversarial"],
    "rmsnorm_backward": ["@odd:n_tokens=100,residual=0|1,x=bf16|f32",
                         ":hidden_size=1..3,n_tokens=300,residual=0|1,x=f32;fill=real|exact"],
    "linear_backward": ["@odd:n_tokens=100,x=bf16|f32"],
    "embed_backward": ["@odd:n_tokens=500,grad_y=bf16|f32"],
    "gate_backward": ["@odd:n_tokens=500,scoring_func=0|1,logits=bf16|f32",
                      "@odd:num_experts_per_tok=1|2|3,n_tokens=100,scoring_func=0|1,logits=bf16|f32;fill=real|exact"],
    "balance_loss_backward": ["@odd:n_tokens=500,batch=20,seq_aux=0|1;fill=real|exact|adversarial",
                              ":n_routed_experts=1..3,num_experts_per_tok=1,n_tokens=7|100;fill=real|exact"],
    "mla_prefill_backward": ["@odd:batch=4,n_tokens=50,n_keys=70,q=bf16|f32;fill=real|adversarial",
                             "@odd:q_lens=0+4+2+1,kv_lens=5+0+1+7,q=bf16|f32;fill=real|uniform"],
    "experts_backward": ["@tiny:n_tokens=200,hidden_states=bf16|f32;fill=real|adversarial",
                         "@odd:hidden_size=40,moe_intermediate_size=12,n_routed_experts=6,hidden_states=bf16|f32"],
    "merge_state": ["@odd:n_tokens=200,lse_base=0|1,empty=1,o_a=bf16|f32;fill=real|empty|adversarial"],
}


def listed(op):
    """Cases of an op with views or a sequence of calls in @ci; those of DeepSeek-V3's sizes take too long."""
    with open("verify/cases/ci.txt", encoding="utf-8") as lines:
        ids = [line.split("#")[0].strip() for line in lines]
    return [i for i in ids if i.startswith(f"{op}@") and "@v3" not in i and ("view." in i or "/" in i)]


def ids_of(op, seed):
    """Case ids of an op with a seed; linear's formats of the weight need a fitting x, so they are two lists."""
    for words in CASES[op]:
        keys = words if words.startswith(";") else ":" + words
        yield f"{op}@{PRESETS}{keys};seed={seed}..{seed + SEEDS - 1}"
    for words in MANY.get(op, []):
        yield f"{op}{words};seed={seed}"
    if listed(op):
        yield f"{random.choice(listed(op))};seed={seed}"


def judge(legal, cases):
    """One run of the harness: the rows of its results."""
    env = dict(os.environ, LEGAL=f"{legal}{SETTINGS}")
    command = [f"{BUILD}/bin/verify", "run", "--proofs", *cases, f"--backend={BUILD}/legal/legal.so", "--format=jsonl",
               f"--jobs={JOBS}"]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode == 2:
        sys.exit(f"run.py: {done.stderr.strip()}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"id":')]


class Row:
    def __init__(self):
        self.configurations, self.elements, self.cases, self.bad, self.vacuous = set(), 0, 0, 0, 0
        self.views, self.sequences = 0, 0
        self.budget, self.best = -1, None

    def add(self, legal, result):
        """A case that is not skipped; True if its verdict is bad."""
        bad = not result["verdict"].startswith("PASS") and result["verdict"] != "VACUOUS"
        self.cases += 1
        self.configurations.add(result["declared"])
        self.vacuous += result["verdict"] == "VACUOUS"
        self.bad += bad
        self.views += "view." in result["id"]
        self.sequences += "/" in result["id"]
        if result["verdict"] != "VACUOUS":
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
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--elements", type=int, default=0)
    parser.add_argument("--total", type=int, default=0)
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
    seconds = args.seconds or (3600 if args.elements or args.total else 30)
    if args.elements or args.total:
        until_reached(rows, findings, ops, args, time.time() + seconds)
    else:
        for_seconds(rows, findings, ops, seconds, args.climb)
    if args.table:
        table()
    report(rows, findings, args)


def round_of(rows, findings, op):
    legal = random.randrange(1 << 30)
    for result in judge(legal, list(ids_of(op, random.randrange(1 << 30)))):
        count(rows, findings, op, legal, result)


def for_seconds(rows, findings, ops, seconds, climbs):
    """The same time for every op, and at least a round."""
    for op in ops:
        ends = time.time() + seconds / len(ops) * (0.6 if climbs else 1)
        round_of(rows, findings, op)
        while time.time() < ends:
            round_of(rows, findings, op)
        if climbs:
            climb(rows, findings, op, time.time() + seconds / len(ops) * 0.4)


def missing(rows, ops, wanted):
    """The ops that have a format with fewer elements than wanted; all have at least a round behind them."""
    return [op for op in ops if any(r.elements < wanted for (name, _), r in rows.items() if name == op)]


def until_reached(rows, findings, ops, args, ends):
    """A round for every op, then rounds for those with too few elements, then for all until the total is there."""
    todo = ops
    while todo and time.time() < ends:
        for op in todo:
            round_of(rows, findings, op)
        total = sum(r.elements for r in rows.values())
        todo = missing(rows, ops, args.elements) or (ops if total < args.total else [])


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


def report(rows, findings, args):
    print(f"{'op':14} {'format':8} {'draws':>6} {'cases':>7} {'views':>6} {'calls':>6} {'elements':>9} {'vacuous':>8} "
          f"{'bad':>5} {'budget':>7}")
    for (op, dtype), r in sorted(rows.items()):
        print(f"{op:14} {dtype:8} {len(r.configurations):6} {r.cases:7} {r.views:6} {r.sequences:6} {r.elements:9} "
              f"{r.vacuous:8} {r.bad:5} {max(r.budget, 0) * 100:6.1f}%  {r.best[0] if r.best else ''} "
              f"{r.best[1] if r.best else ''}")
    total = sum(r.elements for r in rows.values())
    print(f"{total} elements, {sum(r.bad for r in rows.values())} bad verdicts")
    few = [f"{op} {dtype}" for (op, dtype), r in sorted(rows.items()) if r.elements < args.elements]
    if few or total < args.total:
        print(f"fewer elements than asked for: {', '.join(few) or 'the total'}")
    for legal, result in findings[:args.show]:
        wrong = next((o for o in result["outputs"] if o.get("outside")), {})
        keys = ("name", "count", "outside", "worst", "got", "truth", "lower", "upper")
        print(f"\n{result['verdict']} LEGAL={legal} '{result['id']}' {result['why']}\n    {result['declared']}\n    "
              + " ".join(f"{k}={wrong[k]}" for k in keys if k in wrong))
    sys.exit(1 if findings or few or total < args.total else 0)


if __name__ == "__main__":
    main()
