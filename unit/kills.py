#!/usr/bin/env python3
"""Kills verify at random moments, and looks at what that leaves: nothing lost, nothing mixed, nobody and nothing behind.

    unit/kills.py [--kills=3] [--seed=N] [run] [port] [truth]

run    verify run --resume: two ports in C, one with a mistake, and a program
port   verify model with a port that has a mistake
truth  verify model without a port

Each life is the same command on the same files, killed at a random moment: the command itself, the process that does its
work, or both. Behind it no process and no folder of a case may be left, and no finished case or layer may be lost. A life
that ends by itself has the reports, the exit code and the dump of a run in peace; then the files are removed.

Last line: N passed, N failed, N skipped.
"""

import array
import glob
import json
import math
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.realpath(os.environ.get("BUILD", "build"))
VERIFY = os.path.join(BUILD, "bin", "verify")
PROGRAM = f"exec:python3 {HERE}/planted/program.py"
CASES = ["rmsnorm@odd:x=f32,n_tokens=1..40", "rmsnorm@v3:n_tokens=1..4", "moe@tiny|odd:n_tokens=4;fill=real|negative"]
TOKENS = {"truth": 96, "port": 24}  # as many as last a second: a port is judged by statistics, too
PATIENCE = 5  # seconds for what a kill leaves to end

# ---- a checkpoint ----

CONFIG = dict(
    model_type="deepseek_v3", vocab_size=97, hidden_size=64, intermediate_size=96, moe_intermediate_size=20,
    num_hidden_layers=4, first_k_dense_replace=1, num_attention_heads=4, num_key_value_heads=4, q_lora_rank=24,
    kv_lora_rank=16, qk_nope_head_dim=8, qk_rope_head_dim=8, v_head_dim=12, n_routed_experts=16, n_shared_experts=2,
    num_experts_per_tok=6, n_group=4, topk_group=2, routed_scaling_factor=1.7, norm_topk_prob=True, rms_norm_eps=0.01,
    scoring_func="sigmoid", topk_method="noaux_tc", rope_theta=100.0, max_position_embeddings=4096,
    num_nextn_predict_layers=0, hidden_act="silu", attention_bias=False, moe_layer_freq=1, tie_word_embeddings=False,
)  # fmt: skip


def shapes():
    c = CONFIG
    hidden, heads, vocabulary = c["hidden_size"], c["num_attention_heads"], c["vocab_size"]
    nope, rope, value = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"]
    yield from (("model.embed_tokens", (vocabulary, hidden)), ("model.norm", (hidden,)), ("lm_head", (vocabulary, hidden)))
    for n in range(c["num_hidden_layers"]):
        a, m = f"model.layers.{n}.self_attn.", f"model.layers.{n}.mlp."
        yield f"model.layers.{n}.input_layernorm", (hidden,)
        yield f"model.layers.{n}.post_attention_layernorm", (hidden,)
        yield a + "q_a_proj", (c["q_lora_rank"], hidden)
        yield a + "q_a_layernorm", (c["q_lora_rank"],)
        yield a + "q_b_proj", (heads * (nope + rope), c["q_lora_rank"])
        yield a + "kv_a_proj_with_mqa", (c["kv_lora_rank"] + rope, hidden)
        yield a + "kv_a_layernorm", (c["kv_lora_rank"],)
        yield a + "kv_b_proj", (heads * (nope + value), c["kv_lora_rank"])
        yield a + "o_proj", (hidden, heads * value)
        blocks = [("", c["intermediate_size"])]
        if n >= c["first_k_dense_replace"]:
            yield m + "gate", (c["n_routed_experts"], hidden)
            yield m + "gate.e_score_correction_bias", (c["n_routed_experts"],)
            width = c["moe_intermediate_size"]
            blocks = [("shared_experts.", width * c["n_shared_experts"])]
            blocks += [(f"experts.{e}.", width) for e in range(c["n_routed_experts"])]
        for name, width in blocks:
            yield m + name + "gate_proj", (width, hidden)
            yield m + name + "up_proj", (width, hidden)
            yield m + name + "down_proj", (hidden, width)


