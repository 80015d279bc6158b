#!/usr/bin/env python3
"""verify model --stages beyond transformers: engines that run here, and recordings with other engines' names.

    unit/other_engines.py [mlx] [names] [hostile] [wide]

mlx   mlx-lm on mlx's CPU backend: its faults are found and named, and with them mended no stage is accused
names what transformers recorded under the names, in the layouts and ranks of SGLang, vLLM, llama.cpp and Megatron, padded, of
      several sequences, with two conventions of eps and three of MTP: no stage is accused, and those of a wrong convention are
hostile  files that are no recordings: one sentence and exit code 2; values and shapes that nothing follows from
wide  a layer of V3's widths, 1.9 GB of weights, 64 tokens: every stage passes in less than 1 GiB

Without torch and transformers (make transformers-port) all of it is skipped, mlx without make mlx-engine too. Last line: N passed,
N failed, N skipped.
"""

import json
import math
import os
import re
import shutil
import struct
import subprocess
import time
import zlib

from engines import (
    FOLDER, HERE, PYTHON, TOKENS, VERIFY, check, checkpoint, count, declaration, names_in, of_transformers, read, record_own, recordings, run_chapters,
    totals, verify, write,
)  # fmt: skip

# ---- mlx-lm ----


def shifted():
    """A checkpoint whose biases are all 2 less: that changes no choice, and no score of an expert is positive."""
    folder = os.path.join(FOLDER, "shifted")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(checkpoint("odd-f32"), folder)
    path = os.path.join(folder, "model.safetensors")
    tensors = read(path)
    for name, (dtype, shape, data) in tensors.items():
        if name.endswith("e_score_correction_bias"):
            values = struct.unpack(f"<{shape[0]}f", data)
            tensors[name] = dtype, shape, struct.pack(f"<{shape[0]}f", *[v - 2 for v in values])
    write(path, tensors)
    return folder


def of_mlx(folder, name):
    return verify(folder, f"--stages={os.path.join(FOLDER, name)}.safetensors", "--map=mlx", "--diagnose")


def first_outside(run):
    at = re.search("first stage outside: (.*)", run.stdout)
    return at and at[1]


def mlx():
    here = "import importlib.util, sys; sys.exit(not importlib.util.find_spec('mlx_lm'))"
    if subprocess.run([PYTHON, "-c", here]).returncode:
        print("skipped: no mlx-lm here (make mlx-engine)")
        count["skipped"] += 1
        return
    folder = shifted()
    command = [PYTHON, os.path.join(HERE, "record_mlx.py"), FOLDER, TOKENS, f"right={folder}", f"rope={folder}", f"released={checkpoint('odd-f32')}"]
    run = subprocess.run(command, capture_output=True, text=True)
    check(run.returncode == 0, f"mlx-lm: {run.stderr[-300:]}")
    run = of_mlx(folder, "right")
    check(run.returncode == 0 and totals(run) == (34, 0, 0), f"mlx-lm, mended: {names_in(run)[-400:]} {run.stderr}")
    run = of_mlx(folder, "rope")
    check(first_outside(run) == "model.layers.1.mlp, topk_idx" and "G3_masked_to_zero explains all" in names_in(run),
          f"mlx-lm, groups masked with 0: {first_outside(run)} {names_in(run)[:1500]}")  # fmt: skip
    run = of_mlx(checkpoint("odd-f32"), "released")
    check(first_outside(run) == "model.layers.0.self_attn, q" and totals(run) == (30, 4, 0) and "R6_no_mscale and R9_keys_unknown together explain all" in names_in(run),
          f"mlx-lm, rope_parameters dropped: {first_outside(run)} {totals(run)}")  # fmt: skip


# ---- other engines' names ----

RENAMED = {  # from which recording, and in F32 and BF16 what passes and what isn't judged
    "sglang-leaf": ("latent_eps", (34, 0, 3), (34, 0, 3)),  # a leaf dump lacks what layers with experts give
    "sglang": ("latent_eps", (34, 0, 0), (34, 0, 6)),  # partial sums in BF16
    "vllm": ("latent_eps", (30, 0, 3), (30, 0, 3)),  # the choice of experts
    "llama.cpp": ("latent_eps", (34, 0, 4), (34, 0, 4)),  # the output of attention
    "megatron": ("right", (34, 0, 0), (34, 0, 0)),
    "padded": ("right", None, None),
}


