#!/usr/bin/env python3
"""verify model --logits and --logprobs: what an engine said of the next tokens, beside truth and ports that are drawn.

    unit/logits.py [transformers] [planted] [lists] [hostile]       and, not unless asked for, [innocent]

transformers  Hugging Face's logits in f32 and bf16, as safetensors and as .npy: not rejected, and their figures are those that torch finds
planted       with one mistake each: rejected, or, where it is smaller than what rounding does, not
lists         the same as JSON of vLLM, SGLang, OpenAI's interface, and as tensors: all have one and the same figures
hostile       answers that can't be used: one sentence and exit code 2
innocent      of 1024 ports that are drawn each is judged by 32 others, 300 times: how many are rejected

Without torch and transformers (make transformers-port) all of it is skipped. Last line: N passed, N failed, N skipped.
"""

import json
import math
import os
import random
import re
import struct

from engines import FOLDER, TOKENS, check, checkpoint, declaration, limit_of, of_transformers, read, run_chapters, verify, write

IDS = [int(t) for t in TOKENS.split(",")]
FIGURES = ("half", "mean", "most", "off")


def judged(kind, option, *more):
    declared = [f"--numerics={declaration()}"] if kind == "odd-bf16" else []
    return verify(checkpoint(kind), option, *declared, *more)


def recorded(kind, mistake, *more):
    return judged(kind, f"--logits={of_transformers(kind, mistake)}", "--map=transformers", *more)


def figures(run):
    """The engine's column."""
    found = re.findall(r"^  (?:divergence.*,|most off,).*?  +([\d.e+-]+|inf) ", run.stdout, re.M)
    return dict(zip(FIGURES, map(float, found)))


def near(a, b, by=0.006):
    """As far as three digits tell."""
    return abs(a - b) <= by * abs(b)


# ---- what torch and Python find, from the same numbers ----


def decoded(tensor):
    dtype, shape, data = tensor
    if dtype == "BF16":
        values = [struct.unpack("<f", b"\0\0" + data[i:i + 2])[0] for i in range(0, len(data), 2)]  # fmt: skip
    else:
        values = struct.unpack(f"<{len(data) // {'F32': 4, 'F64': 8}[dtype]}{'f' if dtype == 'F32' else 'd'}", data)
    return [values[i:i + shape[-1]] for i in range(0, len(values), shape[-1])]  # fmt: skip


def logprobs(row):
    total = max(row) + math.log(sum(math.exp(v - max(row)) for v in row))
    return [v - total for v in row]


def truth_of(kind):
    dump = os.path.join(FOLDER, f"logits-{kind}.safetensors")
    check(verify(checkpoint(kind), f"--tokens={TOKENS}", f"--dump={dump}").returncode == 0, f"{kind}: no truth")
    return [logprobs(row) for row in decoded(read(dump)["logits"])]


def engine_of(kind, mistake="right"):
    tensors = read(of_transformers(kind, mistake))
    return tensors["lm_head.output"], [logprobs(row) for row in decoded(tensors["lm_head.output"])]


