"""verify model, tried on tiny checkpoints and on one that is larger than the memory it may take.

    build/ports/python unit/model.py [agreement] [ports] [streaming] [refusals]

agreement  truth beside transformers in binary64 (unit/oracle.py): one prefill, and prefill with cached decoding; three
           configurations in f32, bf16 and FP8, MTP modules too. The largest difference of logits is at most 2^-40 of the
           largest logit, and every routing set is the same.
ports      the plain port passes every stage; ports with a known mistake fail in a stage that has it
streaming  1.9 GB of FP8 weights (hidden_size 7168, 16 experts of 2048, two MoE layers): peak resident set for 1 and 8 tokens;
           killed in the middle, the run goes on and gives the same file
refusals   what can't be read gets one sentence and exit code 2

Last line: N passed, N failed, N skipped.
"""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.join(HERE, "..", "build")
VERIFY = os.path.join(BUILD, "bin", "verify")
FOLDER = os.path.join(BUILD, "checkpoints")
TOKENS = "3,1,4,1,5,9,2,6,5,35,8,9"
KINDS = [f"{config}-{form}" for config in ("odd", "noq", "f8") for form in ("f32", "bf16", "fp8")]
count = {"passed": 0, "failed": 0}


def check(good, text):
    count["passed" if good else "failed"] += 1
    print(("ok    " if good else "FAIL  ") + text, flush=True)


def verify(*arguments):
    return subprocess.run([VERIFY, "model", *arguments], capture_output=True, text=True)


def python(script, *arguments):
    subprocess.run([sys.executable, os.path.join(HERE, script), *arguments], check=True, stdout=subprocess.DEVNULL)


def checkpoint(kind):
    path = os.path.join(FOLDER, kind)
    if not os.path.exists(os.path.join(path, "config.json")):
        python("checkpoints.py", FOLDER, kind)
    return path


def tensors(path):
    from safetensors.numpy import load_file

    return load_file(path)


# ---- agreement ----


def compare(kind, truth, other, what):
    import numpy as np

    worst, sets = {}, 0
    for name, theirs in other.items():
        if name.endswith("hidden_states") and name not in truth:
            continue  # layers that are MTP modules: mtp.K.hidden_states is the same
        ours = truth[name]
        if name.endswith("topk_idx"):
            sets += int((np.sort(ours, 1) != np.sort(theirs, 1)).any())
        elif name.endswith("logits"):
            worst[name] = np.abs(ours - theirs).max() / np.abs(theirs).max()
    most = max(worst.values())
    check(most <= 2.0**-40 and sets == 0 and len(worst) == 3,
          f"{kind}, {what}: logits of the model and {len(worst) - 1} MTP modules within 2^{math.log2(most):.1f}, "
          f"{sets} routing sets differ")


def agreement():
    for kind in [*KINDS, "odd-fp8-sharded"]:
        path, dump = checkpoint(kind), os.path.join(FOLDER, "truth.safetensors")
        run = verify(path, f"--tokens={TOKENS}", f"--dump={dump}")
        if run.returncode:
            check(False, f"{kind}: {run.stderr}")
            continue
        for what, more in (("prefill", ()), ("cached decode", ("--prefill", "5"))):
            other = os.path.join(FOLDER, "oracle.safetensors")
            python("oracle.py", path, other, "--tokens", TOKENS, *more)
            compare(kind, tensors(dump), tensors(other), what)


# ---- ports ----


def ports():
    for kind in KINDS:
        run = verify(checkpoint(kind), f"--tokens={TOKENS}", "--backend=plain")
        last = run.stdout.strip().splitlines()[-1] if run.stdout else run.stderr
        check(run.returncode == 0 and ", 0 failed, 0 skipped" in last, f"{kind}, plain: {last}")
    for mistake, stage in (("A9_no_mask", "layers.0.self_attn"), ("G7_scale_again", "layers.1.mlp")):
        port = os.path.join(BUILD, "planted", f"mistake_{mistake}.so")
        if not os.path.exists(port):
            continue
        run = verify(checkpoint("odd-f32"), f"--tokens={TOKENS}", f"--backend={port}", "--diagnose")
        first = re.search("first stage outside: (.*)", run.stdout)
        check(run.returncode == 1 and first and stage in first[1] and f"{mistake} explains all" in run.stdout,
              f"odd-f32, {mistake}: exit {run.returncode}, first stage outside: {first[1] if first else None}")


# ---- streaming ----


