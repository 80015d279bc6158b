"""verify model, tried on tiny checkpoints and on one that is larger than the memory it may take.

    build/ports/python unit/model.py [agreement] [ports] [skips] [streaming] [refusals] [resume] [changes] [targets] [finite]

agreement  truth beside transformers in binary64 (unit/oracle.py): one prefill, and prefill with cached decoding; three
           configurations in f32, bf16 and FP8, MTP modules too, and Moonlight's, Kimi-K2's, V2's and V2-Lite's. The largest difference of logits is at most 2^-40 of the
           largest logit, and every routing set is the same.
ports      the plain port passes every stage; ports with a known mistake fail in a stage that has it
skips      a port that lacks ops: their stages are SKIP, the truth goes on, and a run that was killed does so too
streaming  1.9 GB of FP8 weights (hidden_size 7168, 16 experts of 2048, two MoE layers): peak resident set for 1 and 8 tokens;
           killed in the middle, the run goes on and gives the same file
refusals   what can't be read gets one sentence and exit code 2
resume     killed at random moments, a run goes on to the same bytes, verdicts and exit code: truth, a good port, a port with
           a mistake; parts of another config, port, input or with a flipped bit are never used; SIGINT and SIGTERM report
changes    a file of the checkpoint that is written, cut or replaced in use: exit code 2
targets    a dump replaces nothing but an older dump, and of its folder only what it made is removed
finite     NaN and infinity in a weight that is used, a truth that overflows: exit code 2; elsewhere they don't matter

Last line: N passed, N failed, N skipped.
"""

import concurrent.futures
import fcntl
import json
import math
import multiprocessing
import os
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.join(HERE, "..", "build")
VERIFY = os.path.join(BUILD, "bin", "verify")
FOLDER = os.path.join(BUILD, "checkpoints")
TOKENS = "3,1,4,1,5,9,2,6,5,35,8,9"
KINDS = [f"{config}-{form}" for config in ("odd", "noq", "f8") for form in ("f32", "bf16", "fp8")]
RELATIVES = ["moonlight-f32", "kimi-fp8", "v2-f32", "v2-bf16", "lite-f32", "lite-bf16"]  # other config.json than V3's
SHARDED = "odd-fp8-sharded"
count = {"passed": 0, "failed": 0}


def check(good, text):
    count["passed" if good else "failed"] += 1
    print(("ok    " if good else "FAIL  ") + text, flush=True)


def verify(*arguments):
    return subprocess.run([VERIFY, "model", *arguments], capture_output=True, text=True)


def checkpoint(kind):
    """Its folder. Whoever is first makes all that lack: in one process, which imports torch once."""
    lacks = [k for k in (*KINDS, *RELATIVES, SHARDED) if not os.path.exists(os.path.join(FOLDER, k, "config.json"))]
    if lacks:
        command = [sys.executable, os.path.join(HERE, "checkpoints.py"), FOLDER, *lacks]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return os.path.join(FOLDER, kind)


def tensors(path):
    from safetensors.numpy import load_file

    return load_file(path)


# ---- agreement ----


def compare(kind, truth, other, what):
    """Whether they agree, and what to say of it."""
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
    modules = 0 if kind in RELATIVES else 2
    return (most <= 2.0**-40 and sets == 0 and len(worst) == 1 + modules,
            f"{kind}, {what}: logits of the model and {len(worst) - 1} MTP modules within 2^{math.log2(most):.1f}, "
            f"{sets} routing sets differ")


def agree(kind):
    """In a process that compares several kinds: importing transformers takes seconds."""
    import oracle

    path, dump = checkpoint(kind), os.path.join(FOLDER, f"truth-{kind}.safetensors")
    run = verify(path, f"--tokens={TOKENS}", f"--dump={dump}")
    if run.returncode:
        return [(False, f"{kind}: {run.stderr}")]
    found = []
    for what, more in (("prefill", ()), ("cached decode", ("--prefill", "5"))):
        other = os.path.join(FOLDER, f"oracle-{kind}.safetensors")
        oracle.main([path, other, "--tokens", TOKENS, *more])
        found.append(compare(kind, tensors(dump), tensors(other), what))
    return found


