"""answers.py FOLDER: answers to bundles of rmsnorm@odd (F32 and BF16), quant@odd and linear@odd made with --tensors=f32, without
numpy: their truth. Those in BF16 and FP8 are given in F32; linear's are not rounded to BF16. numerics.txt of rmsnorm@odd."""

import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "verify", "ports"))
import dsv3_port  # noqa: E402


def f32(v):
    return struct.unpack("<f", struct.pack("<f", v))[0]


def bf16(v):
    """To nearest, ties to even."""
    (bits,) = struct.unpack("<I", struct.pack("<f", v))
    return struct.unpack("<f", struct.pack("<I", bits + 0x7FFF + (bits >> 16 & 1) & 0xFFFF0000))[0]


E4M3 = [2.0**-9 * m if e == 0 else (1 + m / 8) * 2.0 ** (e - 7) for e in range(16) for m in range(8) if e < 15 or m < 7]


def f8(v):
    return min((x for x in E4M3), key=lambda x: abs(x - abs(v))) * (-1 if v < 0 else 1)


def answer(folder, rounding):
    case = dsv3_port.Case(folder)
    truth = dsv3_port.read_safetensors(os.path.join(folder, "truth.safetensors"))
    outputs = {}
    for name, out in case.outputs.items():
        data = truth[name + ".centre"].data
        values = struct.unpack(f"<{len(data) // 8}d", data)
        how = rounding if out["dtype"] != "f32" else f32
        outputs[name] = dsv3_port.Tensor("f32", out["shape"], struct.pack(f"<{len(values)}f", *map(how, values)))
    dsv3_port.write_safetensors(os.path.join(folder, "outputs.safetensors"), outputs)


base = sys.argv[1]
answer(f"{base}/rmsnorm_odd", bf16)
answer(f"{base}/rmsnorm_odd_x_f32", f32)
answer(f"{base}/quant_odd", f8)
answer(f"{base}/linear_odd", f32)
with open(f"{base}/rmsnorm_odd/numerics.txt", "w", encoding="utf-8") as file:
    file.write("acc 24 rn")
