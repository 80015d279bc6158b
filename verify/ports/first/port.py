# A first port, of one op: rmsnorm, y = weight z / sqrt(mean of z^2 + rms_norm_eps), z = x, or x + residual.
#
#     JUDGE_COMMAND
#
# Another op is a function and a name in the table at the end; its head in dsv3.h says what it gets, `verify list OP` what its
# cases vary, and the head of dsv3_port.py what a function may answer.
import array
import math

import dsv3_port


def load(tensor):
    """All elements, as Python's floats. BF16 is the upper half of binary32."""
    if tensor.dtype == "f32":
        return array.array("f", bytes(tensor.data))
    halves = bytes(tensor.data)
    words = bytearray(2 * len(halves))
    words[2::4], words[3::4] = halves[::2], halves[1::2]
    return array.array("f", words)


def store(dtype, shape, values):
    """An output: format, shape and bytes, rounded to nearest with ties to even."""
    words = array.array("I", array.array("f", values).tobytes())
    if dtype == "f32":
        return dtype, shape, words.tobytes()
    return dtype, shape, array.array("H", ((w + 0x7fff + (w >> 16 & 1)) >> 16 for w in words)).tobytes()


def rmsnorm(case):
    shape, dtype, outputs = case["x"].shape, case.dtype("y"), {}
    z, weight, n = load(case["x"]), load(case["weight"]), shape[1]
    if case.prob["residual"]:
        outputs["residual_out"] = store(dtype, shape, map(sum, zip(z, load(case["residual"]))))
        z = load(dsv3_port.Tensor(*outputs["residual_out"]))
    y = array.array("f")
    for t in range(shape[0]):
        row = z[t * n:(t + 1) * n]
        rms = math.sqrt(sum(v * v for v in row) / n + case.prob["rms_norm_eps"])
        y.extend(w * (v / rms) for w, v in zip(weight, row))
    outputs["y"] = store(dtype, shape, y)
    return outputs  # or a pair with how it rounds, for a sharper verdict: outputs, "acc 53 rn; arith f64"


if __name__ == "__main__":
    dsv3_port.serve("first", {"rmsnorm": rmsnorm})
