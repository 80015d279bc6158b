#!/usr/bin/env python3
"""verify model --stages: what engines record, judged stage by stage on tiny checkpoints.

    unit/engines.py [own] [subsets] [pieces] [transformers] [planted] [hostile] [formats] [raw] [maps] [lines]

own           what verify itself writes with --dump, truth and the plain port, in every format: no stage is accused or left out
subsets       the same with tensors missing: what can be judged is, from what is left; the rest names what it needs
pieces        300 tokens are judged in pieces of 256 rows, the second on what is before it; a fault in a row is found in its piece
transformers  Hugging Face's model, recorded by verify/ports/record.py: f32 undeclared, bf16 as docs/engines.md declares it
planted       the same with one mistake each, and the order of [e | h] exchanged: found at its stage, and named
hostile       recordings that can't be used: one sentence and exit code 2, or a stage that isn't judged, with its reason
formats       router logits and weights in BF16, or in F32 that was BF16: right ones pass, a scale left out is found
raw           a recording as a folder of NAME.f32.bin and NAME.shape: judged like any; wrong ones, one sentence and exit code 2
maps          maps that can't be read: one sentence that names the line, and exit code 2; each operation on a plain recording
lines         --jsonl has what is printed, a line a stage; a file that can't be written: one sentence and exit code 2

Without torch and transformers (make transformers-port) all of it is skipped. Last line: N passed, N failed, N skipped.
"""

import fcntl
import functools
import glob
import hashlib
import json
import math
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("BUILD", os.path.join(HERE, "..", "build"))
VERIFY = os.path.join(BUILD, "bin", "verify")
FOLDER = os.path.join(BUILD, "engines", os.path.basename(sys.argv[0]).removesuffix(".py"))  # another program may run beside this one
PYTHON = os.path.join(BUILD, "ports", "python")
MADE_BY = ("recordings.py", "checkpoints.py", "record_transformers.py", "rename_recording.py", "held_weights.py", "../verify/ports/record.py")
TOKENS = "3,1,4,1,5,9,2,6,5,35,89,79"
count = {"passed": 0, "failed": 0, "skipped": 0}


def check(good, text):
    count["passed" if good else "failed"] += 1
    if not good:
        print(f"FAIL  {text}", flush=True)


def verify(*arguments):
    return subprocess.run([VERIFY, "model", *arguments], capture_output=True, text=True)


@functools.cache
def recordings():
    """The folder of what unit/recordings.py makes: once by these sources and this Python, for all programs; nobody writes there."""
    sources = [PYTHON, *(os.path.join(HERE, name) for name in MADE_BY)]
    digest = hashlib.sha256(TOKENS.encode() + b"".join(pathlib.Path(path).read_bytes() for path in sources)).hexdigest()[:12]
    folder = os.path.join(BUILD, "engines", "recordings-" + digest)
    with open(os.path.join(BUILD, "engines", "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(folder):
            for old in glob.glob(os.path.join(BUILD, "engines", "recordings-*")):
                shutil.rmtree(old)
            subprocess.run([PYTHON, os.path.join(HERE, "recordings.py"), folder + ".part", TOKENS], check=True)
            os.rename(folder + ".part", folder)
    return folder


def checkpoint(kind):
    return os.path.join(recordings(), "checkpoints", kind)


def totals(run):
    """Passed, failed and skipped of the last line; None if there is none."""
    found = re.search(r"(\d+) passed, (\d+) failed, (\d+) skipped\n$", run.stdout)
    return tuple(map(int, found.groups())) if found else None


def limit_of(ports):
    """That of verify/commands/drawn_models.c."""
    most, least = max(ports), min(ports)
    return 0 if most == 0 else math.inf if least == 0 else most * max(most / least, 2)


# ---- files, without a library: they are made wrong on purpose ----


def read(path):
    """Metadata and bytes of each tensor."""
    with open(path, "rb") as f:
        (length,) = struct.unpack("<Q", f.read(8))
        header, data = json.loads(f.read(length)), f.read()
    return {name: (t["dtype"], t["shape"], data[slice(*t["data_offsets"])]) for name, t in header.items() if name != "__metadata__"}


def write(path, tensors, header=lambda text: text):
    entries, at = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = header(json.dumps(entries)).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values()))
    return path


# ---- own ----


def record_own(kind, port, tokens=TOKENS):
    """A dump of verify itself."""
    dump = os.path.join(FOLDER, f"{port or 'truth'}-{kind}.safetensors")
    more = [f"--backend={port}"] if port else []
    run = verify(checkpoint(kind), f"--tokens={tokens}", f"--dump={dump}", *more)
    check(run.returncode == 0, f"{kind}, {port}: {run.stderr}")
    return dump


