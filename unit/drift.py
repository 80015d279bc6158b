#!/usr/bin/env python3
"""verify model --stages --given=chain: how far an engine is from truth after every stage, beside ports that are drawn.

    unit/drift.py [transformers] [planted] [subsets] [hostile]       and, not unless asked for, [innocent]

transformers  Hugging Face's model in f32 and bf16: not rejected; figures are those that Python finds
planted       with one mistake each: the first stage beyond its limit is where the mistake is, also where logits don't see it
subsets       the streams between layers alone, as vLLM can extract them; stages that don't fit are left out
hostile       one sentence and exit code 2; a NaN rejects
innocent      of 512 ports that are drawn each is judged by 32 others, 100 times, on all stages at once: how many are rejected

Without torch and transformers (make transformers-port) all of it is skipped. Last line: N passed, N failed, N skipped.
"""

import math
import os
import random
import re
import struct

from engines import FOLDER, TOKENS, check, checkpoint, declaration, limit_of, of_transformers, read, run_chapters, verify, write


def judged(kind, recording, *more):
    declared = [f"--numerics={declaration()}"] if kind == "odd-bf16" else []
    return verify(checkpoint(kind), f"--stages={recording}", "--given=chain", *declared, *more)


def recorded(kind, mistake, *more):
    return judged(kind, of_transformers(kind, mistake), "--map=transformers", *more)


def figures(run):
    """The engine's column, by stage."""
    return {name: float(v) for name, v in re.findall(r"^(\S+) +([\d.e+-]+|inf) +[\d.e+-]+ +[\d.e+-]+ +(?:[\d.e+-]+|inf)(?: <-)?$", run.stdout, re.M)}


def decoded(tensor):
    dtype, shape, data = tensor
    if dtype == "BF16":
        values = [struct.unpack("<f", b"\0\0" + data[i:i + 2])[0] for i in range(0, len(data), 2)]  # fmt: skip
    else:
        values = struct.unpack(f"<{len(data) // {'F32': 4, 'F64': 8}[dtype]}{'f' if dtype == 'F32' else 'd'}", data)
    return [values[i:i + shape[-1]] for i in range(0, len(values), shape[-1])]  # fmt: skip