def write_checkpoint(folder):
    """Random weights in f32; columns of a matrix have variance 1 / inputs."""
    rng, header, data = random.Random(1), {}, bytearray()
    for name, shape in shapes():
        name += "" if name.endswith("bias") else ".weight"
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        wide = 1.0 if len(shape) == 1 else shape[1] ** -0.5
        mean = 1.0 if len(shape) == 1 and not name.endswith("bias") else 0.0
        values = array.array("f", (mean + 0.3 * wide * rng.gauss(0, 3 if len(shape) > 1 else 1) for _ in range(count)))
        header[name] = dict(dtype="F32", shape=list(shape), data_offsets=[len(data), len(data) + 4 * count])
        data += values.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(folder, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(CONFIG, f)


# ---- processes ----


def marked(mark):
    """Who bears the mark in its environment: id of the parent by id."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as f:
                if mark.encode() not in f.read().split(b"\0"):
                    continue
            with open(f"/proc/{pid}/stat") as f:
                found[int(pid)] = int(f.read().rpartition(")")[2].split()[1])
        except OSError:
            continue
    return found


def work_of(first, mark):
    """The process that does the work: the child of the guardian, which is the child of the first."""
    parents = marked(mark)
    guardians = [p for p, parent in parents.items() if parent == first]
    return next((p for p, parent in parents.items() if parent in guardians), None)


# ---- lives ----


class Campaign:
    """One command on files of its own; `peace` is what it says when nobody kills it."""

    def __init__(self, folder, name, command, files, saved):
        self.folder, self.name, self.command, self.files, self.saved = folder, name, command, files, saved
        self.lives = self.kills = self.ends = self.resumed = self.most = 0
        self.bad = []
        self.remove()
        began = time.time()
        self.peace = self.finish(self.start())
        self.check_nothing_left()
        self.lasts = time.time() - began
        self.remove()

    def start(self):
        """Its own temporary folder and a mark, so that what it leaves is known as its own; no repro line shows that."""
        self.lives += 1
        self.mark = f"KILLS_LIFE={os.getpid()}-{self.name}-{self.lives}"
        self.temporary = os.path.join(self.folder, f"tmp-{self.name}-{self.lives}")
        os.makedirs(self.temporary)
        key, value = self.mark.split("=")
        environment = dict(os.environ, TMPDIR=self.temporary, **{key: value})
        out = open(os.path.join(self.folder, "out"), "w+")
        child = subprocess.Popen([VERIFY, *self.command], stdout=out, stderr=subprocess.PIPE, env=environment, text=True)
        child.out = out
        return child

    def finish(self, child):
        """Exit code, reports and files, without what clocks say."""
        self.err = child.communicate()[1]
        child.out.seek(0)
        text = child.out.read()
        child.out.close()
        content = [text]
        for path in self.files:
            with open(path, "rb") as f:
                content.append(re.sub(rb',"[a-z]*_seconds":[^,]*|"started":"[^"]*"', b"", f.read()) if path.endswith("jsonl") else f.read())
        return child.returncode, content

    def remove(self):
        for path in glob.glob(os.path.join(self.folder, self.name + "*")):
            shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)

    def check_nothing_left(self):
        last = time.time() + PATIENCE
        while time.time() < last and (marked(self.mark) or os.listdir(self.temporary)):
            time.sleep(0.01)
        if marked(self.mark):
            self.bad.append(f"life {self.lives}: processes {sorted(marked(self.mark))} are left")
        if os.listdir(self.temporary):
            self.bad.append(f"life {self.lives}: {os.listdir(self.temporary)} is left")
        else:
            os.rmdir(self.temporary)

    def kill(self, child, who):
        work = work_of(child.pid, self.mark) if who != "command" else None
        for pid in [child.pid] if work is None else [work] if who == "work" else [work, child.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def live(self, rng):
        """One life. It is killed, or ends as a run in peace does."""
        before = self.saved()
        child = self.start()
        try:
            child.wait(rng.uniform(0, self.lasts))
        except subprocess.TimeoutExpired:
            self.kill(child, rng.choice(("command", "command", "work", "both")))
        killed = child.wait() in (-signal.SIGKILL, 128 + signal.SIGKILL)
        if killed:
            child.communicate()
            child.out.close()
        self.kills += killed
        self.check_nothing_left()
        if killed and self.saved() < before:
            self.bad.append(f"life {self.lives}: of {before} finished ones {self.saved()} are left")
        self.most = max(self.most, self.saved() if self.saved() < math.inf else 0)
        if not killed:
            self.end(child)

    def end(self, child):
        """The report of a life that ended by itself."""
        end = self.finish(child)
        self.ends += 1
        self.resumed += "goes on behind" in self.err
        if end != self.peace:
            self.bad.append(f"life {self.lives}: exit {end[0]} for {self.peace[0]}, or another report: {self.err}")
        self.remove()

    def go(self, kills, rng):
        while self.kills < kills and not self.bad:
            self.live(rng)
        child = self.start()
        child.wait()
        self.check_nothing_left()
        self.end(child)
        if kills >= 20 and self.resumed < kills / 20:
            self.bad.append(f"{self.resumed} lives went on behind others: that shows nothing")
        good = not self.bad
        print(f"{'ok    ' if good else 'FAIL  '}{self.name}: killed {self.kills} times in {self.lives} lives, "
              f"{self.ends} ended by themselves, {self.resumed} of them behind others, {self.most} finished at most; "
              f"exit {self.peace[0]}, {self.lasts:.2f} s in peace", *self.bad, sep="\n      ", flush=True)
        return good


def count_lines(path):
    """Finished cases: whole lines behind the head."""
    if not os.path.exists(path):
        return 0
    with open(path) as f:
        return sum(re.match(r"\d+ [0-9a-f]{32} .*\n", line) is not None for line in f)


def count_parts(dump):
    return math.inf if os.path.exists(dump) else len(glob.glob(dump + ".partial/[0-9]*.safetensors"))


def campaign(folder, name):
    mistake = os.path.join(BUILD, "planted", "mistake_G7_scale_again.so")
    if name == "run":
        journal, out = os.path.join(folder, "run.journal"), os.path.join(folder, "run.out")
        command = ["run", *CASES, "--backend=plain", f"--backend={mistake}", f"--backend={PROGRAM}", "--jobs=2",
                   "--diagnose", "--format=text,jsonl", f"--out={out}", f"--resume={journal}"]  # fmt: skip
        return Campaign(folder, name, command, [os.path.join(out, "results.jsonl")], lambda: count_lines(journal))
    dump = os.path.join(folder, name + ".safetensors")
    tokens = ",".join(str(i * 37 % 97) for i in range(TOKENS[name]))
    command = ["model", folder, f"--tokens={tokens}", f"--dump={dump}"]
    command += [f"--backend={mistake}"] if name == "port" else []
    return Campaign(folder, name, command, [dump], lambda: count_parts(dump))


def main():
    kills, seed, names = 3, random.SystemRandom().randrange(10**6), []
    for word in sys.argv[1:]:
        if word.startswith("--kills="):
            kills = int(word[8:])
        elif word.startswith("--seed="):
            seed = int(word[7:])
        else:
            names.append(word)
    passed = failed = 0
    print(f"--seed={seed}")
    with tempfile.TemporaryDirectory(prefix="dsv3-kills-") as folder:
        write_checkpoint(folder)
        for name in names or ("run", "port", "truth"):
            good = campaign(folder, name).go(kills, random.Random(seed))
            passed, failed = passed + good, failed + (not good)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    sys.exit(failed > 0)


main()