def own():
    for kind in ("odd-f32", "odd-bf16", "noq-bf16", "odd-fp8"):
        for port in ("plain", None) if kind == "odd-f32" else ("plain",):
            run = verify(checkpoint(kind), f"--stages={record_own(kind, port)}")
            check(run.returncode == 0 and totals(run) == (42, 0, 0), f"{kind}, {port or 'truth'}: {run.stdout[-300:]}{run.stderr}")


# ---- subsets ----


def names_in(run):
    """A run's outputs in one line."""
    return re.sub(r"\s+", " ", run.stdout)


def subset(what, kind, gone, passed, needs=(), stay=("",)):
    """The plain port's recording without tensors whose names end so, or with those alone."""
    tensors = read(os.path.join(FOLDER, f"plain-{kind}.safetensors"))
    rest = {name: t for name, t in tensors.items() if name.endswith(stay) and not (gone and name.endswith(gone))}
    run = verify(checkpoint(kind), "--stages=" + write(os.path.join(FOLDER, "subset.safetensors"), rest))
    good = run.returncode == 0 and totals(run) == (passed, 0, len(needs))
    good = good and all(f"{name} not judged: needs {lack}" in names_in(run) for name, lack in needs)
    check(good, f"{kind}, {what}: {totals(run)} {run.stderr} {names_in(run)[-600:]}")


def subsets():
    layers, tokens = range(6), "3,1,4,1"
    for kind in ("odd-f32", "noq-bf16"):
        record_own(kind, "plain", tokens)
        subset("no q", kind, (".self_attn.q", ".q_a_layernorm.output"), 42)
        subset("no attn_output", kind, (".attn_output",), 42)
        subset("no router_logits, act, shared_act", kind, (".router_logits", ".act", ".shared_act"), 42)
        subset("no choice", kind, (".topk_idx", ".act"), 42,
               [(f"model.layers.{n}.mlp.output", f"model.layers.{n}.mlp.gate.topk_idx") for n in layers[1:]]
               + [(f"model.layers.{n}.mlp.gate.topk_weight", f"model.layers.{n}.mlp.gate.topk_idx") for n in layers[1:]])  # fmt: skip
        query = "q_a_layernorm.output" if kind == "odd-f32" else "q"
        subset("no input of attention", kind, ("input_layernorm.output", ".attn_output"), 39,
               [(f"model.layers.{n}.self_attn.{of}", f"model.layers.{n}.input_layernorm.output") for n in layers for of in ("kv", query)])  # fmt: skip
        subset("routing alone", kind, None, 5,
               [(f"model.layers.{n}.mlp.router_logits", f"model.layers.{n}.post_attention_layernorm.output") for n in layers[1:]],
               ("input_ids", "router_logits", "topk_idx", "topk_weight"))  # fmt: skip
    listed()


def listed():
    """What a recording lacks, and what that costs."""
    tensors = read(record_own("odd-f32", "plain", "3,1,4,1"))
    for name in ("model.layers.2.self_attn.q", "model.layers.3.mlp.gate.topk_idx", "model.layers.1.input_layernorm.output"):
        del tensors[name]
    run = verify(checkpoint("odd-f32"), "--stages=" + write(os.path.join(FOLDER, "subset.safetensors"), tensors), "--stages-list")
    layer = "model.layers.{N}."
    for line in (f"5 of 6 {layer}self_attn.q without it wider: {layer}self_attn.attn_output 6 of 6",
                 f"4 of 5 {layer}mlp.gate.topk_idx without it not judged: {layer}mlp.gate.topk_weight, {layer}mlp.act, {layer}mlp.output 5 of 5",
                 f"{layer}self_attn.q_a_layernorm.output, {layer}self_attn.kv 0 of 6 {layer}self_attn.q_a_proj.output",
                 f"6 of 6 {layer}hidden_states", f"{len(tensors)} tensors recorded"):  # fmt: skip
        check(line in names_in(run), f"--stages-list: {line}: {names_in(run)}")
    check(run.returncode == 0 and "q_proj" not in run.stdout and "passed" not in run.stdout, "--stages-list judges nothing")


# ---- pieces ----


