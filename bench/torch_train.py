"""The trainings of bench train in torch: same start, same windows, same optimizer, gradients by autograd.

    build/ports/python bench/torch_train.py TEXT LOG [STEPS [SHARE]]

LOG is a log.jsonl of bench train with --log-every=1; its plan is followed for STEPS steps (20 unless said). Prints torch's losses,
how far they are from the logged ones, and tokens a second. Exit 1: a loss differs by more than SHARE of itself (1e-3 unless
said). The model is the bytes' model of docs/studies.md.
"""

import json
import math
import os
import sys
import time

import numpy
import torch
from torch.nn.functional import cross_entropy, rms_norm, silu

HIDDEN, LAYERS, HEADS, NOPE, ROPE, VALUE, Q_RANK, KV_RANK = 128, 4, 4, 32, 16, 32, 64, 32
EXPERTS, GROUPS, KEPT_GROUPS, CHOSEN, WIDTH, DENSE, SCALE = 32, 4, 2, 4, 64, 384, 2.5
MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15


# ---- the generator of docs/formats.md ----


def mix(z):
    if isinstance(z, int):
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
        z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
        return z ^ z >> 31
    z = (z ^ z >> numpy.uint64(30)) * numpy.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ z >> numpy.uint64(27)) * numpy.uint64(0x94D049BB133111EB)
    return z ^ z >> numpy.uint64(31)


def key_of(seed, name):
    fnv = 0xCBF29CE484222325
    for byte in name.encode():
        fnv = (fnv ^ byte) * 0x100000001B3 & MASK
    return mix(mix(seed + GOLDEN & MASK) ^ fnv)


def bits_of(key, n):
    index = numpy.arange(1, n + 1, dtype=numpy.uint64)
    return mix(numpy.uint64(key) + index * numpy.uint64(GOLDEN))


def gaussian(key, n):
    bits = bits_of(key, n)
    total = sum((bits >> numpy.uint64(16 * i) & numpy.uint64(0xFFFF)).astype(numpy.int64) for i in range(4))
    return (total - 131070) * 2.0**-15


class Start:
    """Parameters by the names of a checkpoint."""

    def __init__(self, seed):
        self.seed, self.all = seed, {}

    def matrix(self, name, *shape, deviation=None):
        deviation = 0.5 / math.sqrt(shape[-1]) if deviation is None else deviation
        values = deviation * math.sqrt(0.75) * gaussian(key_of(self.seed, name), math.prod(shape))
        self.all[name] = torch.tensor(values, dtype=torch.float32).view(*shape).requires_grad_()
        return self.all[name]

    def norm(self, name, n=HIDDEN):
        self.all[name] = torch.ones(n, requires_grad=True)
        return self.all[name]


# ---- the model ----


def normed(x, w):
    return rms_norm(x, (x.shape[-1],), w, 1e-6)


def rotated(x, angle):
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.cat((even * angle.cos() - odd * angle.sin(), odd * angle.cos() + even * angle.sin()), -1)


class Attention:
    def __init__(self, start, at):
        self.q_a, self.q_norm = start.matrix(at + "q_a_proj", Q_RANK, HIDDEN), start.norm(at + "q_a_layernorm", Q_RANK)
        self.q_b = start.matrix(at + "q_b_proj", HEADS * (NOPE + ROPE), Q_RANK)
        self.kv_a = start.matrix(at + "kv_a_proj_with_mqa", KV_RANK + ROPE, HIDDEN)
        self.kv_norm = start.norm(at + "kv_a_layernorm", KV_RANK)
        self.kv_b = start.matrix(at + "kv_b_proj", HEADS * (NOPE + VALUE), KV_RANK)
        self.o = start.matrix(at + "o_proj", HIDDEN, HEADS * VALUE)

    def __call__(self, x):
        batch, length, _ = x.shape
        angle = torch.arange(length)[:, None] * 10000.0 ** (-torch.arange(0, ROPE, 2) / ROPE)
        q = (normed(x @ self.q_a.T, self.q_norm) @ self.q_b.T).view(batch, length, HEADS, -1).transpose(1, 2)
        latent, k_pe = (x @ self.kv_a.T).split([KV_RANK, ROPE], -1)
        kv = (normed(latent, self.kv_norm) @ self.kv_b.T).view(batch, length, HEADS, -1).transpose(1, 2)
        q = torch.cat((q[..., :NOPE], rotated(q[..., NOPE:], angle)), -1)
        k_pe = rotated(k_pe, angle)[:, None].expand(-1, HEADS, -1, -1)
        k = torch.cat((kv[..., :NOPE], k_pe), -1)
        o = torch.nn.functional.scaled_dot_product_attention(q, k, kv[..., NOPE:], is_causal=True)
        return o.transpose(1, 2).reshape(batch, length, -1) @ self.o.T