def agreement():
    kinds = [*KINDS, *RELATIVES, SHARDED]
    checkpoint(kinds[0])
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        for found in pool.map(agree, kinds):
            for good, text in found:
                check(good, text)


# ---- ports ----


def ports():
    checkpoint(KINDS[0])
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        kinds = KINDS + RELATIVES
        runs = list(pool.map(lambda kind: verify(checkpoint(kind), f"--tokens={TOKENS}", "--backend=plain"), kinds))
    for kind, run in zip(kinds, runs):
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


def skips():
    """A port without some ops: their stages are skipped, the others judged; and so again when it goes on."""
    kind, dump = "odd-f32", os.path.join(FOLDER, "skips.safetensors")
    plain = verify(checkpoint(kind), f"--tokens={TOKENS}", "--backend=plain", f"--dump={dump}.plain")
    stages, own = len(plain.stdout.splitlines()) - 2, tensors(f"{dump}.plain")
    for lacks, skipped in (("swiglu", 1), ("moe mla", 11), ("embed linear rmsnorm", 30)):
        port = os.path.join(BUILD, "lacks.so")
        build_port(port, lacks.split())
        run = verify(checkpoint(kind), f"--tokens={TOKENS}", f"--backend={port}", f"--dump={dump}", "--verbose")
        lines = run.stdout.splitlines()
        last = lines[-1] if lines else run.stderr
        good = run.returncode == 0 and last == f"{stages - skipped} passed, 0 failed, {skipped} skipped"
        said = f"{skipped} of {stages} stages are not the port's" in run.stdout
        check(good and said and run.stdout.count(" SKIP ") == skipped, f"{kind}, a port without {lacks}: {last}")
        there = tensors(dump)
        off = max(abs(own[name] - there[name]).max() / max(abs(own[name]).max(), 1) for name in own)
        check(own.keys() == there.keys() and 0 < off < 1e-4, f"{kind}, a port without {lacks}: {off:.1e} from one with all")
        resumes_with_skips(kind, port, dump, run.stdout, lacks)
    program = f"import sys; sys.path.append(\"{HERE}/../verify/ports\"); import dsv3_port; dsv3_port.serve(\"none\", {{}})"
    run = verify(checkpoint(kind), f"--tokens={TOKENS}", f"--backend=exec:python3 -c '{program}'")
    good = run.returncode == 3 and run.stdout.endswith(f"\n0 passed, 0 failed, {stages} skipped\n")
    check(good, f"{kind}, a program without ops: exit {run.returncode} {run.stderr}")


