"""transformers on a checkpoint, recorded: right, or with one mistake planted.

    build/ports/python unit/record_transformers.py CHECKPOINT FOLDER TOKENS right|MISTAKE...

writes FOLDER/MISTAKE.safetensors for each; its dtype is the end of the checkpoint's name.
"""

import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "verify", "ports"))

import torch  # noqa: E402
from record import Recorder  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402
from transformers.utils import logging  # noqa: E402


def no_mscale(name, module):
    """The scale of softmax without YaRN's factor."""
    if name.endswith("self_attn"):
        module.scaling = module.qk_head_dim**-0.5


def no_mscale_2(name, module):
    if name == "model.layers.2.self_attn":
        no_mscale(name, module)


def eps(name, module):
    """1e-6 where config.json has another."""
    if name.endswith("layernorm") and "_a_" not in name:
        module.variance_epsilon = 1e-6


def latent_eps(name, module):
    """The norms of the latents have rms_norm_eps, as vLLM's and SGLang's."""
    if name.endswith("_a_layernorm"):
        module.variance_epsilon = 0.01


def scale(name, module):
    """routed_scaling_factor isn't applied."""
    if name.endswith("mlp.gate"):
        module.routed_scaling_factor = 1.0


def bias(name, module):
    """The bias of the choice is 0."""
    if name.endswith("mlp.gate"):
        module.e_score_correction_bias.zero_()


def zeroed(name, module):
    """The output of attention is 0 in all rows but the first."""
    if name.endswith("self_attn.o_proj"):
        module.register_forward_hook(lambda _, __, y: torch.cat([y[:, :1], torch.zeros_like(y[:, 1:])], 1))


MISTAKES = {f.__name__: f for f in (no_mscale, no_mscale_2, eps, latent_eps, scale, bias, zeroed)} | {"right": lambda name, module: None}


def record(checkpoint, path, ids, plant):
    dtype = torch.bfloat16 if checkpoint.rstrip("/").endswith("bf16") else torch.float32
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=dtype, attn_implementation="eager", experts_implementation="eager")
    for name, module in model.eval().named_modules():
        plant(name, module)
    with torch.no_grad(), Recorder(model) as r:
        out = model(ids, use_cache=True)
    r.save(path, ids, out.past_key_values)


def record_all(checkpoint, folder, tokens, mistakes):
    ids = torch.tensor([[int(t) for t in tokens.split(",")]])
    for mistake in mistakes:
        record(checkpoint, os.path.join(folder, mistake + ".safetensors"), ids, MISTAKES[mistake])


def main():
    checkpoint, folder, tokens, *mistakes = sys.argv[1:]
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    record_all(checkpoint, folder, tokens, mistakes)


if __name__ == "__main__":
    main()
