#!/usr/bin/env python3
"""verify model --weights: what an engine holds, beside the checkpoint.

    unit/weights.py [weights] [mapped]

weights: those of tiny checkpoints in BF16 and FP8 as engines hold them (unit/held_weights.py): equal by the rule that was applied; with a mistake each
they are DIFFERENT, at the element that differs.
mapped: a checkpoint's under Megatron's names, with --map. Without torch and transformers (make transformers-port) all of it is skipped.
Last line: N passed, N failed, N skipped.
"""

import os
import re

from engines import FOLDER, check, checkpoint, read, recordings, run_chapters, verify, write

LAYER = "model.layers.1."
PLAIN = {
    "transformers": (0, "57 equal", "3 equal, experts stacked", "3 equal, experts stacked; fused", "0 different, 0 in the engine alone, 136 in the",
                     "not in the engine model.layers.4: 68 of 68"),
    "same": (0, "2 equal", "0 different, 1 in the engine alone", "in the engine alone model.rotary_emb.inv_freq"),
    "prefixed": (0, "1 equal", "0 different, 0 in the engine alone"),
    "wider": (0, "0 equal", "1 equal, in F64"),
    "fused": (0, "1 equal, fused"),
    "stacked": (0, "1 equal, experts stacked", "1 equal, experts stacked; fused"),
    "mlx": (0, "1 equal, experts stacked", "1 equal, cut by heads", "1 equal, cut by heads; transposed"),
    "sglang": (0, "1 equal, cut by heads", "1 equal, cut by heads; transposed"),
    "transposed": (0, "1 equal, transposed"),
    "padded": (0, "1 equal, padded with 0"),
    "rank": (0, "1 equal, fused; a rank's rows", "2 equal, a rank's columns"),
    "share": (0, "1 equal, experts stacked; fused; a rank's share of the stack", "1 equal, cut by heads; a rank's share of the stack"),
    "bit": (1, "DIFFERENT lm_head.weight: [10, 60] is ", "1 different"),
    "sign of 0": (1, f"DIFFERENT {LAYER}input_layernorm.weight: [0, 0] is -0"),
    "up before gate": (1, "DIFFERENT", "experts.w13_weight: [0, 0, 0] is"),
    "experts exchanged": (1, "DIFFERENT", "experts.w2_weight: [0, 0, 0] is"),
    "parts exchanged": (1, "DIFFERENT", "fused_qkv_a_proj_with_mqa.weight: [0, 0] is"),
    "never loaded": (1, f"DIFFERENT {LAYER}mlp.gate.weight: [0, 0] is 0, and"),
    "padded with more": (1, "DIFFERENT lm_head.weight: [97, 0] is 1, and the checkpoint's is 0"),
    "another shape": (1, "DIFFERENT lm_head.weight: (1, 97, 63), and the checkpoint's is (1, 97, 64)"),
    "another layer": (1, f"DIFFERENT {LAYER}self_attn.o_proj.weight: [0, 0] is"),
    "keys for values": (1, f"DIFFERENT {LAYER}self_attn.w_vc: [0, 0, 0] is"),
    "integers": (1, "DIFFERENT lm_head.weight: is I64 of another shape, or of a format that isn't read"),
    "nothing": (3, "0 equal", "0 different, 1 in the engine alone"),
}  # fmt: skip
FP8 = {
    "codes": (0, "2 equal", "0 different"),
    "dequantised": (0, "1 equal, dequantised to BF16"),
    "rounded once": (0, "1 equal, dequantised to BF16"),
    "scales": (0, "1 equal, fused"),
    "scale forgotten": (1, f"DIFFERENT {LAYER}self_attn.o_proj.weight: [0, 0] is"),
    "scale turned": (1, f"DIFFERENT {LAYER}self_attn.o_proj.weight: ["),
}


def judged(kind, table):
    folder = os.path.join(recordings(), "weights-" + kind)
    for name, (code, *words) in table.items():
        run = verify(checkpoint(kind), f"--weights={os.path.join(folder, name)}.safetensors")
        text = re.sub(r" +", " ", run.stdout)
        good = run.returncode == code and all(word in text for word in words) and ("DIFFERENT" in text) == (code == 1)
        check(good, f"{kind}, {name}: exit {run.returncode} {text[-600:]}{run.stderr}")


def refused(what, words, *options):
    run = verify(checkpoint("odd-bf16"), *options)
    lines = run.stderr.splitlines()
    check(run.returncode == 2 and len(lines) == 1 and all(word in lines[0] for word in words), f"{what}: {run.returncode} {run.stderr}")


