"""A recording, saved again as torch, numpy and SGLang save tensors, and files that can't be converted.

    build/ports/python unit/saved_tensors.py RECORDING FOLDER
"""

import os
import sys

import numpy
import torch
from safetensors.torch import load_file


class Code:
    """What a pickle executes when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def nested(tensors):
    """Two levels of dicts, cut at the last dot."""
    out = {}
    for name, t in tensors.items():
        front, _, back = name.rpartition(".")
        (out.setdefault(front, {}) if front else out)[back if front else name] = t
    return out


def save_all(w, at):
    torch.save(w, at("dict.pt"))
    torch.save(nested(w), at("nested.pth"))
    numpy.savez(at("arrays.npz"), **{name: t.numpy() for name, t in w.items()})
    for name, t in w.items():
        numpy.save(at("npy", name + ".npy"), t.numpy())
        for rank in (0, 1):
            file = f"step=0___rank={rank}___dump_index=3___name=non_intrusive__{name}___recompute_status=disabled.pt"
            torch.save({"value": t, "meta": {"dims": "t h"}}, at("dumper", file))


def save_passes(w, at):
    """`model` and `logits_processor` of a pass are in the next file; in the first are those of a pass before."""
    norm, embedding, ids = w["model.norm.output"], w["model.embed_tokens.output"], w["input_ids"]
    leaves = {"model.embed_tokens": embedding, "model.norm": [norm, embedding], "model.forward_batch_info.input_ids": ids}
    late = {"model": norm, "logits_processor": w["lm_head.output"]}
    folder = "TP0_PP0_Rank0_pid77"
    torch.save(leaves | {"model": embedding, "logits_processor": embedding}, at("passes", folder, "Pass00001.pt"))
    torch.save(leaves | late, at("passes", folder, "Pass00002.pt"))


def save_small(w, at):
    norm, embedding, pair = w["model.norm.output"], w["model.embed_tokens.output"], torch.tensor([[1.0, -2.0]])
    torch.save(norm, at("alone.pt"))
    torch.save([norm, {"a": embedding, "b": norm}, "a text"], at("list.pt"))
    torch.save({"bf16": pair[0].bfloat16(), "f16": pair[0].half(), "turned": pair.T, "five": pair[None, None, None]}, at("formats.pt"))
    torch.save({"a": torch.zeros(1, dtype=torch.complex64), "b": pair}, at("complex.pt"))


def save_hostile(at):
    torch.save(Code(at("executed")), at("code.pt"))
    torch.save({"a": 3, "b": []}, at("nothing.pt"))
    numpy.save(at("objects.npy"), numpy.array([{}], dtype=object), allow_pickle=True)
    numpy.save(at("cut.npy"), numpy.zeros(99))
    with open(at("cut.npy"), "r+b") as f:
        f.truncate(300)
    with open(at("text.pt"), "w", encoding="utf-8") as f:
        f.write("no pickle")
    os.makedirs(at("empty"))


def main():
    recording, folder = sys.argv[1:]

    def at(*names):
        path = os.path.join(folder, *names)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    w = load_file(recording)
    save_all(w, at)
    save_passes(w, at)
    save_small(w, at)
    save_hostile(at)


main()
