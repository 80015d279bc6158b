#!/usr/bin/env python3
"""verify model --stages: what engines record, judged stage by stage on tiny checkpoints.

    build/ports/python unit/engines.py [own] [hostile]

own        what verify itself writes with --dump, truth and the plain port, in every format: no stage is accused or left out
hostile    recordings that can't be used: one sentence and exit code 2, or a stage that isn't judged, with its reason

Without torch and transformers (make transformers-port) all of it is skipped. Last line: N passed, N failed, N skipped.
"""

import json
import os
import re
import shutil
import struct
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("BUILD", os.path.join(HERE, "..", "build"))
VERIFY = os.path.join(BUILD, "bin", "verify")
FOLDER = os.path.join(BUILD, "engines")
PYTHON = os.path.join(BUILD, "ports", "python")
TOKENS = "3,1,4,1,5,9,2,6,5,35,89,79"
count = {"passed": 0, "failed": 0, "skipped": 0}


def check(good, text):
    count["passed" if good else "failed"] += 1
    if not good:
        print(f"FAIL  {text}", flush=True)


def verify(*arguments):
    return subprocess.run([VERIFY, "model", *arguments], capture_output=True, text=True)


def checkpoint(kind):
    path = os.path.join(FOLDER, "checkpoints", kind)
    if not os.path.exists(os.path.join(path, "config.json")):
        command = [PYTHON, os.path.join(HERE, "checkpoints.py"), os.path.dirname(path), kind]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return path


def totals(run):
    """Passed, failed and skipped of the last line; None if there is none."""
    found = re.search(r"(\d+) passed, (\d+) failed, (\d+) skipped\n$", run.stdout)
    return tuple(map(int, found.groups())) if found else None


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
    refused("a clause of no op", ["unknown"], f"--stages={whole}", "--numerics=speed 3")
    norm, nan = "model.norm.output", struct.pack("<f", float("nan"))
    unjudged("another shape", [f"{norm} has the shape (2, 64), and (3, 64) is wanted"],
             put(norm, shape=[2, 64], data=bytes(2 * 64 * 4)), skipped=3)  # fmt: skip
    unjudged("a wrong format", [f"{norm} is I32"], put(norm, dtype="I32"), skipped=3)
    unjudged("a stream that is missing", ["model.layers.0.input_layernorm.output"],
             lambda t: t.pop("model.embed_tokens.output"), skipped=2)  # fmt: skip
    run = verify(checkpoint("odd-f32"), changed("changed.safetensors", put(norm, data=nan * 3 * 64)))
    check(run.returncode == 1 and "first stage outside: model.norm, y" in run.stdout and " NAN " in run.stdout, f"NaN: {run.stdout[-600:]}")


def main():
    chapters = {"own": own, "hostile": hostile}
    names = sys.argv[1:] or list(chapters)
    if set(names) - set(chapters):
        sys.exit(f"engines.py: the parts are {', '.join(chapters)}")
    os.makedirs(FOLDER, exist_ok=True)
    if not os.path.exists(PYTHON):
        print("skipped: no transformers here (make transformers-port)")
        count["skipped"] = len(names)
        names = []
    for name in names:
        chapters[name]()
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**count))
    sys.exit(count["failed"] > 0)


main()