def pieces():
    """Of truth itself attention, whose second piece needs the kv of the first, experts and their choice."""
    tokens = ",".join(str(i * 37 % 97) for i in range(300))
    tensors = read(record_own("odd-f32", None, tokens))
    path, layer = os.path.join(FOLDER, "pieces.safetensors"), "model.layers.1."
    kept = ("input_ids", "model.layers.0.input_layernorm.output", "model.layers.0.self_attn.", layer + "post_attention_layernorm.output", layer + "mlp.")
    few = {name: t for name, t in tensors.items() if name.startswith(kept)}
    run = verify(checkpoint("odd-f32"), "--stages=" + write(path, few))
    first, second = (set(re.findall(rf"PASS\S* +(\S+), rows {rows} ", run.stdout)) for rows in ("0:256", "256:300"))
    got = totals(run)
    check(run.returncode == 0 and got and got[1] == 0, f"300 tokens: {got} {run.stdout[-600:]}{run.stderr}")
    check(first == second and {"model.layers.0.self_attn", layer + "mlp"} <= first, f"pieces: {first} {second}")
    few = {name: t for name, t in few.items() if name.startswith(("input_ids", layer))}
    name = layer + "mlp.output"
    for row, rows in ((255, "0:256"), (256, "256:300")):
        dtype, shape, data = tensors[name]
        wide = len(data) // shape[0]
        spoilt = data[:row * wide] + data[:wide] + data[(row + 1) * wide:]  # fmt: skip
        run = verify(checkpoint("odd-f32"), "--stages=" + write(path, few | {name: (dtype, shape, spoilt)}))
        at = re.search("first stage outside: (.*)", run.stdout)
        check(run.returncode == 1 and totals(run)[1] == 1 and at and f"rows {rows}" in at[1], f"row {row} of {name}: {at and at[1]} {totals(run)}")


# ---- transformers ----


def of_transformers(kind, mistake):
    """What transformers recorded: right, or with a mistake."""
    return os.path.join(recordings(), f"transformers-{kind}", mistake + ".safetensors")


def declaration():
    """The block of docs/engines.md that declares transformers in BF16, as a file."""
    path = os.path.join(FOLDER, "transformers-bf16.txt")
    with open(os.path.join(HERE, "..", "docs", "engines.md"), encoding="utf-8") as docs, open(path, "w", encoding="utf-8") as out:
        block = docs.read().split("### transformers in BF16\n")[1].split("\n\n")[1]
        out.write("\n".join(line.strip() for line in block.splitlines()))
    return path


def judged(kind, recording, *more):
    declared = [f"--numerics={declaration()}"] if kind == "odd-bf16" else []
    names = "transformers-v2" if kind.startswith(("v2", "lite")) else "transformers"
    return verify(checkpoint(kind), f"--stages={recording}", f"--map={names}", *declared, *more)


def transformers():
    for kind in ("odd-f32", "odd-bf16"):
        run = judged(kind, of_transformers(kind, "right"))
        check(run.returncode == 0 and totals(run) == (34, 0, 0), f"{kind}, transformers: {names_in(run)[-400:]} {run.stderr}")
        check("VACUOUS" not in run.stdout, f"{kind}: a stage is vacuous")
    for kind, stages in (("v2-f32", 34), ("lite-bf16", 30), ("moonlight-f32", 30)):
        run = judged(kind, of_transformers(kind, "right"))
        check(run.returncode == 0 and totals(run) == (stages, 0, 0), f"{kind}, transformers: {names_in(run)[-400:]} {run.stderr}")


# ---- planted ----


def found(kind, mistake, stage, words, failed):
    run = judged(kind, of_transformers(kind, mistake), "--diagnose")
    at = re.search("first stage outside: (.*)", run.stdout)
    good = run.returncode == 1 and at and at[1] == stage and all(word in names_in(run) for word in words)
    check(good and totals(run)[1] == failed, f"{kind}, {mistake}: {at and at[1]} {totals(run)} {names_in(run)[:900]}")
    return names_in(run)


def found_scale(kind, failed, factor):
    """routed_scaling_factor is left out: 1 is so much of it, within the error that is printed."""
    text = found(kind, "scale", "model.layers.1.mlp, topk_weight", ["routed_scaling_factor is", "that is all"], failed)
    said = re.search(r"routed_scaling_factor is (\S+) \+- (\S+) of what it should be", text)
    good = said and float(said[2]) < 1e-6 and abs(float(said[1]) - 1 / factor) < 4 * float(said[2])
    check(good, f"{kind}: {said and said[0]}, and 1 is {1 / factor} of {factor}")


def exchanged():
    """eh_proj as [h | e] makes it, in the plain port's recording."""
    path, weights = os.path.join(FOLDER, "exchanged.safetensors"), os.path.join(checkpoint("odd-f32"), "model.safetensors")
    program = f"""
from safetensors.torch import load_file, save_file
import torch
d, w, l = load_file({record_own("odd-f32", "plain")!r}), load_file({weights!r}), "model.layers.4."
d["mtp.0.eh_proj.output"] = torch.cat([d[l + "hnorm.output"], d[l + "enorm.output"]], 1) @ w[l + "eh_proj.weight"].T
save_file(d, {path!r})"""
    subprocess.run([PYTHON, "-c", program], check=True)
    return path