class Dense:
    def __init__(self, start, at, width):
        self.gate, self.up = start.matrix(at + "gate_proj", width, HIDDEN), start.matrix(at + "up_proj", width, HIDDEN)
        self.down = start.matrix(at + "down_proj", HIDDEN, width)

    def __call__(self, x):
        return (silu(x @ self.gate.T) * (x @ self.up.T)) @ self.down.T


class Moe:
    def __init__(self, start, at):
        self.shared = Dense(start, at + "shared_experts.", WIDTH)
        self.router = start.matrix(at + "gate", EXPERTS, HIDDEN, deviation=0.02)
        self.gate = start.matrix(at + "experts.*.gate_proj", EXPERTS, WIDTH, HIDDEN)
        self.up = start.matrix(at + "experts.*.up_proj", EXPERTS, WIDTH, HIDDEN)
        self.down = start.matrix(at + "experts.*.down_proj", EXPERTS, HIDDEN, WIDTH)
        self.bias, self.load, self.loss = torch.zeros(EXPERTS), None, 0

    def choose(self, scores):
        biased = scores.detach() + self.bias
        best = biased.view(-1, GROUPS, EXPERTS // GROUPS).topk(2, -1).values.sum(-1).topk(KEPT_GROUPS, -1).indices
        kept = torch.zeros(len(biased), GROUPS, dtype=torch.bool).scatter_(1, best, True)
        allowed = kept.repeat_interleave(EXPERTS // GROUPS, 1)
        return biased.masked_fill(~allowed, -math.inf).topk(CHOSEN, -1).indices

    def __call__(self, x):
        flat = x.reshape(-1, HIDDEN)
        scores = torch.sigmoid(flat @ self.router.T)
        chosen = self.choose(scores)
        self.load = torch.bincount(chosen.flatten(), minlength=EXPERTS)
        share = self.load * EXPERTS / (CHOSEN * len(flat))
        self.loss = (share * (scores / scores.sum(-1, keepdim=True)).mean(0)).sum()
        weight = scores.gather(1, chosen)
        weight = SCALE * weight / weight.sum(-1, keepdim=True)
        y = self.shared(flat)
        order = chosen.flatten().argsort(stable=True)
        token, parts = order // CHOSEN, []
        for e, rows in enumerate(flat[token].split(self.load.tolist())):
            parts.append((silu(rows @ self.gate[e].T) * (rows @ self.up[e].T)) @ self.down[e].T)
        return y.index_add(0, token, torch.cat(parts) * weight.flatten()[order, None]).view_as(x)


class Layer:
    def __init__(self, start, n, moe):
        at = f"model.layers.{n}."
        self.first, self.second = start.norm(at + "input_layernorm"), start.norm(at + "post_attention_layernorm")
        self.attention = Attention(start, at + "self_attn.")
        self.mlp = Moe(start, at + "mlp.") if moe else Dense(start, at + "mlp.", DENSE)

    def __call__(self, x):
        x = x + self.attention(normed(x, self.first))
        return x + self.mlp(normed(x, self.second))


class Model:
    def __init__(self, start, modules):
        self.embed = start.matrix("model.embed_tokens", 256, HIDDEN, deviation=0.5)
        self.layers = [Layer(start, n, n > 0) for n in range(LAYERS)]
        self.norm, self.head = start.norm("model.norm"), start.matrix("lm_head", 256, HIDDEN)
        self.modules = []
        for n in range(LAYERS, LAYERS + modules):
            at = f"model.layers.{n}."
            self.modules.append((start.norm(at + "enorm"), start.norm(at + "hnorm"),
                                 start.matrix(at + "eh_proj", HIDDEN, 2 * HIDDEN), Layer(start, n, True),
                                 start.norm(at + "shared_head.norm")))  # fmt: skip

    def moes(self):
        layers = self.layers + [module[3] for module in self.modules]
        return [layer.mlp for layer in layers if isinstance(layer.mlp, Moe)]

    def losses(self, windows, length):
        x = self.embed[windows[:, :length]]
        for layer in self.layers:
            x = layer(x)
        h = normed(x, self.norm)
        found = [cross_entropy((h @ self.head.T).flatten(0, 1), windows[:, 1 : length + 1].flatten())]
        for k, (enorm, hnorm, projection, layer, norm) in enumerate(self.modules, 1):
            e = normed(self.embed[windows[:, k : length + k]], enorm)
            h = normed(layer(torch.cat((e, normed(h, hnorm)), -1) @ projection.T), norm)
            found.append(cross_entropy((h @ self.head.T).flatten(0, 1), windows[:, k + 1 : length + k + 1].flatten()))
        return found


# ---- training ----


def windows_of(text, plan, step):
    batch, size = plan["batch"], plan["length"] + 1 + plan["modules"]
    last = len(text) * 95 // 100 - size
    key, rows = key_of(plan["seed"], "windows"), []
    for b in range(batch):
        bits = mix(key + (step * batch + b + 1) * GOLDEN & MASK)
        at = (bits >> 32) * (last + 1) >> 32
        rows.append(list(text[at : at + size]))
    return torch.tensor(rows)


def rate_at(plan, step):
    warm = min(1, (step + 1) / plan["warmup_steps"])
    return plan["learning_rate"] * warm * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / plan["steps"])))