def renamed(kind, engine, mistake=None):
    return os.path.join(recordings(), "renamed-" + kind, mistake or RENAMED[engine][0], engine + ".safetensors")


def judge_renamed(kind, engine, recording, names=None):
    declared = [f"--numerics={declaration()}"] if kind == "odd-bf16" else []
    return verify(checkpoint(kind), f"--tokens={TOKENS}", f"--stages={recording}", f"--map={names or engine}", *declared)


def map_file(text, base=None):
    path = os.path.join(FOLDER, "other.txt")
    with open(path, "w", encoding="utf-8") as out:
        if base:
            with open(os.path.join(HERE, "..", "verify", "engine", "maps", base + ".txt"), encoding="utf-8") as f:
                out.write(f.read())
        out.write(text)
    return path


def names():
    for engine, (_, *expected) in RENAMED.items():
        for kind, counts in zip(("odd-f32", "odd-bf16"), expected):
            if counts:
                run = judge_renamed(kind, engine, renamed(kind, engine))
                check(run.returncode == 0 and totals(run) == counts, f"{kind}, {engine}: {totals(run)} {run.stderr} {names_in(run)[-600:]}")
    eps()
    ranks()
    padding()
    sequences()
    modules()


def eps():
    """Two conventions of the latents' norms: each is outside where the other is said."""
    run = judge_renamed("odd-f32", "vllm", renamed("odd-f32", "vllm", "right"))
    check(first_outside(run) == "model.layers.0.self_attn, q_a_layernorm" and totals(run)[1] == 4, f"eps 1e-6, config said: {totals(run)}")
    recording = of_transformers("odd-f32", "latent_eps")
    run = judge_renamed("odd-f32", "transformers", recording)
    check(first_outside(run) == "model.layers.0.self_attn, q_a_layernorm" and totals(run)[1] == 4, f"eps of the model, 1e-6 said: {totals(run)}")
    run = judge_renamed("odd-f32", "transformers", recording, map_file("set latent_eps = config\n", "transformers"))
    check(run.returncode == 0 and totals(run) == (34, 0, 0), f"eps of the model, said: {totals(run)}")


def altered(engine, name, change):
    """The engine's recording in F32 with one tensor changed: None removes it."""
    tensors = read(renamed("odd-f32", engine))
    tensors[name] = change(*tensors[name])
    if not tensors[name]:
        del tensors[name]
    return write(os.path.join(FOLDER, "altered.safetensors"), tensors)


def unjudged(what, engine, name, change, words):
    run = judge_renamed("odd-f32", engine, altered(engine, name, change))
    check(run.returncode == 0 and totals(run)[1] == 0 and words in names_in(run), f"{what}: {totals(run)} {run.stderr} {names_in(run)[-400:]}")