def planted():
    attention, routing = "model.layers.0.self_attn", "model.layers.1.mlp"
    found("odd-f32", "no_mscale", f"{attention}, attn_output", ["R6_no_mscale explains all"], 4)
    found("odd-f32", "no_mscale_2", "model.layers.2.self_attn, attn_output", ["R6_no_mscale explains all"], 1)
    found("odd-f32", "eps", "model.layers.0.input_layernorm, y", ["A3_eps_missing explains all"], 8)
    found_scale("odd-f32", 3, 1.7)
    found("odd-f32", "bias", f"{routing}, topk_idx", ["G15_bias_missing explains all"], 3)
    found("odd-f32", "zeroed", f"{attention}, y", ["in 11 rows"], 4)
    found("odd-bf16", "no_mscale", f"{attention}, attn_output", ["R6_no_mscale explains all"], 4)
    found("odd-bf16", "zeroed", f"{attention}, y", ["in 11 rows"], 4)
    found_scale("v2-f32", 3, 16)
    found("v2-f32", "no_mscale", f"{attention}, attn_output", ["R6_no_mscale explains all"], 4)
    found_scale("moonlight-f32", 3, 2.446)
    run = verify(checkpoint("odd-f32"), f"--stages={exchanged()}", "--diagnose")
    check("first stage outside: model.layers.4.eh_proj, y" in run.stdout and "M1_hidden_first explains all" in names_in(run),
          f"[h | e]: {names_in(run)[-900:]}")  # fmt: skip
    blind_zeroed()
    shifted()


def shifted():
    """Rows of one output are those before them, or behind them: that is said of it, and of what is made of it row by row."""
    for by, words in ((1, "rows are those before them"), (-1, "rows are those behind them")):
        for name in ("model.layers.1.self_attn.output", "model.norm.output", "model.layers.2.mlp.output"):
            tensors = read(record_own("odd-f32", "plain"))
            dtype, shape, data = tensors[name]
            row = len(data) // shape[0]
            tensors[name] = dtype, shape, data[-by * row :] + data[: -by * row]
            run = verify(checkpoint("odd-f32"), "--stages=" + write(os.path.join(FOLDER, "shifted.safetensors"), tensors), "--diagnose")
            stage = name.removesuffix(".output")
            at = re.search(r"FAIL\(proved\) +" + re.escape(stage) + r" \(\w+\)\n(.*?)\n\S", run.stdout, re.S)
            good = at and words in re.sub(r"\s+", " ", at[1]) and run.stdout.count("rows are those") == (3 if stage == "model.norm" else 1)
            check(good, f"{name}, rows moved by {by}: {at and at[1][:300]} {run.stdout.count('rows are those')} {names_in(run)[-200:]}")


def blind_zeroed():
    """Zeros in 11 of 12 rows where neither queries nor o_proj's input are recorded: no PASS says otherwise."""
    tensors = read(of_transformers("odd-bf16", "zeroed"))
    rest = {name: t for name, t in tensors.items() if not name.startswith("attention") and "o_proj.input" not in name}
    run = judged("odd-bf16", write(os.path.join(FOLDER, "blind.safetensors"), rest))
    passes = re.findall(r"PASS\S* +model\.layers\.\d\.self_attn \(mla\)", run.stdout)
    check(run.returncode in (0, 1) and not passes, f"zeroed, unseen: {passes} {names_in(run)[-300:]}")


# ---- hostile ----


def refused(what, words, *arguments):
    run = verify(checkpoint("odd-f32"), *arguments)
    lines = run.stderr.splitlines()
    good = run.returncode == 2 and len(lines) == 1 and all(word in lines[0] for word in words)
    check(good, f"{what}: exit {run.returncode}, {run.stderr}{run.stdout[-200:]}")


def changed(name, change):
    """A copy of the plain port's recording, its tensors changed."""
    tensors = read(os.path.join(FOLDER, "plain-odd-f32.safetensors"))
    change(tensors)
    return "--stages=" + write(os.path.join(FOLDER, name), tensors)


def unjudged(what, words, change, skipped=1):
    """Totals are there all the same, and nobody is accused."""
    run = verify(checkpoint("odd-f32"), changed("changed.safetensors", change))
    text = re.sub(r"\s+", " ", run.stdout)
    got = totals(run)
    good = run.returncode == 0 and got and got[1] == 0 and got[2] == skipped and all(word in text for word in words)
    check(good, f"{what}: exit {run.returncode}, {got} {run.stderr} {text[-400:]}")


def put(name, dtype=None, shape=None, data=None):
    def change(tensors):
        was = tensors[name]
        tensors[name] = (dtype or was[0], shape or was[1], was[2] if data is None else data)

    return change