def transformers():
    for kind in ("odd-f32", "odd-bf16"):
        run = recorded(kind, "right")
        got = figures(run)
        check(run.returncode == 0 and "doesn't reject, and cannot prove" in run.stdout and len(got) == 34, f"{kind}: {run.stdout}{run.stderr}")
        dump = os.path.join(FOLDER, f"drift-{kind}.safetensors")
        check(verify(checkpoint(kind), f"--tokens={TOKENS}", f"--dump={dump}").returncode == 0, f"{kind}: no truth")
        truth, engine = read(dump), read(of_transformers(kind, "right"))
        for ours, theirs in (("logits", "lm_head.output"), ("model.layers.2.mlp.output",) * 2):
            rows = zip(decoded(truth[ours]), decoded(engine[theirs]))
            off = sorted(math.dist(t, e) / math.hypot(*t) for t, e in rows)
            want = off[(len(off) - 1) // 2]
            check(abs(got.get(ours, 9) - want) < 0.06 * want, f"{kind}, {ours}: {got.get(ours)}, Python has {want}")


def planted():
    for kind, mistake, first in (
            ("odd-f32", "no_mscale_2", "model.layers.2.self_attn.output"), ("odd-f32", "eps", "model.layers.0.input_layernorm.output"),
            ("odd-f32", "scale", "model.layers.1.mlp.output"), ("odd-bf16", "no_mscale", "model.layers.0.self_attn.output"),
            ("odd-bf16", "no_mscale_2", "model.layers.2.self_attn.output"), ("odd-bf16", "scale", "model.layers.1.mlp.output"),
            ("odd-bf16", "bias", "model.layers.1.mlp.output"), ("odd-bf16", "zeroed", "model.layers.0.self_attn.output")):  # fmt: skip
        run = recorded(kind, mistake)
        check(run.returncode == 1 and f"the first is {first}\n" in run.stdout, f"{kind}, {mistake}: {run.stdout}{run.stderr}")


def changed(name, change):
    tensors = read(of_transformers("odd-bf16", name))
    change(tensors)
    return write(os.path.join(FOLDER, "drift.safetensors"), tensors)


def subsets():
    def streams(tensors):
        kept = {f"model.layers.{n}.hidden_states": tensors[f"model.layers.{n}.output"] for n in range(4)}
        ids = tensors["input_ids"]
        tensors.clear()
        tensors.update(kept | {"input_ids": ids})

    run = judged("odd-bf16", changed("right", streams))
    check(run.returncode == 0 and len(figures(run)) == 4, f"streams alone: {run.stdout}{run.stderr}")
    run = judged("odd-bf16", changed("no_mscale", streams))
    check(run.returncode == 1 and "the first is model.layers.0.hidden_states" in run.stdout, f"streams, no mscale: {run.stdout}{run.stderr}")

    def misfit(tensors):
        streams(tensors)
        dtype, shape, data = tensors["model.layers.1.hidden_states"]
        tensors["model.layers.1.hidden_states"] = dtype, [shape[0] // 2, shape[1]], data[:len(data) // 2]

    run = judged("odd-bf16", changed("right", misfit))
    check(run.returncode == 0 and len(figures(run)) == 3, f"another shape: {run.stdout}{run.stderr}")
    said = "model.layers.1.hidden_states +not compared: model.layers.1.hidden_states has the shape \\(6, 64\\), and \\(12, 64\\) is wanted"
    check(re.search(said, run.stdout), f"another shape: {run.stdout}")
    tensors = read(of_transformers("odd-bf16", "right"))
    one = {name: (t[0], [1, *t[1][1:]] if t[1][0] == 12 else [1, 1, *t[1][2:]], t[2][: len(t[2]) // 12])
           for name, t in tensors.items() if 12 in t[1][:2] and (t[1][0] == 12 or t[1][0] == 1)}  # fmt: skip
    run = judged("odd-bf16", write(os.path.join(FOLDER, "drift.safetensors"), one), "--map=transformers", "--band=8")
    check(run.returncode == 0 and len(figures(run)) > 20, f"one token: {run.stdout}{run.stderr}")
    run = judged("odd-bf16", changed("right", lambda t: [t.pop(name) for name in list(t) if name != "input_ids"]))
    check(run.returncode == 3 and "no stage of a chain is recorded" in run.stdout, f"nothing: {run.returncode} {run.stdout}{run.stderr}")


def refused(what, words, run):
    lines = run.stderr.splitlines()
    good = run.returncode == 2 and len(lines) == 1 and all(word in lines[0] for word in words)
    check(good, f"{what}: exit {run.returncode}, {run.stderr}{run.stdout[-200:]}")


def hostile():
    refused("other tokens", ["other input_ids"], recorded("odd-bf16", "right", "--tokens=3,1"))
    refused("a list", ["--stages-list"], recorded("odd-bf16", "right", "--stages-list"))
    refused("diagnosis", ["--diagnose"], recorded("odd-bf16", "right", "--diagnose"))
    refused("a third way", ["--given=guess", "own, chain"], verify(
        checkpoint("odd-bf16"), "--stages=" + of_transformers("odd-bf16", "right"), "--given=guess"))  # fmt: skip
    refused("without stages", ["--given"], verify(checkpoint("odd-bf16"), "--tokens=1", "--given=own"))
    refused("a band of stages that are given their own", ["--band"], verify(
        checkpoint("odd-bf16"), "--stages=" + of_transformers("odd-bf16", "right"), "--band=9"))  # fmt: skip

    def spoil(tensors):
        dtype, shape, data = tensors["lm_head.output"]
        tensors["lm_head.output"] = dtype, shape, b"\xc0\x7f" * (len(data) // 2)

    run = judged("odd-bf16", changed("right", spoil), "--map=transformers", "--band=8")
    check(run.returncode == 1 and "the first is logits" in run.stdout, f"NaN: {run.stdout}{run.stderr}")


def innocent():
    random.seed(1)
    for kind in ("odd-f32", "odd-bf16"):
        run = recorded(kind, "right", "--band=512", "--verbose")
        stages = [[float(v) for v in line.split()[1:]] for line in run.stdout.splitlines() if line.startswith("  ports ")]
        judged_ports = rejected = 0
        for _ in range(100):
            drawn = random.sample(range(512), 32)
            limits = [limit_of([values[d] for d in drawn]) for values in stages]
            rest = set(range(512)) - set(drawn)
            judged_ports += len(rest)
            rejected += sum(any(values[port] > limit for values, limit in zip(stages, limits)) for port in rest)
        print(f"{kind}: {len(stages)} stages; {rejected} of {judged_ports} ports are rejected")
        check(len(stages) == 34 and rejected == 0, f"{kind}: {rejected} honest ports are rejected")


run_chapters({"transformers": transformers, "planted": planted, "subsets": subsets, "hostile": hostile, "innocent": innocent}, more=["innocent"])