def main():
    if not 3 <= len(sys.argv) <= 5:
        sys.exit(__doc__)
    with open(sys.argv[1], "rb") as file:
        text = file.read()
    with open(sys.argv[2], encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    plan, steps = lines[0], int(sys.argv[3]) if len(sys.argv) > 3 else 20
    logged = {line["step"]: line["loss"] for line in lines if "step" in line}
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    start = Start(plan["seed"])
    model = Model(start, plan["modules"])
    matrices = [p for p in start.all.values() if p.dim() > 1]
    norms = [p for p in start.all.values() if p.dim() == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": norms, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1, betas=(0.9, 0.95), eps=1e-10, fused=True)
    worst, seconds = 0, []
    for step in range(steps):
        begun = time.monotonic()
        for group in optimizer.param_groups:
            group["lr"] = rate_at(plan, step)
        losses = model.losses(windows_of(text, plan, step), plan["length"])
        loss = losses[0] + sum(plan["mtp_loss_weight"] / plan["modules"] * more for more in losses[1:])
        if plan["aux_loss_alpha"]:
            loss = loss + plan["aux_loss_alpha"] * sum(moe.loss for moe in model.moes())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(start.all.values()), 1.0)
        optimizer.step()
        for moe in model.moes():
            moe.bias += plan["bias_update_speed"] * torch.sign(moe.load.double().mean() - moe.load)
        seconds.append(time.monotonic() - begun)
        if step in logged:
            off = max(abs(a.item() - b) / b for a, b in zip(losses, logged[step]))
            worst = max(worst, off)
            print(f"step {step}: {' '.join(f'{a.item():.6f}' for a in losses)}, off by {off:.1e}")
    speed = plan["batch"] * plan["length"] / sorted(seconds)[len(seconds) // 2]
    print(json.dumps({"study": "train beside torch", "steps": steps, "off": worst, "torch_tokens_a_second": round(speed)}))
    sys.exit(not worst <= (float(sys.argv[4]) if len(sys.argv) > 4 else 1e-3))


main()
