"""The peer of bench truth: an op of DeepSeek-V3 in float64 on one thread, on tensors prepared beforehand. Each line on standard
input is one run; each answer is the seconds that it took, in 32 characters.

usage: torch_peer.py attention HEADS KEYS KEY_WIDTH VALUE_WIDTH
       torch_peer.py mla KEYS
       torch_peer.py moe
"""

import sys
import time

import torch

HIDDEN, HEADS, Q_RANK, KV_RANK, NOPE, ROPE, V = 7168, 128, 1536, 512, 128, 64, 128
EXPERTS, CHOSEN, WIDTH, GROUPS, GROUPS_KEPT = 256, 8, 2048, 8, 4
SCALE = 0.1352337788608801


def tensor(*shape):
    """Values near those of a dequantised weight; none is subnormal or 0."""
    return torch.empty(*shape, dtype=torch.float64).uniform_(-1, 1) / shape[-1] ** 0.5


def attention(heads, keys, width, values):
    q = torch.randn(heads, width, dtype=torch.float64)
    k = torch.randn(keys, width, dtype=torch.float64)
    v = k[:, :values].contiguous()
    kt = k.t().contiguous()
    return lambda: torch.matmul(torch.softmax(torch.matmul(q, kt) * SCALE, -1), v)


def norm(x):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)


def rotated(x, angle):
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * angle).flatten(-2)


def mla(keys):
    """Absorbed, one new token."""
    q_a, q_b = tensor(Q_RANK, HIDDEN), tensor(HEADS * (NOPE + ROPE), Q_RANK)
    kv_a, o = tensor(KV_RANK + ROPE, HIDDEN), tensor(HIDDEN, HEADS * V)
    up_k, up_v = tensor(HEADS, NOPE, KV_RANK), tensor(HEADS, KV_RANK, V)
    x, cache = torch.randn(HIDDEN, dtype=torch.float64), torch.randn(keys, KV_RANK + ROPE, dtype=torch.float64)
    angle = torch.polar(torch.ones(ROPE // 2, dtype=torch.float64), torch.rand(ROPE // 2, dtype=torch.float64))

    def run():
        q = torch.mv(q_b, norm(torch.mv(q_a, x))).view(HEADS, NOPE + ROPE)
        new = torch.mv(kv_a, x)
        cache[-1, :KV_RANK], cache[-1, KV_RANK:] = norm(new[:KV_RANK]), rotated(new[KV_RANK:], angle)
        absorbed = torch.bmm(q[:, None, :NOPE], up_k)[:, 0]
        query = torch.cat((absorbed, rotated(q[:, NOPE:], angle)), -1)
        weight = torch.softmax(torch.matmul(query, cache.t()) * SCALE, -1)
        latent = torch.matmul(weight, cache[:, :KV_RANK])
        return torch.mv(o, torch.bmm(latent[:, None], up_v).flatten())

    return run


def moe():
    """One token; the chosen experts are there, and the shared one."""
    gate, bias = tensor(EXPERTS, HIDDEN), tensor(EXPERTS)
    experts = [(tensor(WIDTH, HIDDEN), tensor(WIDTH, HIDDEN), tensor(HIDDEN, WIDTH)) for _ in range(CHOSEN + 1)]
    x = torch.randn(HIDDEN, dtype=torch.float64)

    def network(weights):
        return torch.mv(weights[2], torch.nn.functional.silu(torch.mv(weights[0], x)) * torch.mv(weights[1], x))

    def run():
        scores = torch.sigmoid(torch.mv(gate, x))
        groups = (scores + bias).view(GROUPS, -1)
        kept = groups.topk(2)[0].sum(-1).topk(GROUPS_KEPT)[1]
        masked = torch.full_like(groups, -torch.inf)
        masked[kept] = groups[kept]
        weight = scores[masked.flatten().topk(CHOSEN)[1]]
        weight = 2.5 * weight / weight.sum()
        return sum(weight[i] * network(experts[i]) for i in range(CHOSEN)) + network(experts[-1])

    return run


torch.set_num_threads(1)
torch.set_grad_enabled(False)
work = {"attention": attention, "mla": mla, "moe": moe}[sys.argv[1]](*map(int, sys.argv[2:]))
for _ in sys.stdin.buffer:
    start = time.perf_counter()
    work()
    sys.stdout.write(f"{time.perf_counter() - start:31.9f}\n")
    sys.stdout.flush()