def hostile():
    whole = record_own("odd-f32", "plain", "3,1,4")
    first = os.path.join(FOLDER, "first.safetensors")
    refused("no file", ["nowhere"], "--stages=nowhere.safetensors")
    refused("a folder without recordings", ["holds no file"], f"--stages={os.path.join(HERE, 'fuzz')}")
    with open(whole, "rb") as f, open(first, "wb") as cut:
        cut.write(f.read()[:40000])
    refused("cut", ["first.safetensors"], f"--stages={first}")
    both = os.path.join(FOLDER, "both")
    shutil.rmtree(both, ignore_errors=True)
    os.makedirs(both)
    for name in ("a", "b"):
        shutil.copy(whole, os.path.join(both, name + ".safetensors"))
    refused("a name in two files", ["in two of its files"], f"--stages={both}")
    write(first, {"input_ids": ("I32", [1], b"\0\0\0\0")}, lambda text: text[:-1] + "," + text[1:])
    refused("a name twice in one", ["input_ids"], f"--stages={first}")
    write(first, {"input_ids": ("F32", [1 << 62, 4], b"")})
    refused("2^62 rows", ["larger than any file"], f"--stages={first}")
    write(first, {"input_ids": ("U8", [1 << 62, 2, 0], b"")})
    refused("2^63 elements times 0", ["input_ids"], f"--stages={first}")
    refused("no tokens", ["input_ids", "--tokens"], changed("changed.safetensors", lambda t: t.pop("input_ids")))
    refused("other tokens", ["other input_ids"], f"--stages={whole}", "--tokens=3,1")
    refused("an id too large", ["vocab_size"], changed("changed.safetensors", put("input_ids", data=struct.pack("<3i", *[97] * 3))))
    refused("with a port", ["--backend"], f"--stages={whole}", "--backend=plain")
    refused("a section of no op", ["section"], f"--stages={whole}", "--numerics=[conv] acc 24 rn")
    refused("a section of no module", ["[linear lm_hed] is of no module"], f"--stages={whole}", "--numerics=[linear lm_hed] acc 24 rn")
    refused("a section of another op", ["[mla model.layers.1.mlp] is of no module"], f"--stages={whole}", "--numerics=[mla model.layers.1.mlp] acc 24 rn")
    refused("a section twice", ["[mla] stands twice"], f"--stages={whole}", "--numerics=[mla] acc 24 rn; [linear] acc 24 rn; [mla] acc 53 rn")
    refused("a clause of no op", ["unknown"], f"--stages={whole}", "--numerics=speed 3")
    norm, nan = "model.norm.output", struct.pack("<f", float("nan"))
    unjudged("another shape", [f"{norm} has the shape (2, 64), and (3, 64) is wanted"],
             put(norm, shape=[2, 64], data=bytes(2 * 64 * 4)), skipped=3)  # fmt: skip
    logits, q, act = "logits", "model.layers.0.self_attn.q", "model.layers.1.mlp.act"
    _, (tokens, k, width), _ = read(whole)[act]
    unjudged("turned over", [f"{norm} has the shape (64, 3), and (3, 64) is wanted"], put(norm, shape=[64, 3]), skipped=3)
    unjudged("no axes", [f"{logits} has the shape (291), and (3, 97) is wanted"], put(logits, shape=[291]))
    unjudged("heads first", [f"{q} has the shape (4, 3, 16), and (3, 4, 16) is wanted"], put(q, shape=[4, 3, 16]))
    unjudged("heads last", [f"{q} has the shape (3, 16, 4), and (3, 4, 16) is wanted"], put(q, shape=[3, 16, 4]))
    unjudged("experts of a token apart", [f"{act} has the shape"], put(act, shape=[k, tokens, width]))
    run = verify(checkpoint("odd-f32"), changed("changed.safetensors", put(logits, shape=[291])), "--strict")
    check(run.returncode == 1 and totals(run) == (41, 0, 1), f"strict: {run.returncode} {totals(run)}")
    for shape in ([3, 64], [1, 3, 4, 16], [3, 1, 2, 2, 16]):
        unjudged(f"as {shape}", ["42 passed"], put(q, shape=shape), skipped=0)
    unjudged("a wrong format", [f"{norm} is I32"], put(norm, dtype="I32"), skipped=3)
    unjudged("a stream that is missing", ["model.layers.0.input_layernorm.output"],
             lambda t: t.pop("model.embed_tokens.output"), skipped=2)  # fmt: skip
    run = verify(checkpoint("odd-f32"), changed("changed.safetensors", put(norm, data=nan * 3 * 64)))
    check(run.returncode == 1 and "first stage outside: model.norm, y" in run.stdout and " NAN " in run.stdout, f"NaN: {run.stdout[-600:]}")
    check("no public model" not in names_in(run), f"a NaN is of no format: {names_in(run)[-600:]}")


