#!/usr/bin/env python3
"""Bytes that CUDA kernels ask for, counted by the machine (docs/cuda.md): a weight and a key of the cache are read as often as the
tiles say, and no more.

BUILD: the build folder. Without its ports/cuda_machine.so (make cuda-machine) all is skipped.

Last line: N passed, N failed, N skipped.
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cuda"))
from counts import asked, launches

BUILD = os.environ.get("BUILD", "build")
PORT = f"{BUILD}/ports/cuda_machine.so"
SIZE = {"bf16": 2, "f8_e4m3": 1}
TILE = 64  # rows of x, and of W, that a block takes: docs/cuda.md

tests = []


def test(*arguments):
    return lambda check: tests.append((check, arguments)) or check


def read_of(counted, size):
    """What is asked of the allocations that have so many bytes."""
    return asked(counted).get(size, (0, 0))


@test(128, 1024)
@test(64, 300)
def cache_is_read_once_for_64_heads(heads, keys):
    counted = launches(BUILD, f"mla_decode@v3:num_attention_heads={heads},kv_len={keys}", PORT)
    cache = keys * 576 * SIZE["bf16"]
    read = [m["read"] for m in counted[0]["memory"] if m["read_once"] == cache]
    most = -(-heads // 64) * 1.1 * cache
    return len(read) == 1 and read[0] <= most, f"{read} bytes of a cache of {cache}, {most:.0f} may be"


@test(1, "bf16")
@test(16, "f8_e4m3")
@test(64, "bf16")
@test(64, "f8_e4m3")
def weight_is_read_once(rows, weight):
    columns, outputs = 7168, 192
    counted = launches(BUILD, f"linear@v3:n_tokens={rows},in_features={columns},out_features={outputs},weight={weight}", PORT)
    size = columns * outputs * SIZE[weight]
    read = read_of(counted, size)
    return read == (size, size), f"{read} bytes of a weight of {size}"


@test(16)
@test(64)
def codes_are_read_once(rows):
    columns, outputs = 7168, 192
    counted = launches(BUILD, f"linear@v3:n_tokens={rows},in_features={columns},out_features={outputs},x=f8_e4m3", PORT)
    size = columns * outputs
    read = read_of(counted, size)
    return read == (size, size), f"{read} bytes of a weight of {size}"


@test(128, "bf16")
@test(256, "bf16")
@test(256, "f8_e4m3")
def many_rows_read_as_tiles_say(rows, weight):
    columns, outputs = 1024, 192
    counted = launches(BUILD, f"linear@v3:n_tokens={rows},in_features={columns},out_features={outputs},weight={weight}", PORT)
    of_weight, of_x = columns * outputs * SIZE[weight], columns * rows * SIZE["bf16"]
    stated = -(-rows // TILE) * of_weight + -(-outputs // TILE) * of_x
    read = read_of(counted, of_weight)[0] + read_of(counted, of_x)[0]
    return stated / 1.1 <= read <= 1.1 * stated, f"{read} bytes, {stated} are stated"


@test("n_tokens=3,n_routed_experts=1,num_experts_per_tok=1", 7168, 2048)
@test("n_tokens=6,n_routed_experts=8,num_experts_per_tok=2,hidden_size=1024,moe_intermediate_size=256", 1024, 256)
def weights_of_experts_are_read_once(case, hidden, width):
    counted = launches(BUILD, f"experts@v3:{case},weights=f8_e4m3", PORT)
    size = hidden * width
    read = [m["read"] for launch in counted for m in launch["memory"] if m["bytes"] == size and m["read"]]
    return len(read) >= 3 and all(r == size for r in read), f"{read} bytes of weights of {size}"


@test("linear@v3:n_tokens=16,in_features=1024,out_features=64")
@test("linear@v3:n_tokens=64,in_features=1024,out_features=64,weight=f8_e4m3")
@test("mla_decode@v3:num_attention_heads=64,kv_len=64")
@test("mla_prefill@v3:num_attention_heads=1,n_tokens=64,n_keys=64")
@test("linear_backward@v3:n_tokens=64,in_features=256,out_features=64")
def no_two_rows_of_a_matrix_share_banks(case):
    """The tiles are padded: without that ldmatrix would wait."""
    counted = [c for c in launches(BUILD, case, PORT) if c["matrices"]]
    matrices, phases = (sum(c[name] for c in counted) for name in ("matrices", "phases"))
    return 0 < matrices == phases, f"{matrices} matrices of ldmatrix in {phases} phases"


def main():
    if not os.path.exists(PORT):
        print(f"0 passed, 0 failed, {len(tests)} skipped")
        return 0
    failed = 0
    for check, arguments in tests:
        try:
            good, says = check(*arguments)
        except ValueError as e:
            good, says = False, str(e)
        failed += not good
        if not good:
            print(f"{check.__name__}{arguments}: {says}")
    print(f"{len(tests) - failed} passed, {failed} failed, 0 skipped")
    return failed > 0


sys.exit(main())
