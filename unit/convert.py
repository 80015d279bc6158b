#!/usr/bin/env python3
"""verify/ports/convert.py: files of torch and numpy become a recording that is judged.

    unit/convert.py

The recording of transformers is saved again as engines save theirs (unit/saved_tensors.py), converted, and has the same tensors; it is judged as
before. Files that aren't theirs, or would execute something: one sentence and exit code 2. Without torch and transformers (make transformers-port)
all of it is skipped. Last line: N passed, N failed, N skipped.
"""

import os
import runpy
import shutil
import subprocess
import sys
import traceback

from engines import FOLDER, HERE, PYTHON, check, checkpoint, of_transformers, read, run_chapters, totals, verify

try:
    import numpy  # noqa: F401
    import torch  # noqa: F401
except ImportError:
    if os.path.exists(PYTHON) and not os.environ.get("CONVERT_AGAIN"):
        os.execve(PYTHON, [PYTHON, __file__, *sys.argv[1:]], os.environ | {"CONVERT_AGAIN": "1"})

CONVERT = os.path.join(HERE, "..", "verify", "ports", "convert.py")
PLACE = os.path.join(FOLDER, "saved")


def in_child(arguments):
    """The program in a child of this one, which has imported torch already: that takes seconds."""
    sys.stdout.flush()
    with open(os.path.join(FOLDER, "said.txt"), "w+", encoding="utf-8") as said, open(os.devnull, "w", encoding="utf-8") as nothing:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.dup2(nothing.fileno(), 1)
                os.dup2(said.fileno(), 2)
                sys.argv = [CONVERT, *arguments]
                sys.path.insert(0, os.path.dirname(CONVERT))
                runpy.run_path(CONVERT, run_name="__main__")
                code = 0
            except SystemExit as e:
                code = e.code
            except BaseException:
                traceback.print_exc()
            sys.stderr.flush()
            os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said.seek(0)
        return subprocess.CompletedProcess(arguments, code, "", said.read())


def alone(arguments):
    return subprocess.run([PYTHON, CONVERT, *arguments], capture_output=True, text=True)


def convert(*arguments, by=in_child):
    out = os.path.join(FOLDER, "converted.safetensors")
    if os.path.exists(out):
        os.remove(out)
    run = by([out, *arguments])
    return run, read(out) if os.path.exists(out) else {}


def at(*names):
    return os.path.join(PLACE, *names)


def same(what, got, want):
    run, tensors = got
    check(run.returncode == 0 and tensors == want, f"{what}: {run.stderr} {sorted(tensors)[:6]} {sorted(want)[:6]}")


def refused(what, words, *arguments):
    run, tensors = convert(*arguments)
    lines = run.stderr.splitlines()
    good = run.returncode == 2 and len(lines) == 1 and all(word in lines[0] for word in words) and not tensors
    check(good, f"{what}: exit {run.returncode} {run.stderr[-400:]}")


def converted(recorded):
    def renamed(front, back=""):
        return {front + name + back: t for name, t in recorded.items()}

    same("dict.pt, by a process of its own", convert(at("dict.pt"), by=alone), recorded)
    for name in ("dict.pt", "nested.pth", "arrays.npz", "npy"):
        same(name, convert(at(name)), recorded)
    run = verify(checkpoint("odd-f32"), f"--stages={os.path.join(FOLDER, 'converted.safetensors')}", "--map=transformers")
    check(run.returncode == 0 and totals(run) == (34, 0, 0), f"what was converted is judged: {run.stdout[-300:]}{run.stderr}")
    run = verify(checkpoint("odd-f32"), f"--stages={at('npy')}", "--map=transformers")
    check(run.returncode == 0 and totals(run) == (34, 0, 0), f"a folder of .npy is judged as it is: {run.stdout[-300:]}{run.stderr}")
    same("a dumper", convert(at("dumper")), renamed("rank1.") | renamed("rank0."))
    norm, embedding = recorded["model.norm.output"], recorded["model.embed_tokens.output"]
    first = {"input_ids": recorded["input_ids"], "TP0.model": norm, "TP0.logits_processor": recorded["lm_head.output"],
             "TP0.model.embed_tokens": embedding, "TP0.model.norm.0": norm, "TP0.model.norm.1": embedding,
             "TP0.model.forward_batch_info.input_ids": recorded["input_ids"]}  # fmt: skip
    same("a pass", convert(at("passes"), "--pass=1"), first)
    del first["TP0.model"], first["TP0.logits_processor"]
    same("the last pass", convert(at("passes"), "--pass=2"), first)
    same("a tensor alone", convert(at("alone.pt")), {"alone": norm})
    same("a list", convert(at("list.pt")), {"0": norm, "1.a": embedding, "1.b": norm})
    same("formats", convert(at("formats.pt")), {
        "bf16": ("BF16", [2], b"\x80\x3f\x00\xc0"), "f16": ("F16", [2], b"\x00\x3c\x00\xc0"), "turned": ("F32", [2, 1], b"\0\0\x80\x3f\0\0\0\xc0"),
        "five": ("F32", [1, 1, 1, 1, 2], b"\0\0\x80\x3f\0\0\0\xc0")})  # fmt: skip


def hostile():
    refused("no file", ["nowhere"], at("nowhere.pt"))
    refused("no pickle", ["convert.py:"], at("text.pt"))
    refused("code", ["weights_only"], at("code.pt"))
    check(not os.path.exists(at("executed")), "code of a .pt was executed")
    refused("objects of numpy", ["pickle"], at("objects.npy"))
    refused("a cut file", ["convert.py:"], at("cut.npy"))
    refused("an empty folder", ["holds no file"], at("empty"))
    refused("nothing in it", ["no tensor"], at("nothing.pt"))
    refused("a name twice", ["there twice"], at("dict.pt"), at("arrays.npz"))
    refused("several passes", ["passes 1, 2", "--pass"], at("passes"))
    refused("another pass", ["no pass 7"], at("passes"), "--pass=7")
    run, tensors = convert(at("complex.pt"))
    check(run.returncode == 0 and list(tensors) == ["b"] and "a is torch.complex64" in run.stderr, f"complex numbers: {run.stderr}")


def files():
    path = of_transformers("odd-f32", "right")
    shutil.rmtree(PLACE, ignore_errors=True)
    made = subprocess.run([PYTHON, os.path.join(HERE, "saved_tensors.py"), path, PLACE], capture_output=True, text=True)
    check(made.returncode == 0, f"saved_tensors.py: {made.stderr[-400:]}")
    converted(read(path))
    hostile()


run_chapters({"files": files})