def resumes_with_skips(kind, port, dump, whole, lacks):
    """The dump again, from parts of a run that was killed."""
    first = open(dump, "rb").read()
    os.remove(dump)
    child = subprocess.Popen([VERIFY, "model", checkpoint(kind), f"--tokens={TOKENS}", f"--backend={port}", "--verbose",
                              f"--dump={dump}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    while child.poll() is None and not (os.path.isdir(f"{dump}.partial") and len(os.listdir(f"{dump}.partial")) > 2):
        time.sleep(0.005)
    child.kill()
    child.wait()
    run = verify(checkpoint(kind), f"--tokens={TOKENS}", f"--backend={port}", f"--dump={dump}", "--verbose")
    good = run.stdout == whole and open(dump, "rb").read() == first
    check(good, f"{kind}, a port without {lacks} goes on: the same verdicts and bytes")
    os.remove(dump)


def build_port(path, lacks):
    """The plain port without these ops."""
    plain = os.path.join(HERE, "..", "verify", "ports", "plain")
    folder = path + ".c"
    shutil.copytree(plain, folder, dirs_exist_ok=True)
    with open(os.path.join(folder, "plain.h"), encoding="utf-8") as file:
        text = file.read()
    ops = [f"OP({name})" for name in ("embed", "linear", "rmsnorm", "mla", "moe", "swiglu") if name not in lacks]
    text = text.replace("#define PLAIN_OPS(OP) DSV3_OPS(OP)", "#define PLAIN_OPS(OP) " + " ".join(ops))
    with open(os.path.join(folder, "plain.h"), "w", encoding="utf-8") as file:
        file.write(text)
    os.remove(os.path.join(folder, "mtp.c"))  # calls others
    sources = [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith(".c")]
    subprocess.run(["cc", "-std=c11", "-O2", "-ffp-contract=off", "-shared", "-fPIC", f"-I{HERE}/../include", "-o", path,
                    *sources, "-lm"], check=True)  # fmt: skip
    shutil.rmtree(folder)


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


def descendants(pid):
    """A process and all below it."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as f:
            return [pid] + [below for child in f.read().split() for below in descendants(int(child))]
    except OSError:
        return []


def resident(pid):
    """A process's peak resident set, MiB: VmHWM, the kernel's own high-water mark; 0 before it is verify, or when it is gone."""
    try:
        with open(f"/proc/{pid}/status") as f:
            status = f.read()
    except OSError:
        return 0
    mark = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(mark[1]) / 1024 if mark and f"Name:\t{os.path.basename(VERIFY)}" in status else 0


def peak(path, tokens, dump):
    """That of the process of a run that has the most, read until the run ends."""
    child = subprocess.Popen([VERIFY, "model", path, f"--tokens={tokens}", f"--dump={dump}"], stdout=subprocess.DEVNULL)
    most = 0
    while child.poll() is None:
        most = max([most] + [resident(pid) for pid in descendants(child.pid)])
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
    check(20 <= one <= 300 and more <= 300 and abs(more - one) <= 50,
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


# ---- resume ----

# Tokens of a run that is killed: it lasts a second on one processor, and with a port, which is judged by statistics too, as long
# with twelve.
LONG = ",".join(str(i * 37 % 97) for i in range(160))


def tokens_with(port):
    return f"--tokens={TOKENS if port else LONG}"


def spawn(*arguments):
    return subprocess.Popen([VERIFY, "model", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def fresh(name):
    """The path of a dump that isn't there, nor its parts."""
    path = os.path.join(FOLDER, name)
    if os.path.exists(path):
        os.remove(path)
    shutil.rmtree(path + ".partial", ignore_errors=True)
    return path


def content(path):
    with open(path, "rb") as f:
        return f.read()


def parts(dump):
    folder = dump + ".partial"
    return sorted(f for f in os.listdir(folder) if f[0].isdigit() and f.endswith(".safetensors")) if os.path.isdir(folder) else []


def stop(signal_number, dump, count, *arguments):
    """Starts a run and ends it by a signal once so many parts are there."""
    child = spawn(*arguments, f"--dump={dump}")
    while len(parts(dump)) < count and child.poll() is None:
        time.sleep(0.0005)
    child.send_signal(signal_number)
    out, err = child.communicate()
    return child.returncode, out, err


def killed_anywhere(what, times, *arguments):
    """The same command killed at random moments until it ends by itself: the end is that of a run in peace."""
    whole, dump = fresh("whole.safetensors"), fresh("pieces.safetensors")
    began = time.time()
    peace = verify(*arguments, f"--dump={whole}")
    lasts = time.time() - began
    kills, most, rng = 0, 0, random.Random(1)
    for _ in range(times):
        child = spawn(*arguments, f"--dump={dump}")
        try:
            child.communicate(timeout=rng.uniform(0, lasts))
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
        kills += child.returncode == -signal.SIGKILL
        most = max(most, len(parts(dump)))
    end = verify(*arguments, f"--dump={dump}")
    same = (end.returncode, end.stdout) == (peace.returncode, peace.stdout) and content(dump) == content(whole)
    check(same and kills > times / 3 and not os.path.exists(dump + ".partial"),
          f"{what}: killed {kills} times, {most} parts at most; then exit {end.returncode}, same bytes and verdicts: {same}")


def mistake(name):
    return os.path.join(BUILD, "planted", f"mistake_{name}.so")


def resumed_failure():
    arguments = (checkpoint("odd-f32"), f"--tokens={TOKENS}", f"--backend={mistake('A9_no_mask')}")
    whole, dump = fresh("whole.safetensors"), fresh("pieces.safetensors")
    peace = verify(*arguments, f"--dump={whole}")
    stop(signal.SIGKILL, dump, 1, *arguments)
    had = len(parts(dump))
    again = verify(*arguments, f"--dump={dump}")
    check(had >= 1 and peace.returncode == again.returncode == 1 and again.stdout == peace.stdout
          and "first stage outside: model.layers.0.self_attn" in again.stdout and content(dump) == content(whole),
          f"a FAIL of a finished layer is counted again: exit {again.returncode}, {again.stdout.splitlines()[-1]}")
    check("goes on behind" in again.stderr and "not the libraries" in again.stderr, f"what was compared: {again.stderr.strip()}")


def stale(what, says, change, arguments, second=None):
    """Killed with a part there, then something changes: the next run is as one that never had parts."""
    dump, clean = fresh("stale.safetensors"), fresh("clean.safetensors")
    stop(signal.SIGKILL, dump, 1, *arguments)
    had = len(parts(dump))
    change(dump + ".partial")
    second = second or arguments
    resumed, peace = verify(*second, f"--dump={dump}"), verify(*second, f"--dump={clean}")
    same = (resumed.returncode, resumed.stdout) == (peace.returncode, peace.stdout) and content(dump) == content(clean)
    lines = resumed.stderr.strip().splitlines()
    check(had >= 1 and same and len(lines) == 1 and says in lines[0], f"{what}: same as anew: {same}; {resumed.stderr.strip()}")


def copy_of(kind, name):
    path = os.path.join(FOLDER, name)
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(checkpoint(kind), path)
    return path


def nothing(_folder):
    pass


def other_model(path):
    def change(_folder):
        name = os.path.join(path, "config.json")
        text = re.sub(r'"rms_norm_eps": [^,\n]*', '"rms_norm_eps": 0.5', content(name).decode())
        with open(name, "w") as f:
            f.write(text)
    return change


def weights_file(path):
    return next(os.path.join(path, f) for f in sorted(os.listdir(path)) if f.endswith(".safetensors"))


def other_weight(path):
    """The last byte of a bias changes, and the time with it."""
    def change(_folder):
        file = weights_file(path)
        with open(file, "r+b") as f:
            f.seek(-3, os.SEEK_END)
            byte = f.read(1)[0]
            f.seek(-3, os.SEEK_END)
            f.write(bytes([byte ^ 1]))
    return change


def flipped(file, at):
    def change(folder):
        path = os.path.join(folder, file)
        data = bytearray(content(path))
        data[int(at * (len(data) - 1))] ^= 1 << 3
        with open(path, "wb") as f:
            f.write(data)
    return change


def stale_parts():
    path, anew = copy_of("odd-f32", "changing"), "starts anew"
    plain = os.path.join(BUILD, "ports", "plain.so")
    port = os.path.join(FOLDER, "port.so")
    with_port = (path, tokens_with(port), f"--backend={port}")
    truth = (path, f"--tokens={LONG}")
    shutil.copy(mistake("A9_no_mask"), port)
    stale("another port under the same name", anew, lambda _: (os.remove(port), shutil.copy(plain, port)), with_port)
    stale("another last token", anew, nothing, (path, f"--tokens={LONG},5"), (path, f"--tokens={LONG},6"))
    stale("a port where there was truth", anew, nothing, (path, f"--tokens={TOKENS}"), with_port)
    stale("another config.json", anew, other_model(path), truth)
    stale("another weight", anew, other_weight(path), truth)
    for at in (0, 0.001, 0.3, 0.7, 1):
        stale(f"a flipped bit at {at} of a part", "computed again", flipped("0000.safetensors", at), truth)
        stale(f"a flipped bit at {at} of a port's part", "computed again", flipped("0000.safetensors", at), with_port)
    stale("a flipped bit in the manifest", anew, flipped("manifest", 0.5), truth)
    stale("a part that is cut", "computed again",
          lambda folder: os.truncate(os.path.join(folder, "0000.safetensors"), 1000), truth)


def many_shards():
    """As many files as the released model has, and more."""
    from safetensors.torch import load_file, save_file

    path = copy_of("odd-f32", "shards")
    state, files = load_file(weights_file(path)), {}
    os.remove(weights_file(path))
    for i, (name, tensor) in enumerate(state.items()):
        files[name] = f"model-{i:05d}-with-a-name-as-long-as-those-of-the-released-one.safetensors"
        save_file({name: tensor}, os.path.join(path, files[name]))
    with open(os.path.join(path, "model.safetensors.index.json"), "w") as f:
        json.dump({"weight_map": files}, f)
    stale(f"{len(state)} shards", "goes on behind", nothing, (path, f"--tokens={LONG}"))


def interrupted():
    path = checkpoint("odd-f32")
    for number, name in ((signal.SIGINT, "SIGINT"), (signal.SIGTERM, "SIGTERM")):
        for port in ((), (f"--backend={mistake('A9_no_mask')}",)):
            dump = fresh("stopped.safetensors")
            code, out, err = stop(number, dump, 1, path, tokens_with(port), *port)
            kept = len(parts(dump))
            told = "1 failed" in out and "first stage outside" in out if port else out == ""
            check(code == 128 + number and kept >= 1 and told and f"interrupted by {name} after" in err and "goes on from" in err and err.count("\n") == 1,
                  f"{name}, {'port' if port else 'truth'}: exit {code}, {kept} parts, {err.strip()}")
            again = verify(path, tokens_with(port), *port, f"--dump={dump}")
            check("goes on behind" in again.stderr and again.returncode == len(port), "and goes on")
    early = 0
    for _ in range(30):
        child = spawn(path, f"--tokens={LONG}")
        time.sleep(random.uniform(0.002, 0.02))
        child.send_signal(signal.SIGTERM)
        child.communicate()
        early += child.returncode == 128 + signal.SIGTERM
    check(early >= 25, f"{early} of 30 early SIGTERM are reported")
    held_folder(path)


def held_folder(path):
    """Another run may be ending: that is waited for. One that goes on is not."""
    dump = fresh("held.safetensors")
    os.mkdir(dump + ".partial")
    lock = os.open(dump + ".partial", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    refused("a folder that another run writes", ["another run"], path, f"--tokens={LONG}", f"--dump={dump}")
    waits = spawn(path, f"--tokens={LONG}", f"--dump={dump}")
    time.sleep(0.3)
    shutil.rmtree(dump + ".partial")
    os.close(lock)
    waits.communicate()
    check(waits.returncode == 0 and os.path.exists(dump), "a folder whose run ends, and removes it, is waited for")


def resume():
    path = checkpoint("odd-f32")
    killed_anywhere("truth", 20, path, f"--tokens={LONG}")
    killed_anywhere("a good port", 20, path, f"--tokens={TOKENS}", "--backend=plain")
    killed_anywhere("a port that fails", 20, path, f"--tokens={TOKENS}", f"--backend={mistake('A9_no_mask')}")
    resumed_failure()
    stale_parts()
    many_shards()
    interrupted()


# ---- changes ----


def changes():
    def cut(path):
        os.truncate(weights_file(path), os.path.getsize(weights_file(path)) // 2)

    def replace(path):
        shutil.copy(weights_file(path), weights_file(path) + ".new")
        os.replace(weights_file(path) + ".new", weights_file(path))

    def write_silently(path):
        """A byte changes and the time is put back."""
        file = weights_file(path)
        before = os.stat(file)
        other_weight(path)(None)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    faults = 0
    for _ in range(20):
        path = copy_of("odd-f32", "changing")
        child = spawn(path, f"--tokens={LONG}")
        time.sleep(random.uniform(0.01, 0.3))
        os.truncate(weights_file(path), 0)
        _, err = child.communicate()
        faults += "was cut" in err
        if child.returncode != 2 or err.count("\n") != 1:
            check(child.returncode == 0 and not err, f"cut to nothing: exit {child.returncode}, {err}")
    check(faults > 0, f"cut to nothing 20 times, {faults} of them while a page was awaited")
    for what, change in (("cut", cut), ("replaced", replace), ("written", lambda p: other_weight(p)(None)),
                         ("written, its time put back", write_silently),
                         ("taken away", lambda p: os.remove(weights_file(p))),
                         ("config.json written", lambda p: other_model(p)(None))):
        for port in ((), ("--backend=plain",)):
            path, dump = copy_of("odd-f32", "changing"), fresh("changed.safetensors")
            child = spawn(path, tokens_with(port), *port, f"--dump={dump}")
            while not parts(dump) and child.poll() is None:
                time.sleep(0.0005)
            change(path)
            _, err = child.communicate()
            check(child.returncode == 2 and err.count("\n") == 1 and not os.path.exists(dump),
                  f"{what}, {'port' if port else 'truth'}: exit {child.returncode}, {err.strip()}")


# ---- targets ----


def targets():
    path = copy_of("odd-f32", "target")
    tokens, weights = "--tokens=1,2", weights_file(path)
    before = content(weights)
    here = fresh("target.safetensors")
    os.makedirs(os.path.join(FOLDER, "a-folder"), exist_ok=True)
    pipe, link, hard, null, full = (os.path.join(FOLDER, n) for n in ("a-pipe", "a-link", "a-hard-link", "null", "full"))
    for name in (pipe, link, hard, null, full):
        if os.path.lexists(name):
            os.remove(name)
    os.mkfifo(pipe)
    os.symlink(weights, link)
    os.link(weights, hard)
    if os.geteuid() == 0:  # nodes of our own: a run as root that didn't refuse would replace the machine's
        os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.mknod(full, stat.S_IFCHR | 0o666, os.makedev(1, 7))
    else:
        null, full = "/dev/null", "/dev/full"
    for what, words, target in (
            ("a folder", ["is a folder"], os.path.join(FOLDER, "a-folder")), ("a device", ["is a device"], null),
            ("a full device", ["is a device"], full), ("a pipe", ["is a pipe"], pipe), ("no name", ["--dump has no value"], ""),
            ("a symbolic link", ["symbolic link"], link), ("the weights", ["a file of the checkpoint"], weights),
            ("the weights by another name", ["a file of the checkpoint"], hard),
            ("config.json", ["a file of the checkpoint"], os.path.join(path, "config.json")),
            ("an index", ["own name"], os.path.join(path, "model.safetensors.index.json"))):
        refused(f"dump to {what}", words, path, tokens, f"--dump={target}")
    check(content(weights) == before and os.path.islink(link), "all of them are as they were")
    folder = here + ".partial"
    os.makedirs(folder)
    mine = os.path.join(folder, "mine.safetensors")
    with open(mine, "w") as f:
        f.write("mine")
    refused("a folder of somebody else", ["isn't a folder that verify model made"], path, tokens, f"--dump={here}")
    check(content(mine) == b"mine", "and his file is there")
    shutil.rmtree(folder)
    os.symlink(path, folder)
    refused("a link in place of the folder", ["isn't a folder"], path, tokens, f"--dump={here}")
    os.remove(folder)
    stop(signal.SIGKILL, here, 1, path, f"--tokens={LONG}")
    with open(mine, "w") as f:
        f.write("mine")
    run = verify(path, tokens, f"--dump={here}")
    check(run.returncode == 0 and os.listdir(folder) == ["mine.safetensors"] and content(mine) == b"mine",
          f"a file beside the parts stays: {run.stderr.strip()}")
    shutil.rmtree(folder)
    for name in (pipe, link, hard):
        os.remove(name)


# ---- finite ----

USED = (
    "model.embed_tokens.weight", "model.layers.0.input_layernorm.weight", "model.layers.0.self_attn.q_a_proj.weight",
    "model.layers.0.self_attn.q_a_layernorm.weight", "model.layers.1.self_attn.kv_b_proj.weight",
    "model.layers.1.self_attn.o_proj.weight", "model.layers.0.mlp.down_proj.weight", "model.layers.1.mlp.gate.weight",
    "model.layers.1.mlp.gate.e_score_correction_bias", "model.layers.2.mlp.shared_experts.up_proj.weight", "model.norm.weight",
    "lm_head.weight", "model.layers.4.eh_proj.weight", "model.layers.4.shared_head.head.weight",
)  # fmt: skip


def with_value(kind, name, index, value):
    def put(state):
        state[name].view(-1)[index] = value
    return without(kind, "nan", put)


def overflow(state):
    """Weights of layer 0 near the end of f32: what its block makes of them has no binary64 norm."""
    state["model.layers.0.post_attention_layernorm.weight"].mul_(1e38)
    for leaf in ("gate_proj", "up_proj", "down_proj"):
        state[f"model.layers.0.mlp.{leaf}.weight"].mul_(1e37)


def finite():
    def twice(what, words, path):
        for port in ((), ("--backend=plain",)):
            refused(f"{what}, {'port' if port else 'truth'}", words, path, f"--tokens={TOKENS}", *port)

    for name in USED:
        twice("NaN", [name, "nan; a weight is finite"], with_value("odd-f32", name, 3 * 64 + 5, math.nan)
              if "embed" in name else with_value("odd-f32", name, 5, math.nan))
    twice("infinity in bf16", ["model.norm.weight, element 7 is inf"], with_value("odd-bf16", "model.norm.weight", 7, math.inf))
    twice("NaN in FP8", ["o_proj.weight, row 0, column 9 is nan"],
          with_value("odd-fp8", "model.layers.0.self_attn.o_proj.weight", 9, math.nan))
    name = "model.layers.1.mlp.experts.{}.up_proj.weight"
    routed = fresh("routed.safetensors")
    verify(checkpoint("odd-f32"), "--tokens=3", f"--dump={routed}")
    chosen = {int(e) for e in tensors(routed)["model.layers.1.mlp.gate.topk_idx"].reshape(-1)}
    for expert in range(16):
        path = with_value("odd-f32", name.format(expert), 20, math.nan)
        if expert in chosen:
            refused("NaN in a chosen expert", [name.format(expert)], path, "--tokens=3")
            refused("NaN in a chosen expert, port", [name.format(expert)], path, "--tokens=3", "--backend=plain")
        else:
            run = verify(path, "--tokens=3")
            check(run.returncode == 0, f"NaN in an expert that isn't chosen: exit {run.returncode}")
    run = verify(with_value("odd-f32", "model.embed_tokens.weight", 40, math.nan), "--tokens=3,1,4")
    check(run.returncode == 0, f"NaN in the row of another token: exit {run.returncode}")
    huge = without("odd-f32", "huge", lambda s: s["model.embed_tokens.weight"].mul_(1e38 / s["model.embed_tokens.weight"].abs().max()))
    for layer in (0, 1):
        s = without("odd-f32", "huge", lambda s, n=layer: s[f"model.layers.{n}.input_layernorm.weight"].mul_(1e38))
        run = verify(s, f"--tokens={TOKENS}")
        check("radius" not in run.stdout or run.returncode == 0, f"gains of 1e38 in layer {layer}: exit {run.returncode}")
    refused("truth beyond binary64", ["the truth of model.layers.1.input_layernorm has no finite bound", "row 0"],
            without("odd-f32", "huge", overflow), f"--tokens={TOKENS}")
    run = verify(huge, f"--tokens={TOKENS}")
    check(run.returncode == 0 or (run.returncode == 2 and "no finite bound" in run.stderr), f"rows near 1e38: {run.stderr.strip()}")
    refused("--format against the checkpoint", ["--format=bf16", "are f32"], checkpoint("odd-f32"), "--tokens=1", "--format=bf16",
            "--backend=plain")
    refused("--format against the checkpoint", ["--format=f32", "are bf16"], checkpoint("odd-bf16"), "--tokens=1", "--format=f32",
            "--backend=plain")
    run = verify(checkpoint("odd-f32"), f"--tokens={TOKENS}")
    check("this stage's own largest radius" in run.stdout and "largest radius of all stages" in run.stdout, "radii say whose they are")


def main():
    chapters = {"agreement": agreement, "ports": ports, "skips": skips, "streaming": streaming, "refusals": refusals, "resume": resume,
                "changes": changes, "targets": targets, "finite": finite}  # fmt: skip
    names = sys.argv[1:] or list(chapters)
    if set(names) - set(chapters):
        sys.exit(f"model.py: the parts are {', '.join(chapters)}")
    for name in names:
        chapters[name]()
    print(f"{count['passed']} passed, {count['failed']} failed, 0 skipped")
    sys.exit(count["failed"] > 0)


if __name__ == "__main__":
    main()
