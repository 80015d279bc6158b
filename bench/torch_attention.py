"""The peer of bench truth: attention in float64 on one thread. Each line on standard input is one run; each answer is the
seconds that it took, in 32 characters.

usage: torch_attention.py HEADS KEYS KEY_WIDTH VALUE_WIDTH
"""

import sys
import time

import torch

torch.set_num_threads(1)
heads, keys, width, values = map(int, sys.argv[1:])
q = torch.randn(heads, width, dtype=torch.float64)
k = torch.randn(keys, width, dtype=torch.float64)
v = k[:, :values].contiguous()
kt = k.t().contiguous()
for _ in sys.stdin.buffer:
    start = time.perf_counter()
    torch.matmul(torch.softmax(torch.matmul(q, kt) * 0.1352337788608801, -1), v)
    sys.stdout.write(f"{time.perf_counter() - start:31.9f}\n")
    sys.stdout.flush()