# ---- formats ----


def narrow(t):
    """An F32 tensor rounded to BF16."""
    words = struct.unpack(f"<{len(t[2]) // 4}I", t[2])
    return "BF16", t[1], struct.pack(f"<{len(words)}H", *((w + 0x7FFF + (w >> 16 & 1)) >> 16 for w in words))


def widened(t):
    return "F32", t[1], b"".join(b"\0\0" + t[2][i:i + 2] for i in range(0, len(t[2]), 2))  # fmt: skip


def in_f64(tensors):
    def wide(t):
        t = widened(t) if t[0] == "BF16" else t
        values = struct.unpack(f"<{len(t[2]) // 4}f", t[2])
        return "F64", t[1], struct.pack(f"<{len(values)}d", *values)

    return {name: wide(t) if t[0] in ("F32", "BF16") else t for name, t in tensors.items()}


def times(factor):
    def change(t):
        values = struct.unpack(f"<{len(t[2]) // 4}f", t[2])
        return "F32", t[1], struct.pack(f"<{len(values)}f", *(factor * v for v in values))

    return change


def formats():
    """What a router gives is judged in the format in which it is kept; tensors of formats that nobody asks for are read past."""
    others = {"c": ("C64", [3, 4], bytes(96)), "e": ("F8_E8M0", [3], bytes(3)), "f": ("F4", [3, 4], bytes(6)), "g": ("F6_E3M2", [4], bytes(3))}
    tensors = read(record_own("odd-f32", "plain", "3,1,4")) | others
    run = verify(checkpoint("odd-f32"), "--stages=" + write(os.path.join(FOLDER, "kept.safetensors"), tensors))
    check(run.returncode == 0 and totals(run) == (42, 0, 0), f"other formats: {run.stderr} {totals(run)}")
    write(os.path.join(FOLDER, "kept.safetensors"), tensors | {"h": ("F5", [8], bytes(5))})
    refused("a format of nobody", ["dtype F5 is unknown; known are F32", "F8_E8M0"], f"--stages={FOLDER}/kept.safetensors")
    for kind in ("odd-f32", "odd-bf16"):
        run = verify(checkpoint(kind), "--stages=" + write(os.path.join(FOLDER, "kept.safetensors"), in_f64(read(record_own(kind, "plain", "3,1,4")))))
        check(run.returncode == 0 and totals(run) == (42, 0, 0), f"{kind}, kept in F64: {totals(run)} {names_in(run)[-600:]}")
    router, weight = "model.layers.1.mlp", "model.layers.2.mlp"
    for kind in ("odd-f32", "odd-bf16"):
        for what, kept in (("BF16", narrow), ("BF16 in F32", lambda t: widened(narrow(t)))):
            tensors = read(record_own(kind, "plain", "3,1,4"))
            for gone in ("gate.topk_idx", "gate.topk_weight", "output", "act"):
                del tensors[f"{router}.{gone}"]
            del tensors[f"{weight}.output"]
            for name in (f"{router}.router_logits", f"{weight}.gate.topk_weight"):
                tensors[name] = kept(tensors[name])
            run = verify(checkpoint(kind), "--stages=" + write(os.path.join(FOLDER, "kept.safetensors"), tensors))
            check(run.returncode == 0 and totals(run) == (42, 0, 2), f"{kind}, {what}: {totals(run)} {names_in(run)[-600:]}")
            tensors = read(record_own(kind, "plain", "3,1,4"))
            name = f"{weight}.gate.topk_weight"
            tensors[name] = kept(times(1 / 1.7)(tensors[name]))
            run = verify(checkpoint(kind), "--stages=" + write(os.path.join(FOLDER, "kept.safetensors"), tensors))
            at = f"first stage outside: {weight}, topk_weight\n"
            check(run.returncode == 1 and at in run.stdout, f"{kind}, {what}, scale left out: {totals(run)} {names_in(run)[-600:]}")


# ---- raw files ----

FORMATS = {"F32": "f32", "BF16": "bf16", "F64": "f64", "I32": "i32", "I64": "i64"}