def weights():
    judged("odd-bf16", PLAIN)
    judged("f8-fp8", FP8)
    path = write(os.path.join(FOLDER, "empty.safetensors"), {"model.norm.weight": ("BF16", [0], b"")})
    run = verify(checkpoint("odd-bf16"), f"--weights={path}")
    check(run.returncode == 1 and "DIFFERENT" in run.stdout, f"no elements: {run.stdout}{run.stderr}")
    whole = read(os.path.join(checkpoint("odd-bf16"), "model.safetensors"))
    model = {name: t for name, t in whole.items() if not name.startswith(("model.layers.4.", "model.layers.5."))}
    gone = {name: t for name, t in model.items() if name != "model.layers.1.mlp.gate.e_score_correction_bias"}
    for what, held, code in (("without MTP modules", model, 0), ("without a bias", gone, 1)):
        path = write(os.path.join(FOLDER, "held.safetensors"), held)
        run, strict = verify(checkpoint("odd-bf16"), f"--weights={path}"), verify(checkpoint("odd-bf16"), f"--weights={path}", "--strict")
        check((run.returncode, strict.returncode) == (0, code), f"{what}: {run.returncode}, strict {strict.returncode} {strict.stdout}")
    refused("tokens", ["--tokens"], f"--weights={path}", "--tokens=1")
    refused("stages", ["one run each"], f"--weights={path}", f"--stages={path}")
    refused("no file", ["nowhere"], "--weights=nowhere")


# ---- mapped ----

MEGATRON = {  # ours below a layer, and Megatron's
    "self_attn.q_a_proj.": "self_attention.linear_q_down_proj.", "self_attn.q_a_layernorm.weight": "self_attention.linear_q_up_proj.layer_norm_weight",
    "self_attn.q_b_proj.": "self_attention.linear_q_up_proj.", "self_attn.kv_a_proj_with_mqa.": "self_attention.linear_kv_down_proj.",
    "self_attn.kv_a_layernorm.": "self_attention.kv_layernorm.", "self_attn.kv_b_proj.": "self_attention.linear_kv_up_proj.",
    "self_attn.o_proj.": "self_attention.linear_proj.", "post_attention_layernorm.": "pre_mlp_layernorm.", "mlp.gate.weight": "mlp.router.weight",
    "mlp.gate.e_score_correction_bias": "mlp.router.expert_bias", ".down_proj.": ".linear_fc2.", ".gate_proj.": ".linear_fc1.",
    "model.embed_tokens.": "embedding.word_embeddings.", "model.norm.": "decoder.final_layernorm.", "lm_head.": "output_layer.", "model.layers.": "decoder.layers.",
}  # fmt: skip


def in_megatron(name, grouped):
    for ours, theirs in MEGATRON.items():
        name = name.replace(ours, theirs)
    inside = r"mlp.experts.\2.weight\1" if grouped else r"mlp.experts.local_experts.\1.\2.weight"
    return re.sub(r"mlp\.experts\.(\d+)\.(linear_fc\d)\.weight", inside, name)


def megatron(name, grouped, change=lambda tensors: None):
    """The checkpoint but its MTP modules, gate and up proj one above the other; a rank's name stands in front."""
    whole, held = read(os.path.join(checkpoint("odd-bf16"), "model.safetensors")), {}
    for weight, (dtype, shape, data) in whole.items():
        if "up_proj" in weight or re.match(r"model\.layers\.[45]\.", weight):
            continue
        if "gate_proj" in weight:
            shape, data = [2 * shape[0], *shape[1:]], data + whole[weight.replace("gate_proj", "up_proj")][2]
        held["weight:rank0." + in_megatron(weight, grouped)] = dtype, shape, data
    change(held)
    return write(os.path.join(FOLDER, name + ".safetensors"), held)


def mapped():
    experts = "decoder.layers.1.mlp.experts."

    def exchange(tensors):
        a, b = (f"weight:rank0.{experts}linear_fc2.weight{e}" for e in (1, 11))
        tensors[a], tensors[b] = tensors[b], tensors[a]

    for what, path, code, words in (
            ("grouped", megatron("grouped", True), 0, ("0 different, 0 in the engine alone, 136 in the", "in the engine model.layers.4: 68 of 68")),
            ("experts apart", megatron("apart", False), 0, ("0 different, 0 in the engine alone, 136 in the",)),
            ("exchanged", megatron("exchanged", True, exchange), 1, ("2 different, 0 in", f"DIFFERENT weight:rank0.{experts}linear_fc2.weight11: [0, 0] is")),
    ):  # fmt: skip
        run = verify(checkpoint("odd-bf16"), f"--weights={path}", "--map=megatron")
        text = re.sub(r" +", " ", run.stdout)
        check(run.returncode == code and all(word in text for word in words), f"{what}: exit {run.returncode} {text[-900:]}{run.stderr}")
        if what == "grouped":
            unmapped = verify(checkpoint("odd-bf16"), f"--weights={path}")
            check(unmapped.returncode == 3 and "\n0 equal" in unmapped.stdout, f"without a map: {unmapped.stdout[-300:]}")
    rule = os.path.join(FOLDER, "map.txt")
    for what, words, text in (("an operation", ["line 1", "no operation"], "lm_head.weight = head ; turn"), ("a rank", ["no {R}"], "lm_head.weight = {R}.head"),
                              ("no stage and no weight", ["no stage"], "lm_hed.weight = head"), ("an expert's stage", ["has none"], "logits = a{E}")):  # fmt: skip
        with open(rule, "w", encoding="utf-8") as f:
            f.write(text)
        refused(what, words, f"--weights={path}", f"--map={rule}")


run_chapters({"weights": weights, "mapped": mapped})
