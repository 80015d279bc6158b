"""mlx-lm on a checkpoint, on mlx's CPU backend, recorded: as it is, or with its faults mended.

    build/ports/python unit/record_mlx.py FOLDER TOKENS released|rope|right=CHECKPOINT...

released  what mlx-lm does with Hugging Face 5's config.json: it drops rope_parameters
rope      config.json has rope_theta and rope_scaling, as the released one
right     the same, and experts of groups that weren't chosen can't be chosen: mlx-lm gives them 0, which is more than a negative score

writes FOLDER/NAME.safetensors for each.
"""

import json
import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "verify", "ports"))

import mlx.core as mx  # noqa: E402
from mlx_lm.models import deepseek_v3  # noqa: E402
from record_mlx import Recorder  # noqa: E402

select_as_released = deepseek_v3.group_expert_select


def select_from_groups(gates, bias, top_k, n_group, topk_group, scale, norm):
    """The choice as DeepSeek's code has it."""
    scores = mx.sigmoid(gates.astype(mx.float32))
    biased = mx.unflatten(scores + bias, -1, (n_group, -1))
    group = mx.topk(biased, 2, axis=-1).sum(axis=-1)
    left = mx.argpartition(group, kth=n_group - topk_group - 1, axis=-1)[..., : n_group - topk_group]
    biased = mx.put_along_axis(biased, left[..., None], mx.array(-mx.inf), axis=-2)
    idx = mx.argpartition(-mx.flatten(biased, -2, -1), kth=top_k - 1, axis=-1)[..., :top_k]
    weight = mx.take_along_axis(scores, idx, axis=-1)
    return idx, weight / (weight.sum(axis=-1, keepdims=True) if norm else 1) * scale


def config_of(checkpoint, name):
    with open(os.path.join(checkpoint, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    if name != "released":
        rope = config.pop("rope_parameters")
        config |= {"rope_theta": rope.pop("rope_theta"), "rope_scaling": rope | {"type": rope.pop("rope_type")}}
    return config


def record(checkpoint, path, ids, name):
    config = config_of(checkpoint, name)
    deepseek_v3.group_expert_select = select_from_groups if name == "right" else select_as_released
    model = deepseek_v3.Model(deepseek_v3.ModelArgs.from_dict(config))
    layers = config["num_hidden_layers"]  # mlx-lm has no MTP modules
    weights = model.sanitize(mx.load(os.path.join(checkpoint, "model.safetensors"))).items()
    is_there = lambda w: not w.startswith("model.layers.") or int(w.split(".")[2]) < layers  # noqa: E731
    model.load_weights([(w, array) for w, array in weights if is_there(w)])
    with Recorder(model) as r:
        mx.eval(model(ids))
    r.save(path, ids)


def main():
    folder, tokens, *names = sys.argv[1:]
    mx.set_default_device(mx.cpu)
    for name, _, checkpoint in (pair.partition("=") for pair in names):
        record(checkpoint, os.path.join(folder, name + ".safetensors"), mx.array([[int(t) for t in tokens.split(",")]]), name)


main()