def as_raw(name, tensors):
    """A folder of NAME.FORMAT.bin and NAME.shape."""
    folder = os.path.join(FOLDER, name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    for name, (dtype, shape, data) in tensors.items():
        pathlib.Path(folder, f"{name}.{FORMATS[dtype]}.bin").write_bytes(data)
        pathlib.Path(folder, f"{name}.shape").write_text(" ".join(map(str, shape)) + "\n")
    return folder


def raw():
    for kind, port in (("odd-f32", "plain"), ("odd-bf16", "plain"), ("odd-f32", None)):
        run = verify(checkpoint(kind), "--stages=" + as_raw("raw", read(record_own(kind, port, "3,1,4"))))
        check(run.returncode == 0 and totals(run) == (42, 0, 0), f"{kind}, {port}, raw files: {run.stdout[-300:]}{run.stderr}")
    folder = as_raw("raw", {"input_ids": ("I32", [3], struct.pack("<3i", 3, 1, 4))})
    shape, whole = pathlib.Path(folder, "input_ids.shape"), f"--stages={folder}"
    for what, words, text in (("rows too many", ["needs 16 bytes, and it has 12"], "4"), ("one number", ["needs 4 bytes, and it has 12"], ""),
                              ("2^62", ["larger than any file"], "4611686018427387904"), ("2^62 times 2^62", ["larger than any file"], f"{1 << 62} {1 << 62}"),
                              ("2^64", ["axis 0 is no whole number"], str(1 << 64)), ("less than 0", ["axis 1 is no whole number"], "3 -1"),
                              ("a fraction", ["axis 0 is no whole number"], "3.0"), ("a comma", ["axis 0 is no whole number"], "(3,)"),
                              ("nine axes", ["more than 8 axes"], "3" + " 1" * 8), ("a NUL", ["NUL"], "3\0"), ("a long one", ["at most"], " " * 999)):  # fmt: skip
        shape.write_text(text)
        refused(f"a shape of {what}", words, whole)
    shape.unlink()
    refused("no shape", ["input_ids.shape", "No such file"], whole)
    folder = as_raw("raw", {"input_ids": ("I32", [3], struct.pack("<3i", 3, 1, 4))})
    pathlib.Path(folder, "input_ids.i64.bin").write_bytes(struct.pack("<3q", 3, 1, 4))
    refused("in two formats", ["in two of its files"], whole)


# ---- lines ----


def lines():
    path = os.path.join(FOLDER, "verdicts.jsonl")
    recording = of_transformers("odd-f32", "no_mscale")
    run = verify(checkpoint("odd-f32"), f"--stages={recording}", "--map=transformers", "--diagnose", f"--jsonl={path}")
    with open(path, encoding="utf-8") as f:
        *rows, end = map(json.loads, f)
    passed, failed, skipped = totals(run)
    check(failed > 0 and end == {"end": {"passed": passed, "failed": failed, "skipped": skipped}}, f"lines: {end} {totals(run)}")
    check([r["verdict"] for r in rows].count("PASS") == passed and len(rows) == passed + failed + skipped, f"lines: {len(rows)}")
    first = next((r for r in rows if r["verdict"] == "FAIL"), {"id": ""})
    outside = next((o["name"] for o in first.get("outputs", ()) if o["outside"]), "")
    check(f"first stage outside: {first['id']}, {outside}\n" in run.stdout, f"lines: {first['id']}, {outside}")
    check(first["backend"] == recording and first["port"] == "engine" and "hidden_states" in first.get("given", ""), f"lines: {first}")
    check(first["diagnosis"][0]["mistake"] == "R6_no_mscale", f"lines: {first['diagnosis']}")
    judged = f"--stages={recording}", "--map=transformers"
    folder, names = os.path.join(FOLDER, "lines"), os.path.join(FOLDER, "lines.txt")
    os.makedirs(folder, exist_ok=True)
    kept = {shutil.copy(recording, os.path.join(folder, "a.safetensors")), os.path.join(checkpoint("odd-f32"), "model.safetensors"),
            os.path.join(checkpoint("odd-f32"), "config.json"), shutil.copy(os.path.join(HERE, "..", "verify/engine/maps/transformers.txt"), names)}  # fmt: skip
    sizes = {path: os.path.getsize(path) for path in kept}
    for over in kept:
        refused(f"over {over}", ["is a file that is read"], f"--stages={folder}", f"--map={names}", f"--jsonl={over}")
    check(sizes == {path: os.path.getsize(path) for path in kept}, f"lines: {sizes}")
    refused("into a folder that isn't there", ["/nowhere/lines"], *judged, "--jsonl=/nowhere/lines")
    refused("into a full device", ["could not be written whole"], *judged, "--jsonl=/dev/full")
    refused("into the recording's folder", ["in the recording's folder"], f"--stages={folder}", f"--map={names}", f"--jsonl={folder}/b.safetensors")
    refused("beside no recording", ["leave it out"], f"--tokens={TOKENS}", f"--jsonl={path}")


# ---- maps ----


def map_of(text):
    path = os.path.join(FOLDER, "map.txt")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return f"--map={path}"


def turned(t, heads):
    """(rows, heads, width) as (heads, rows, width), its last 8 columns as halves."""
    dtype, (rows, _, width), data = t
    at = lambda r, h, c: 4 * ((r * heads + h) * width + c)  # noqa: E731
    order = [c if c < width - 8 else width - 8 + (c - width + 8) % 4 * 2 + (c - width + 8) // 4 for c in range(width)]
    cells = [data[at(r, h, c):at(r, h, c) + 4] for h in range(heads) for r in range(rows) for c in order]  # fmt: skip
    return dtype, [heads, rows, width], b"".join(cells)


def maps():
    whole = f"--stages={record_own('odd-f32', 'plain', '3,1,4')}"
    first = "model.norm.output = x"
    for what, words, text in (
            ("no rule", ["line 2", "no rule"], "# a comment\nnorm"), ("no stage", ["line 1", "no stage"], "model.norm.outpt = x"),
            ("no operation", ["line 1", "did you mean 'cols'"], first + " ; col 0:3"), ("no range", ["A:B"], first + " ; rows 3:3"),
            ("a range too large", ["A:B"], first + " ; cols 0:99999999999999999999"), ("braces", ["{X}"], "model.norm.output = a{X}"),
            ("too many operations", ["more than"], first + " ; turn" * 7), ("a word too many", ["stands alone"], first + " ; half 8"),
            ("a long name", ["no name"], "model.norm.output = " + "x" * 128), ("no name", ["no name"], "model.norm.output ="),
            ("a norm of tokens", ["are tokens"], "input_ids = input_ids ; normed input_ids"), ("a stream of tokens", ["are tokens"], "input_ids = x ; stream y"),
            ("a rank beside", ["x{R} has {R}"], first + " ; beside x{R}"), ("too many rules", ["line 201"], (first + "\n") * 201), ("a NUL", ["NUL"], first + "\0")):  # fmt: skip
        refused(what, words, whole, map_of(text))
    refused("no file", ["transformers"], whole, "--map=nowhere")
    norm, kv = "model.norm.output", "model.layers.0.self_attn.kv"
    for what, words, text in (("too many columns", ["64 columns"], f"{norm} = {norm} ; cols 0:65"),
                              ("nothing beside", ["nothing, which isn't recorded"], f"{norm} = {norm} ; beside nothing"),
                              ("unlike beside", ["don't fit side by side"], f"{norm} = {norm} ; beside input_ids"),
                              ("two axes turned", ["three are turned"], f"{norm} = {norm} ; turn")):  # fmt: skip
        run = verify(checkpoint("odd-f32"), whole, map_of(text))
        check(run.returncode == 0 and totals(run) == (40, 0, 3) and words[0] in names_in(run), f"{what}: {names_in(run)[-500:]}")

    def other_names(t):
        dtype, (rows, width), data = t.pop(kv)
        cut = lambda a, b: b"".join(data[4 * (r * width + a):4 * (r * width + b)] for r in range(rows))  # noqa: E731
        t["c"], t["k"], t["logits.both"] = (dtype, [rows, 16], cut(0, 16)), (dtype, [rows, 8], cut(16, 24)), t.pop("logits")
        t["q.0"] = turned(t.pop("model.layers.0.self_attn.q"), 4)
        dtype, shape, data = t.pop(norm)
        t["fused"] = dtype, [shape[0] + 1, shape[1]], bytes(4 * shape[1]) + data

    run = verify(checkpoint("odd-f32"), changed("changed.safetensors", other_names),
                 map_of(f"{kv} = c ; beside k\nlogits = logits.both ; cols 0:97\nmodel.layers.{{N}}.self_attn.q = nothing\n"
                        f"{norm} = fused ; rows 1:4 # behind one that is somebody else's\n"
                        "model.layers.{N}.self_attn.q = q.{N} ; turn ; half\n"
                        "model.layers.{N}.self_attn.q = model.layers.{N}.self_attn.q"))  # fmt: skip
    check(run.returncode == 0 and totals(run) == (42, 0, 0), f"other names: {names_in(run)[-500:]} {run.stderr}")


def run_chapters(chapters, more=()):
    """Runs those that the command line names, else all but `more`; says what was counted and ends the program."""
    program, names = os.path.basename(sys.argv[0]), sys.argv[1:] or [name for name in chapters if name not in more]
    if set(names) - set(chapters):
        sys.exit(f"{program}: the parts are {', '.join(chapters)}")
    os.makedirs(FOLDER, exist_ok=True)
    if not os.path.exists(PYTHON):
        print("skipped: no transformers here (make transformers-port)")
        count["skipped"] = len(names)
        names = []
    for name in names:
        chapters[name]()
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**count))
    sys.exit(count["failed"] > 0)


if __name__ == "__main__":
    run_chapters({"own": own, "subsets": subsets, "pieces": pieces, "transformers": transformers, "planted": planted, "hostile": hostile, "formats": formats,
                  "raw": raw, "maps": maps, "lines": lines})  # fmt: skip