def expected(truth, engine):
    kl = sorted(sum(math.exp(p) * (p - q) for p, q in zip(t, e)) for t, e in zip(truth, engine))
    likeliest = [sorted(range(len(t)), key=lambda v, t=t: -t[v])[:10] for t in truth]
    off = max(abs(t[v] - e[v]) for t, e, ids in zip(truth, engine, likeliest) for v in ids)
    return dict(zip(FIGURES, (kl[(len(kl) - 1) // 2], sum(kl) / len(kl), kl[-1], off)))


def transformers():
    for kind in ("odd-f32", "odd-bf16"):
        run = recorded(kind, "right")
        good = run.returncode == 0 and "doesn't reject, and cannot prove" in run.stdout and "likeliest ids: 12 of 12" in run.stdout
        check(good, f"{kind}: exit {run.returncode} {run.stdout} {run.stderr}")
        tensor, engine = engine_of(kind)
        want, got = expected(truth_of(kind), engine), figures(run)
        by = {name: 0.006 if kind == "odd-bf16" or name == "off" else 3 for name in FIGURES}  # 4e-14 is Python's own rounding
        check(got.keys() == want.keys() and all(near(got[f], want[f], by[f]) for f in FIGURES), f"{kind}: {got}, Python has {want}")
        if kind == "odd-f32":
            as_npy(kind, tensor, got)


def as_npy(kind, tensor, want):
    path = os.path.join(FOLDER, "logits.npy")
    numpy_file(path, f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({len(IDS)}, 97), }}", tensor[2])
    run = judged(kind, f"--logits={path}", f"--tokens={TOKENS}", "--band=8")
    check(run.returncode == 0 and figures(run) == want, f".npy: {run.stdout}{run.stderr}")
    words = struct.unpack(f"<{len(tensor[2]) // 4}I", tensor[2])
    kept = struct.pack(f"<{len(words)}H", *((w + 0x7FFF + (w >> 16 & 1)) >> 16 for w in words))
    run = judged(kind, "--logits=" + write(os.path.join(FOLDER, "kept.safetensors"), {"any": ("BF16", [len(IDS), 97], kept)}), f"--tokens={TOKENS}")
    words = "its logits are numbers of bf16, and ports keep them in f32: that alone may reject\n"
    check(run.returncode == 1 and run.stdout.endswith(words), f"F32 kept in BF16: {run.stdout}{run.stderr}")
    last = os.path.join(FOLDER, "last.safetensors")
    run = judged(kind, "--logits=" + write(last, {"any": ("F32", [1, 97], tensor[2][-4 * 97:])}), f"--tokens={TOKENS}")  # fmt: skip
    check(run.returncode == 0 and run.stdout.startswith("1 tokens") and "likeliest ids: 1 of 1" in run.stdout, f"last row: {run.stdout}{run.stderr}")


def numpy_file(path, header, data, version=1):
    header += " " * (53 - len(header) % 64) + "\n"
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    with open(path, "wb") as f:
        f.write(b"\x93NUMPY" + bytes([version, 0]) + length + header.encode() + data)
    return path


# ---- planted ----


def planted():
    half = "rejects: divergence, half of rows"
    for kind, mistake, rejected in (("odd-f32", "no_mscale_2", True), ("odd-f32", "eps", True), ("odd-bf16", "no_mscale", True),
                                    ("odd-bf16", "scale", True), ("odd-bf16", "bias", True), ("odd-bf16", "zeroed", True),
                                    ("odd-bf16", "no_mscale_2", False)):  # fmt: skip
        run = recorded(kind, mistake)
        check(run.returncode == rejected and (half in run.stdout) == rejected, f"{kind}, {mistake}: {run.stdout}{run.stderr}")
    tensor, _ = engine_of("odd-f32")
    spoilt = tensor[0], tensor[1], struct.pack("<f", math.nan) + tensor[2][4:]
    run = judged("odd-f32", "--logits=" + write(os.path.join(FOLDER, "nan.safetensors"), {"logits": spoilt}), f"--tokens={TOKENS}")
    check(run.returncode == 1 and "rejects: row 0 is no distribution" in run.stdout, f"a NaN: {run.stdout}{run.stderr}")


# ---- lists ----


def likeliest(row, k, also=None):
    ids = sorted(range(len(row)), key=lambda v: -row[v])[:k]
    return ids + [also] * (also is not None and also not in ids)


def answers(engine, k=5):
    """One and the same in all forms: of token i what stands behind token i - 1."""
    rows = [None] + [[(v, engine[i - 1][v]) for v in likeliest(engine[i - 1], k, IDS[i])] for i in range(1, len(IDS))]
    own = [None] + [engine[i - 1][IDS[i]] for i in range(1, len(IDS))]
    described = [row and {str(v): {"logprob": p, "rank": n + 1, "decoded_token": "x"} for n, (v, p) in enumerate(row)} for row in rows]
    named = [row and {f"token_id:{v}": p for v, p in row} for row in rows]
    content = [{"token": f"token_id:{IDS[i]}", "logprob": own[i], "bytes": None,
                "top_logprobs": [{"token": f"token_id:{v}", "logprob": p} for v, p in rows[i]]} for i in range(1, len(IDS))]  # fmt: skip
    triples = [row and [[p, v, None] for v, p in row] for row in rows]
    input_tokens = [[own[i], IDS[i], None] for i in range(len(IDS))]
    return {
        "vllm": {"choices": [{"text": "", "prompt_logprobs": described}]},
        "vllm-root": {"prompt_logprobs": described, "choices": [{"logprobs": None}]},
        "vllm-prompt-and-output": {"choices": [{"prompt_logprobs": described[:8], "logprobs": {"top_logprobs": named[8:]}}]},
        "sglang": [{"meta_info": {"input_token_logprobs": input_tokens, "input_top_logprobs": triples}}],
        "sglang-input-and-output": {"meta_info": {
            "input_token_logprobs": input_tokens[:5], "input_top_logprobs": triples[:5],
            "output_token_logprobs": input_tokens[5:], "output_top_logprobs": triples[5:]}},  # fmt: skip
        "openai-chat": {"choices": [{"logprobs": {"content": content}}]},
        "openai-echo": {"choices": [{"logprobs": {"tokens": ["x"] * len(IDS), "top_logprobs": named}}]},
        "plain": [row and {str(v): p for v, p in row} for row in rows],
        "last": [{str(v): p for v, p in row} for row in rows[1:]],
    }


def said(form, answer, *more, kind="odd-bf16", tokens=TOKENS):
    path = os.path.join(FOLDER, form + ".json")
    with open(path, "w", encoding="utf-8") as f:
        f.write(answer if isinstance(answer, str) else json.dumps(answer))
    return judged(kind, f"--logprobs={path}", f"--tokens={tokens}", "--band=8", *more)


def bound(truth, engine, k=5):
    """Of the divergence, from what is listed, for tokens 1 and on."""
    found, off = [], 0
    for i in range(1, len(IDS)):
        ids, t, e = likeliest(engine[i - 1], k, IDS[i]), truth[i - 1], engine[i - 1]
        p, q = 1 - sum(math.exp(t[v]) for v in ids), 1 - sum(math.exp(e[v]) for v in ids)
        found.append(sum(math.exp(t[v]) * (t[v] - e[v]) for v in ids) + p * math.log(p / q))
        off = max(off, *(abs(t[v] - e[v]) for v in ids))
    found.sort()
    return dict(zip(FIGURES, (found[(len(found) - 1) // 2], sum(found) / len(found), found[-1], off)))


def lists():
    truth, (_, engine) = truth_of("odd-bf16"), engine_of("odd-bf16")
    want = bound(truth, engine)
    for form, answer in answers(engine).items():
        run = said(form, answer)
        got = figures(run)
        good = run.returncode == 0 and "cannot prove" in run.stdout and got.keys() == want.keys()
        check(good and all(near(got[f], want[f]) for f in FIGURES), f"{form}: {got}, Python has {want} {run.stdout}{run.stderr}")
    run = said("scale", answers(engine_of("odd-bf16", "scale")[1])["vllm"])
    check(run.returncode == 1 and "rejects: divergence at least, half" in run.stdout, f"scale: {run.stdout}{run.stderr}")
    alone = {"meta_info": {"input_token_logprobs": [[None, IDS[0], None]] + [[engine[i - 1][IDS[i]], IDS[i], None] for i in range(1, 12)]}}
    run = said("alone", alone)
    check(run.returncode == 0 and "likeliest ids: 0 of 0" in run.stdout, f"own tokens alone: {run.stdout}{run.stderr}")
    pair(engine, want)


def pair(engine, want):
    """The same as two tensors, of all tokens but the last: the token itself isn't among them."""
    ids = [likeliest(row, 5) for row in engine[:-1]]
    values = [engine[r][v] for r, row in enumerate(ids) for v in row]
    tensors = {"ids": ("I32", [11, 5], struct.pack("<55i", *sum(ids, []))), "logprobs": ("F32", [11, 5], struct.pack("<55f", *values))}
    run = judged("odd-bf16", "--band=8", "--logprobs=" + write(os.path.join(FOLDER, "pair.safetensors"), tensors), "--tokens=" + TOKENS.rsplit(",", 1)[0])
    got = figures(run)
    check(run.returncode == 0 and got and got["half"] <= want["most"] and "11 tokens" in run.stdout, f"a pair: {run.stdout}{run.stderr}")


# ---- hostile ----


def refused(what, words, run):
    lines = run.stderr.splitlines()
    good = run.returncode == 2 and len(lines) == 1 and all(word in lines[0] for word in words) and not run.stdout
    check(good, f"{what}: exit {run.returncode}, {run.stderr}{run.stdout[-200:]}")


def hostile():
    tensor, engine = engine_of("odd-f32")
    vllm = answers(engine)["vllm"]["choices"][0]["prompt_logprobs"]
    other = next(position for position in vllm[1:] if str(IDS[2]) not in position)
    for what, words, answer in (
            ("no JSON", ["no JSON"], "{"), ("nothing", ["holds no log-probabilities"], "{}"), ("a number", ["holds no"], "3"),
            ("two answers", ["holds no", "one answer"], [{"prompt_logprobs": vllm}] * 2),
            ("two choices", ["holds no"], {"choices": [{"prompt_logprobs": vllm}] * 2}),
            ("a key twice", ["no JSON", "duplicate"], '[null, {"1": -1, "1": -2}]'),
            ("text", ["position 1", "by its text", "return_tokens_as_token_ids"], [None, {" the": -1.0}]),
            ("an id too large", ["position 1", "vocab_size"], [None, {"97": -1.0}]),
            ("an id of 30 digits", ["position 1", "vocab_size"], [None, {"9" * 30: -1.0}]),
            ("above 0", ["position 1", "raw_logprobs"], [None, {"1": 3.5}]),
            ("a text for a number", ["position 1", "without a log-probability"], [None, {"1": "x"}]),
            ("a list of numbers", ["position 1", "no [logprob, id, text]"], [None, [3, 4]]),
            ("a position that is a text", ["position 1", "no list"], [None, "x"]),
            ("too many positions", ["more positions"], [None] + [{"1": -1.0}] * 12),
            ("all null", ["no token has"], [None, None]),
            ("another prompt", ["position 2", "own token"], [None, vllm[1], other]),
            ("another token", ["position 0", "is of the token 4"],
             {"choices": [{"logprobs": {"content": [{"token": "token_id:4", "logprob": -1.0, "top_logprobs": []}]}}]}),
            ("NaN", ["no JSON"], '[null, {"1": NaN}]'), ("deep", ["no JSON"], "[" * 100000)):  # fmt: skip
        refused(what, words, said("hostile", answer, kind="odd-f32"))
    one = write(os.path.join(FOLDER, "one.safetensors"), {"logits": ("F32", [12, 96], tensor[2][:4 * 12 * 96])})  # fmt: skip
    tokens, listed = f"--tokens={TOKENS}", os.path.join(FOLDER, "plain.json")
    refused("96 columns", ["96 columns", "vocab_size is 97"], judged("odd-f32", f"--logits={one}", tokens))
    two = write(os.path.join(FOLDER, "one.safetensors"), {"a": tensor, "b": tensor})
    refused("no logits", ["has no tensor logits"], judged("odd-f32", f"--logits={two}", tokens))
    refused("no ids", ["no tensors ids and logprobs"], judged("odd-f32", f"--logprobs={two}", tokens))
    three = write(os.path.join(FOLDER, "one.safetensors"), {"logits": tensor})
    refused("more rows", ["12 rows", "3 tokens"], judged("odd-f32", f"--logits={three}", "--tokens=3,1,4"))
    refused("other tokens", ["other input_ids"], recorded("odd-f32", "right", "--tokens=3,1,4"))
    refused("no tokens", ["--tokens"], judged("odd-f32", f"--logprobs={listed}"))
    refused("two questions", ["one run each"], judged("odd-f32", f"--logprobs={listed}", f"--logits={one}", tokens))
    refused("a port", ["--backend"], judged("odd-f32", f"--logits={one}", tokens, "--backend=plain"))
    refused("a band for nothing", ["--band"], verify(checkpoint("odd-f32"), tokens, "--band=9"))
    refused("a small band", ["--band"], judged("odd-f32", f"--logits={one}", tokens, "--band=7"))
    npy = os.path.join(FOLDER, "bad.npy")
    good, data = "{'descr': '<f4', 'fortran_order': False, 'shape': (12, 97), }", tensor[2]
    for what, words, header, content, version in (
            ("cut", ["needs 4656 bytes"], good, data[:-1], 1), ("too long", ["needs 4656 bytes"], good, data + b"\0", 2),
            ("of columns", ["fortran_order"], good.replace("False", "True"), data, 1), ("of bfloat16", ["descr is"], good.replace("<f4", "<V2"), data, 1),
            ("big endian", ["descr is"], good.replace("<f4", ">f4"), data, 1), ("without a shape", ["no shape"], "{'descr': '<f4', }", data, 1),
            ("2^62 rows", ["larger than any"], good.replace("12", str(1 << 62)), data, 1), ("2^70 rows", ["no whole number"], good.replace("12", str(1 << 70)), data, 1),
            ("minus one row", ["no whole number"], good.replace("12", "-12"), data, 1), ("nine axes", ["more than 8"], good.replace("12", "1, " * 8), data, 1),
            ("of version 9", ["version 9"], good, data, 9), ("without an end", ["whole number"], good[:good.index(")")], data, 1)):  # fmt: skip
        refused(f"numpy, {what}", words, judged("odd-f32", f"--logits={numpy_file(npy, header, content, version)}", tokens))
    with open(npy, "wb") as f:
        f.write(b"\x93NUMPY\1\0\xff\x0f" + b"{" * 90)
    refused("numpy, a header beyond the file", ["its header has 4095 bytes, and the file 100"], judged("odd-f32", f"--logits={npy}", tokens))


# ---- innocent ----


def innocent():
    random.seed(1)
    for kind in ("odd-f32", "odd-bf16"):
        run = recorded(kind, "right", "--band=1024", "--verbose")
        ports = [line.split() for line in run.stdout.splitlines() if line.startswith("  port ")]
        values, flips = [[float(v) for v in port[2:6]] for port in ports], ["experts" in port for port in ports]
        judged_ports = rejected = 0
        for _ in range(300):
            drawn = random.sample(range(len(values)), 32)
            says = range(4) if any(flips[d] for d in drawn) else range(1)
            limit = {f: limit_of([values[d][f] for d in drawn]) for f in says}
            rest = set(range(len(values))) - set(drawn)
            judged_ports += len(rest)
            rejected += sum(any(values[port][f] > limit[f] for f in says) for port in rest)
        print(f"{kind}: {sum(flips)} of {len(ports)} ports choose other experts; {rejected} of {judged_ports} are rejected")
        check(len(ports) == 1024 and rejected == 0, f"{kind}: {rejected} honest ports are rejected")


run_chapters({"transformers": transformers, "planted": planted, "lists": lists, "hostile": hostile, "innocent": innocent}, more=["innocent"])
