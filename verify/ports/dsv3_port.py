"""A port in Python: the protocol and the files, so that a port is only its arithmetic.

This is rmsnorm_port.py, a port of one op in one format:

--8<-- rmsnorm_port.py
import math
import struct

import dsv3_port


def rmsnorm(case):
    if case.prob["residual"] or any(case.dtype(name) != "f32" for name in ("x", "weight", "y")):
        raise dsv3_port.Unsupported("f32 without a residual only")
    tokens, n = case["x"].shape
    weight = struct.unpack(f"<{n}f", case["weight"].data)
    y = b""
    for x in struct.iter_unpack(f"<{n}f", case["x"].data):
        rms = math.sqrt(sum(v * v for v in x) / n + case.prob["rms_norm_eps"])
        y += struct.pack(f"<{n}f", *(w * v / rms for w, v in zip(weight, x)))
    return {"y": ("f32", [tokens, n], y)}


if __name__ == "__main__":
    dsv3_port.serve("mine", {"rmsnorm": rmsnorm})
-->8--

From the root of the repository, these lines take it out of this text and judge it:

--8<-- commands
cp verify/ports/dsv3_port.py .
sed -n '/^--8<-- rmsnorm_port.py/,/^-->8--/p' dsv3_port.py | sed '1d;$d' >rmsnorm_port.py
build/bin/verify run 'rmsnorm@odd:x=f32' --backend=exec:'python3 rmsnorm_port.py'
-->8--

A function gets a Case and returns its outputs by name, or a pair (outputs, numerics): numerics is a text that says how
the port rounds, as in "acc 24 rn; x_norm bf16 must" (docs/numerics.md). An output is a triple (format, shape, bytes), a
Tensor, or a torch tensor; one that the port doesn't have, lse or the stages, stays out, and numerics says "without lse"
or "without stages". An input is case["x"], a Tensor, or case.torch("x"). A function may raise Unsupported(why) for
a case that it doesn't do. Any other exception is reported as the port's error, with the traceback on standard error.

Formats are named f32, bf16, f8_e4m3, i32, i64, u8. Only the standard library is needed, and torch for what is named so.
Protocol 1, format 1: docs/formats.md.
"""

import json
import os
import struct
import sys
import traceback

PROTOCOL = 1
NAMES = {"F32": "f32", "BF16": "bf16", "F8_E4M3": "f8_e4m3", "I32": "i32", "I64": "i64", "U8": "u8"}
SIZES = {"f32": 4, "bf16": 2, "f8_e4m3": 1, "i32": 4, "i64": 8, "u8": 1}


class Unsupported(Exception):
    """This case is not for this port: reported as SKIP with the text as its reason."""


class Tensor:
    """dtype (f32, bf16, f8_e4m3, i32, i64, u8), shape (list), data (bytes, row-major, little-endian)."""

    def __init__(self, dtype, shape, data):
        self.dtype, self.shape, self.data = dtype, shape, data


def read_safetensors(path):
    """The tensors of a file, by name."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        start, end = entry["data_offsets"]
        tensors[name] = Tensor(NAMES.get(entry["dtype"], entry["dtype"]), entry["shape"], data[start:end])
    return tensors


def write_safetensors(path, tensors):
    """Writes {name: Tensor}."""
    names = {ours: theirs for theirs, ours in NAMES.items()}
    header, offset = {}, 0
    for name, tensor in tensors.items():
        end = offset + len(tensor.data)
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            file.write(tensor.data)


def _torch_dtypes():
    import torch

    return {"f32": torch.float32, "bf16": torch.bfloat16, "f8_e4m3": torch.float8_e4m3fn, "i32": torch.int32,
            "i64": torch.int64, "u8": torch.uint8}


class Case:
    """id, op, prob (the op's fields by name), and the inputs and weights: case["x"], or case.torch("x")."""

    def __init__(self, folder):
        with open(os.path.join(folder, "case.json"), encoding="utf-8") as file:
            description = json.load(file)
        self.folder = folder
        self.id, self.op, self.prob = description["id"], description["op"], description["prob"]
        self.outputs = {t["name"]: t for t in description["tensors"] if t["kind"] == "out"}
        self.tensors = read_safetensors(os.path.join(folder, "inputs.safetensors"))

    def __contains__(self, name):
        return name in self.tensors

    def __getitem__(self, name):
        return self.tensors[name]

    def dtype(self, name):
        """The format of an input, a weight or an output."""
        return self.tensors[name].dtype if name in self.tensors else self.outputs[name]["dtype"]

    def torch(self, name):
        """The tensor as torch sees it."""
        import torch

        tensor = self.tensors[name]
        flat = torch.frombuffer(bytearray(tensor.data), dtype=torch.uint8)
        return flat.view(_torch_dtypes()[tensor.dtype]).reshape(tensor.shape)


def _as_tensor(value):
    if isinstance(value, Tensor):
        return value
    if isinstance(value, tuple):
        return Tensor(*value)
    import torch

    name = {theirs: ours for ours, theirs in _torch_dtypes().items()}[value.dtype]
    data = value.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    return Tensor(name, list(value.shape), data)


def _answer(ops, folder):
    case = Case(folder)
    if case.op not in ops:
        return {"unsupported": f"this port has no {case.op}"}
    try:
        result = ops[case.op](case)
    except Unsupported as reason:
        return {"unsupported": str(reason)}
    outputs, numerics = result if isinstance(result, tuple) else (result, "")
    tensors = {name: _as_tensor(value) for name, value in outputs.items()}
    write_safetensors(os.path.join(folder, "outputs.safetensors"), tensors)
    return {"ok": True, "numerics": numerics}


def serve(name, ops):
    """Answers cases until the harness closes the request pipe. Requests come on descriptor 3, answers go to 4;
    standard output stays the program's own."""
    try:
        requests, answers = os.fdopen(3, "r", encoding="utf-8"), os.fdopen(4, "w", encoding="utf-8")
    except OSError:
        sys.exit("this is a port: run it through verify run CASE --backend=exec:'python3 THIS_FILE'")

    def say(message):
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    say({"hello": {"protocol": PROTOCOL, "name": name, "ops": sorted(ops)}})
    for line in requests:
        try:
            say(_answer(ops, json.loads(line)["case"]))
        except Exception as error:  # the port goes on with the next case
            traceback.print_exc()
            say({"error": f"{type(error).__name__}: {error}"})