def ranks():
    layer = "rank1.model.layers.0.self_attn."
    unjudged("a rank that is missing", "sglang", layer + "attn_mha.inputs.0", lambda *t: None,
             f"needs {layer}attn_mha.inputs.0, which isn't recorded")  # fmt: skip
    run = judge_renamed("odd-f32", "sglang", altered("sglang", layer + "output", lambda dtype, shape, data: (dtype, shape, bytes(4) + data[4:])))
    words = f"rank0{layer[5:]}output and {layer}output differ, and ranks should hold the same"
    good = run.returncode == 1 and totals(run)[1] == 1 and first_outside(run) == f"{layer[6:]}output, {words}"
    check(good, f"ranks that differ: {run.returncode} {totals(run)} {first_outside(run)}")
    unjudged("a rank of another shape", "sglang", "rank1.model.layers.1.mlp.partial",
             lambda dtype, shape, data: (dtype, [shape[0], shape[1] // 2], data[: len(data) // 2]), "have other sizes")  # fmt: skip
    router = "rank0.decoder.layers.1.mlp.router.output.0"
    unjudged("a router that chose nobody", "megatron", router, lambda dtype, shape, data: (dtype, shape, bytes(len(data))),
             "row 0 has 0 columns that aren't 0, and 6 experts are chosen")  # fmt: skip
    recording = altered("sglang", "rank0.model.layers.1.mlp.partial", lambda dtype, shape, data: (dtype, shape, bytes(4 * 64) + data[256:]))
    run = judge_renamed("odd-f32", "sglang", recording)
    check(first_outside(run) == "model.layers.1.mlp, y", f"a sum that lacks a rank: {first_outside(run)}")


def padding():
    tensors = read(renamed("odd-f32", "padded"))
    ids = struct.pack("<3q", 7, 7, 7) + tensors["input_ids"][2] + struct.pack("<2q", 7, 7) if len(tensors["input_ids"][2]) == 96 else None
    if ids:
        tensors["input_ids"] = "I64", [17], ids
    recording = write(os.path.join(FOLDER, "padded.safetensors"), tensors)
    run = judge_renamed("odd-f32", "padded", recording, map_file("set rows = 3:15\n", "transformers"))
    check(run.returncode == 0 and totals(run) == (34, 0, 0), f"padded: {totals(run)} {run.stderr} {names_in(run)[-500:]}")
    names = f"--map={map_file('set rows = 3:15', 'transformers')}"
    run = verify(checkpoint("odd-f32"), f"--stages={recording}", names)
    check(run.returncode == 0 and totals(run) == (34, 0, 0), f"padded, tokens of the recording: {totals(run)} {run.stderr}")
    outside = struct.pack("<3q", -1, 97, -7) + tensors["input_ids"][2][24:]
    for what, ids in (("ids of nobody", {"input_ids": ("I64", [17], outside)}), ("ids by another name", {"ids": ("I64", [1, 17], outside)}), ("no ids", {})):
        rest = {name: t for name, t in tensors.items() if name != "input_ids"} | ids
        map_file("set rows = 3:15\n" + ("input_ids = ids\n" if "ids" in ids else ""), "transformers")
        run = verify(checkpoint("odd-f32"), f"--stages={write(recording, rest)}", names, *([] if ids else [f"--tokens={TOKENS}"]))
        check(run.returncode == 0 and totals(run) == (34, 0, 0), f"padded, {what}: {totals(run)} {run.stderr} {names_in(run)[-300:]}")
    run = verify(checkpoint("odd-f32"), f"--stages={recording}", names, "--tokens=3,1")
    check(run.returncode == 2 and "is of 12 tokens, and --tokens has 2" in run.stderr, f"padded, few tokens: {run.returncode} {run.stderr}")
    recording = write(os.path.join(FOLDER, "padded.safetensors"), tensors)
    for words, text in (("17 tokens", "set rows = 3:18\n"), ("of other tokens", "set rows = 2:14\n"), ("wanted is A:B", "set rows = 3\n"),
                        ("did you mean 'rows'", "set row = 3:4\n"), ("belongs behind it", "logits = a{R}\n"), ("no {R}", "logits = a ; ranks cat\n"),
                        ("ranks cat ranks same ranks sum", "logits = a{R} ; ranks all\n"), ("wanted is norm", "set mtp_input = both\n"),
                        ("no range", "logits = a ; cols width:\n"), ("has none", "logits = a{N}\n"), ("has none", "logits = a ; beside b{K}\n"),
                        ("for each of them", "model.layers.{N}.mlp.output = a\n"), ("stands twice", "set ranks = 1\nset ranks = 2\n"),
                        ("no stage", "model.layers.01.mlp.output = a\n"), ("no stage", "model.layers.99999999999999999999.mlp.output = a\n"),
                        ("twice", "model.layers.{N}.mlp.experts.{E}.{E}.weight = a{N}{E}\n"), ("has none", "model.norm.weight = a{E}\n"),
                        ("has no {E}", "model.layers.{N}.mlp.experts.{E}.down_proj.weight = a{N}\n"),
                        ("wanted is lengths", "set seqlens = 5,\n"), ("wanted is lengths", "set seqlens = -5,17\n")):  # fmt: skip
        run = judge_renamed("odd-f32", "padded", recording, map_file(text, "transformers"))
        lines = run.stderr.splitlines()
        check(run.returncode == 2 and len(lines) == 1 and words in lines[0], f"{text}: exit {run.returncode} {run.stderr}")


def packed(lens):
    """transformers' recording of so many of its first tokens, again and again, and two rows of nobody behind."""
    tensors, out, rows = read(of_transformers("odd-f32", "right")), {}, 12
    for name, (dtype, shape, data) in tensors.items():
        axis = shape.index(rows) if rows in shape else None
        if axis is None:
            continue
        inner, outer = len(data) // math.prod(shape[: axis + 1]), math.prod(shape[:axis])
        blocks = [data[i * rows * inner : (i + 1) * rows * inner] for i in range(outer)]
        nobody = b"\0" * (2 * inner) if dtype[0] == "I" else b"\xff" * (2 * inner)  # NaN
        put = b"".join(b"".join(block[: n * inner] for n in lens) + nobody for block in blocks)
        out[name] = dtype, [*shape[:axis], sum(lens) + 2, *shape[axis + 1 :]], put
    return out


def sequences():
    """Several in one recording: a prompt and its beginnings, each with positions and keys of its own."""
    right = packed((5, 12, 1))
    right |= {"lens": ("I64", [3], struct.pack("<3q", 5, 12, 1)), "starts": ("I32", [4], struct.pack("<4i", 0, 5, 17, 18))}
    path = os.path.join(FOLDER, "packed.safetensors")

    def judged(tensors, said, *more):
        names = map_file(f"set seqlens = {said}\n" if said else "", "transformers")
        return verify(checkpoint("odd-f32"), f"--stages={write(path, tensors)}", f"--map={names}", *more)

    for said in ("5,12,1", "lens", "starts"):
        run = judged(right, said)
        check(run.returncode == 0 and totals(run) == (102, 0, 0), f"seqlens {said}: {totals(run)} {run.stderr} {names_in(run)[-500:]}")
    run = judged(right, "5,0,12")
    check(run.returncode == 0 and totals(run) == (68, 0, 0), f"a sequence of no token: {totals(run)} {run.stderr}")
    run = judged(right, "6,11")
    check(run.returncode == 1 and first_outside(run) == "model.layers.0.self_attn, sequence 1, q", f"cut elsewhere: {first_outside(run)}")
    wrong = dict(right)
    dtype, shape, data = wrong["model.layers.1.mlp.output"]
    wrong["model.layers.1.mlp.output"] = dtype, shape, data[: 9 * 256] + bytes(256) + data[10 * 256 :]
    run = judged(wrong, "lens")
    check(first_outside(run) == "model.layers.1.mlp, sequence 2, y" and totals(run) == (100, 2, 0), f"a row of the second: {first_outside(run)} {totals(run)}")
    batch(path)
    right["minus"], right["much"], right["half"] = (("I64", [2], struct.pack("<2q", *v)) for v in ((5, -1), (5, 1 << 40), (1, 99)))
    for words, said, more in (
            ("sequence 2 ends behind the last of 20 tokens", "5,16", ()), ("sequence 2 ends behind", "5,99999999999999999999", ()),
            ("sequence 2 has -1 tokens", "minus", ()), ("much", "much", ()), ("sequence 2 ends behind", "half", ()),
            ("wanted is lengths", "5,,7", ()), ("that isn't recorded", "nobody", ()), ("", "logits.7", ()),
            ("leave one out", "5,12\nset rows = 0:5", ()), ("set seqlens is for stages", "5,12,1", ("--given=chain",))):  # fmt: skip
        run = judged(right, said, *more)
        check(run.returncode == 2 and len(run.stderr.splitlines()) == 1 and words in run.stderr, f"seqlens {said!r}: {run.returncode} {run.stderr}")
    names = map_file("set rows = 0:12\n", "transformers")
    run = verify(checkpoint("odd-f32"), f"--stages={path}", f"--map={names}", "--given=chain")
    check(run.returncode == 2 and "set rows is for stages" in run.stderr, f"rows of a chain: {run.returncode} {run.stderr}")


def batch(path):
    """input_ids (2, 12) are two sequences, whatever the axes of the rest; a whole model is one."""
    names = map_file("", "transformers")
    for lead in ([2, 12], [24], [1, 2, 12]):
        tensors = {}
        for name, (dtype, shape, data) in packed((12, 12)).items():
            axis = shape.index(26)
            inner, outer = len(data) // math.prod(shape[: axis + 1]), math.prod(shape[:axis])
            parts = [data[(i * 26 + b * 12) * inner :][: 12 * inner] for b in (0, 1) for i in range(outer)]  # a sequence after the other
            if outer == 1:
                shape = [2, 12] if name == "input_ids" else [*lead, *shape[axis + 1 :]]
            elif len(lead) > 1:
                shape = [*lead[:-1], *shape[:axis], 12, *shape[axis + 1 :]]
            else:
                parts, shape = [p for i in range(outer) for p in parts[i::outer]], [*shape[:axis], 24, *shape[axis + 1 :]]
            tensors[name] = dtype, shape, b"".join(parts)
        run = verify(checkpoint("odd-f32"), f"--stages={write(path, tensors)}", f"--map={names}")
        check(run.returncode == 0 and totals(run) == (68, 0, 0), f"a batch as {lead}: {totals(run)} {run.stderr} {names_in(run)[-400:]}")
    ids = {"input_ids": ("I64", [2, 12], struct.pack("<24q", *range(24))), "model.embed_tokens.output": ("F32", [12, 2, 64], bytes(24 * 256))}
    run = verify(checkpoint("odd-f32"), f"--stages={write(path, ids)}")
    words = "begins with 12 rows, and input_ids are a batch of 2 sequences"
    check(run.returncode == 3 and words in names_in(run), f"a batch turned over: {run.returncode} {names_in(run)[-300:]}")
    run = verify(checkpoint("odd-f32"), f"--stages={path}", f"--map={names}", "--given=chain")
    check(run.returncode == 2 and "input_ids are a batch, of 12 tokens each" in run.stderr, f"a batch's chain: {run.returncode} {run.stderr}")


def modules():
    """Three conventions of the state that MTP modules are given; the norms of the plain port's, made anew of each."""
    tensors = record_own("odd-f32", "plain")
    program = """
import sys, torch
from safetensors.torch import load_file, save_file
d, w = load_file(sys.argv[1]), load_file(sys.argv[2])
norm = lambda x, name: (x / (x.double().pow(2).mean(-1, keepdim=True) + 0.01).sqrt() * w[name]).float()
state = {"norm": ("model.norm.output", "model.layers.4.shared_head.norm.output"), "stream": ("model.layers.3.hidden_states", "mtp.0.hidden_states")}
state["norm-then-stream"] = state["norm"][0], state["stream"][1]
for name, (first, second) in state.items():
    out = {"input_ids": d["input_ids"]} | {n: d[n] for n in (first, second)}
    for layer, of in ((4, first), (5, second)):
        out[f"model.layers.{layer}.hnorm.output"] = norm(d[of][:-1], f"model.layers.{layer}.hnorm.weight")
    save_file(out, f"{sys.argv[3]}/mtp-{name}.safetensors")"""
    command = [PYTHON, "-c", program, tensors, os.path.join(checkpoint("odd-f32"), "model.safetensors"), FOLDER]
    run = subprocess.run(command, capture_output=True, text=True)
    check(run.returncode == 0, f"modules: {run.stderr[-300:]}")
    states = ("norm", "stream", "norm-then-stream")
    for made in states:
        for said in states:
            run = verify(checkpoint("odd-f32"), f"--stages={FOLDER}/mtp-{made}.safetensors", f"--map={map_file(f'set mtp_input = {said}')}")
            passed = len(re.findall(r"PASS\S+ +model\.layers\.[45]\.hnorm", run.stdout))
            wanted = 2 if made == said else sum(a == b for a, b in zip(*((x.split("-then-") * 2)[:2] for x in (made, said))))
            check(passed == wanted and (made != said or totals(run)[1] == 0), f"made of {made}, {said} said: {passed} {totals(run)} {run.stderr}")


# ---- hostile ----

ONE = {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}


def raw(header, data=bytes(8), length=None):
    """A file of this header, as a value or as text."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(**changed):
    return raw({"x": ONE | changed})


# What is wrong, the file, and a word of the sentence.
FILES = (
    ("an empty file", b"", "empty"), ("seven bytes", bytes(7), "7 bytes"), ("no header", bytes(8), ""),
    ("a header of 2^62 bytes", raw(b"{}", length=1 << 62), "header"), ("a header of 2^64 - 1 bytes", raw(b"{}", length=(1 << 64) - 1), "header"),
    ("a header behind the end", raw({"x": ONE}, length=4000), "header"), ("no JSON", raw(b"{x}"), ""), ("half a JSON", raw(b'{"x":{"dtype":'), ""),
    ("a list", raw([ONE]), ""), ("a number", raw(3), ""), ("a NUL", raw(b'{"x\\u0000y":' + json.dumps(ONE).encode() + b"}"), ""),
    ("100000 brackets", raw(b"[" * 100000), ""), ("bytes that aren't UTF-8", raw(b'{"\xff\xfe":' + json.dumps(ONE).encode() + b"}"), ""),
    ("an entry that is no object", raw({"x": 3}), "x"), ("no dtype", raw({"x": {"shape": [1, 2], "data_offsets": [0, 8]}}), "x"),
    ("no shape", raw({"x": {"dtype": "F32", "data_offsets": [0, 8]}}), "x"), ("no offsets", raw({"x": {"dtype": "F32", "shape": [1, 2]}}), "x"),
    ("a shape of -1", entry(shape=[-1, -2]), "x"), ("a shape of 1.5", entry(shape=[1.5, 2]), "x"), ("a shape of words", entry(shape=["1", "2"]), "x"),
    ("2^62 rows", entry(shape=[1 << 62, 2]), "x"), ("2^62 rows and as many columns", entry(shape=[1 << 62, 1 << 62]), "x"),
    ("2^63 rows", entry(shape=[1 << 63, 2]), ""), ("2^32 times 2^32 elements", entry(shape=[1 << 32, 1 << 32]), "x"),
    ("2^62 rows of none", raw({"x": ONE | {"shape": [1 << 62, 4, 0], "data_offsets": [0, 0]}}, b""), "x"),
    ("nine axes", entry(shape=[1] * 8 + [2]), "x"), ("offsets of 2^62", entry(data_offsets=[1 << 62, (1 << 62) + 8]), "x"),
    ("offsets that go back", entry(data_offsets=[8, 0]), "x"), ("offsets below 0", entry(data_offsets=[-8, 0]), "x"),
    ("offsets behind the end", entry(data_offsets=[8, 16]), "x"), ("too few bytes", entry(data_offsets=[0, 4]), "x"),
    ("three offsets", entry(data_offsets=[0, 8, 16]), "x"), ("a name twice", raw(b'{"x":%s,"x":%s}' % ((json.dumps(ONE).encode(),) * 2)), "x"),
    ("two at one place", raw({"x": ONE, "y": ONE}), ""),
    ("a name of 300 letters", raw({"x" * 300: ONE}), ""), ("nothing in it", raw({}, b""), "holds no tensor"),
)  # fmt: skip


def refused(what, words, stages):
    run = verify(checkpoint("odd-f32"), f"--tokens={TOKENS}", f"--stages={stages}")
    lines = run.stderr.splitlines()
    good = run.returncode == 2 and len(lines) == 1 and words in lines[0] and len(lines[0]) < 600 and lines[0].isprintable()
    check(good, f"{what}: exit {run.returncode}, {run.stderr[:300]} {run.stdout[-200:]}")


def hostile():
    path, whole = os.path.join(FOLDER, "hostile.safetensors"), record_own("odd-f32", "plain")
    for what, content, words in FILES:
        with open(path, "wb") as f:
            f.write(content)
        refused(what, words, path)
    with open(whole, "rb") as f:
        content = f.read()
    for part in range(1, 20):
        with open(path, "wb") as f:
            f.write(content[: len(content) * part // 20])
        refused(f"{part} twentieths of a file", "hostile", path)
    folder = os.path.join(FOLDER, "hostile")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(os.path.join(folder, "a.safetensors"))
    refused("a folder where a file belongs", "a.safetensors", folder)
    os.rmdir(os.path.join(folder, "a.safetensors"))
    shutil.copy(whole, os.path.join(folder, "rank0.safetensors"))
    shutil.copy(path, os.path.join(folder, "rank1.safetensors"))
    refused("one rank cut short", "rank1.safetensors", folder)
    os.remove(os.path.join(folder, "rank1.safetensors"))
    os.symlink("rank1.safetensors", os.path.join(folder, "rank1.safetensors"))
    refused("a link to itself", "rank1.safetensors", folder)
    numbers()


def numbers():
    """A value, or a shape, that nothing can be made of: its stage is a FAIL, or isn't judged; the others are."""
    whole = read(record_own("odd-f32", "plain"))
    for name in whole:
        dtype, shape, data = whole[name]
        if dtype != "F32" or name == "logits" or name.startswith("mtp"):
            continue
        for what, changed in (("nan", (dtype, shape, struct.pack("<f", float("nan")) + data[4:])),
                              ("shape", (dtype, [shape[0] + 1, *shape[1:]], data + data[: len(data) // shape[0]]))):  # fmt: skip
            if hash_of(name + what) % 12:
                continue  # a drawn twelfth
            run = verify(checkpoint("odd-f32"), "--stages=" + write(os.path.join(FOLDER, "hostile.safetensors"), whole | {name: changed}))
            got = totals(run)
            bad = got and (run.returncode == 1 and got[1] == 1 and "NAN" in run.stdout if what == "nan" else run.returncode == 0 and got[2] > 0)
            module = name.removesuffix(".output").removesuffix(name[name.rfind(".mlp.") + 4 :] if ".mlp." in name else "")
            said = first_outside(run).split(",")[0] if what == "nan" and first_outside(run) else names_in(run)
            check(bad and (said in name or module in said), f"{name}, {what}: exit {run.returncode} {got} {said[-300:]} {run.stderr}")


def hash_of(text):
    return zlib.crc32(text.encode())


# ---- V3's widths ----


def peak(command, log):
    """Exit code, and the peak resident set in MiB of the process that has the most."""
    run = subprocess.run(["/usr/bin/env", "python3", "-c", PEAK, *command], stdout=log, text=True, stderr=subprocess.PIPE)
    code, kilobytes = run.stderr.split()[-2:]
    return int(code), int(kilobytes) / 1024


PEAK = """import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stderr=subprocess.DEVNULL)
print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)"""


def wide(tokens=64):
    """One layer of V3's widths with 16 experts in BF16, 1.9 GB: judged, weights leave the memory behind the readings."""
    folder = os.path.join(FOLDER, "wide")
    run = subprocess.run([PYTHON, os.path.join(HERE, "record_wide.py"), folder, str(tokens)], capture_output=True, text=True)
    check(run.returncode == 0, f"wide: {run.stderr[-300:]}")
    path, began = os.path.join(folder, f"{tokens}.txt"), time.time()
    with open(path, "w+", encoding="utf-8") as log:
        code, mebibytes = peak([VERIFY, "model", os.path.join(folder, "checkpoint"), f"--stages={folder}/{tokens}.safetensors",
                                "--map=transformers", f"--numerics={declaration()}"], log)  # fmt: skip
    seconds = time.time() - began
    with open(path, encoding="utf-8") as log:
        text = log.read()
    check(code == 0 and "\n10 passed, 0 failed, 0 skipped\n" in text, f"wide: exit {code}, {text[-400:]}")
    check(20 < mebibytes < 1024, f"wide: peak resident set {mebibytes:.0f} MiB")
    print(f"wide: {tokens} tokens, {seconds:.0f} s, peak resident set {mebibytes:.0f} MiB")
    shutil.rmtree(folder)


run_chapters({"mlx": mlx, "names": names, "hostile": hostile, "wide": wide})