def big_checkpoint(path):
    """Random FP8 weights of V3's widths, embedding and head with 1024 rows."""
    import torch
    from safetensors.torch import save_file

    hidden, width, experts, vocabulary, heads = 7168, 2048, 16, 1024, 128
    config = dict(
        model_type="deepseek_v3", vocab_size=vocabulary, hidden_size=hidden, intermediate_size=18432,
        moe_intermediate_size=width, num_hidden_layers=2, first_k_dense_replace=0, num_attention_heads=heads,
        num_key_value_heads=heads, q_lora_rank=1536, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64,
        v_head_dim=128, n_routed_experts=experts, n_shared_experts=1, num_experts_per_tok=8, n_group=8, topk_group=4,
        routed_scaling_factor=2.5, norm_topk_prob=True, scoring_func="sigmoid", topk_method="noaux_tc",
        rms_norm_eps=1e-6, rope_theta=10000, max_position_embeddings=163840, num_nextn_predict_layers=0,
        hidden_act="silu", attention_bias=False, moe_layer_freq=1, tie_word_embeddings=False,
        rope_scaling=dict(type="yarn", factor=40, original_max_position_embeddings=4096, beta_fast=32, beta_slow=1,
                          mscale=1.0, mscale_all_dim=1.0),
        quantization_config=dict(activation_scheme="dynamic", fmt="e4m3", quant_method="fp8", weight_block_size=[128, 128]),
    )  # fmt: skip
    os.makedirs(path, exist_ok=True)
    g, files = torch.Generator().manual_seed(1), {}

    def real(*shape):
        return (torch.randn(*shape, generator=g) / math.sqrt(shape[-1])).to(torch.bfloat16)

    def add(state, name, rows, columns):
        codes = torch.randint(0, 256, (rows, columns), generator=g, dtype=torch.uint8)
        codes[(codes & 0x7F) == 0x7F] = 0  # no NaN
        scale = 0.75 + 0.5 * torch.rand(math.ceil(rows / 128), math.ceil(columns / 128), generator=g)
        state[name + ".weight"] = codes.view(torch.float8_e4m3fn)
        state[name + ".weight_scale_inv"] = scale / 80 / math.sqrt(columns)

    def save(state, name):
        save_file(state, os.path.join(path, name))
        files.update({tensor: name for tensor in state})

    save({"model.embed_tokens.weight": torch.randn(vocabulary, hidden, generator=g).bfloat16(),
          "lm_head.weight": real(vocabulary, hidden), "model.norm.weight": torch.ones(hidden).bfloat16()}, "ends.safetensors")
    for layer in range(2):
        of = f"model.layers.{layer}."
        state = {of + n + ".weight": torch.ones(w).bfloat16()
                 for n, w in (("input_layernorm", hidden), ("post_attention_layernorm", hidden),
                              ("self_attn.q_a_layernorm", 1536), ("self_attn.kv_a_layernorm", 512))}
        for name, rows, columns in (("q_a_proj", 1536, hidden), ("q_b_proj", heads * 192, 1536),
                                    ("kv_a_proj_with_mqa", 576, hidden), ("kv_b_proj", heads * 256, 512),
                                    ("o_proj", hidden, heads * 128)):
            add(state, of + "self_attn." + name, rows, columns)
        state[of + "mlp.gate.weight"] = real(experts, hidden)
        state[of + "mlp.gate.e_score_correction_bias"] = torch.randn(experts, generator=g) / 8
        for name in ["shared_experts"] + [f"experts.{e}" for e in range(experts)]:
            for leaf, rows, columns in (("gate_proj", width, hidden), ("up_proj", width, hidden), ("down_proj", hidden, width)):
                add(state, f"{of}mlp.{name}.{leaf}", rows, columns)
        save(state, f"layer{layer}.safetensors")
    with open(os.path.join(path, "model.safetensors.index.json"), "w") as f:
        json.dump({"metadata": {}, "weight_map": files}, f)
    with open(os.path.join(path, "config.json"), "w") as f:
        json.dump(config, f)


def peak(path, tokens, dump):
    """Peak resident set of a run, MiB: VmHWM, the kernel's own high-water mark, read until the run ends."""
    child = subprocess.Popen([VERIFY, "model", path, f"--tokens={tokens}", f"--dump={dump}"], stdout=subprocess.DEVNULL)
    most = 0
    while child.poll() is None:
        try:
            with open(f"/proc/{child.pid}/status") as f:
                status = f.read()
        except OSError:
            continue
        mark = re.search(r"VmHWM:\s+(\d+) kB", status)
        if mark and f"Name:\t{os.path.basename(VERIFY)}" in status:  # not the interpreter before it becomes the program
            most = max(most, int(mark[1]) / 1024)
        time.sleep(0.005)
    return most if child.returncode == 0 and most > 0 else math.inf


def killed_and_resumed(path, tokens, whole):
    dump = os.path.join(FOLDER, "resumed.safetensors")
    part = os.path.join(dump + ".partial", "0000.safetensors")
    if os.path.exists(dump):
        os.remove(dump)
    command = [VERIFY, "model", path, f"--tokens={tokens}", f"--dump={dump}"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while not os.path.exists(part) and child.poll() is None:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    check(child.returncode == -signal.SIGKILL and not os.path.exists(dump), "killed after the first layer, no file yet")
    again = subprocess.run(command, stdout=subprocess.DEVNULL)
    same = again.returncode == 0 and open(dump, "rb").read() == open(whole, "rb").read()
    check(same and not os.path.exists(dump + ".partial"), "goes on, and the file is the same byte by byte")


def streaming():
    path = os.path.join(FOLDER, "big")
    if not os.path.exists(os.path.join(path, "config.json")):
        big_checkpoint(path)
    size = sum(os.path.getsize(os.path.join(path, name)) for name in os.listdir(path))
    dumps = [os.path.join(FOLDER, f"big{n}.safetensors") for n in (1, 8)]
    eight = "1,2,3,4,5,6,7,1000"
    one, more = peak(path, "7", dumps[0]), peak(path, eight, dumps[1])
    check(one <= 300 and more <= 300 and abs(more - one) <= 50,
          f"{size / 1e9:.2f} GB of weights: peak resident set {one:.0f} MiB for 1 token, {more:.0f} MiB for 8")
    killed_and_resumed(path, eight, dumps[1])
    shutil.rmtree(path)


# ---- refusals ----


def refused(what, words, *arguments):
    run = verify(*arguments)
    lines = run.stderr.strip().splitlines()
    good = run.returncode == 2 and len(lines) == 1 and all(word in lines[0] for word in words)
    check(good, f"{what}: exit {run.returncode}, {run.stderr.strip()}")


def without(kind, name, drop):
    """A copy of a checkpoint in which drop(state) changed the tensors."""
    from safetensors.torch import load_file, save_file

    path = os.path.join(FOLDER, name)
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(checkpoint(kind), path)
    file = next(os.path.join(path, f) for f in sorted(os.listdir(path)) if f.endswith(".safetensors"))
    state = load_file(file)
    drop(state)
    save_file(state, file)
    return path


def refusals():
    path = checkpoint("odd-f32")
    refused("no folder", ["needs a checkpoint folder"], f"--tokens={TOKENS}")
    refused("no tokens", ["--tokens="], path)
    refused("token out of range", ["97", "vocab_size"], path, "--tokens=3,97")
    refused("token that is none", ["'x'"], path, "--tokens=3,x")
    refused("no such folder", ["nowhere"], "nowhere", "--tokens=1")
    refused("no such port", ["nobody"], path, "--tokens=1", "--backend=nobody")
    refused("dump where nothing can be written", ["nowhere"], path, "--tokens=1", "--dump=nowhere/x.safetensors")
    lacking = without("odd-f32", "lacking", lambda s: s.pop("model.layers.1.self_attn.o_proj.weight"))
    refused("missing tensor", ["model.layers.1.self_attn.o_proj.weight"], lacking, "--tokens=1")
    shape = without("odd-f32", "shape", lambda s: s.update({"model.norm.weight": s["model.norm.weight"][:-1].clone()}))
    refused("wrong shape", ["model.norm.weight"], shape, "--tokens=1")
    name = "model.layers.0.self_attn.o_proj.weight_scale_inv"
    scale = without("odd-fp8", "scale", lambda s: s[name].fill_(math.nan))
    refused("NaN scale", [name], scale, "--tokens=1")


def main():
    parts = {"agreement": agreement, "ports": ports, "streaming": streaming, "refusals": refusals}
    names = sys.argv[1:] or list(parts)
    if set(names) - set(parts):
        sys.exit(f"model.py: the parts are {', '.join(parts)}")
    for name in names:
        parts[name]()
    print(f"{count['passed']} passed, {count['failed']} failed, 0 skipped")
    sys.exit(count["failed"] > 0)


main()
