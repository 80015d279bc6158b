"""What unit/engines.py and those that begin with it judge: tiny checkpoints, and transformers' recordings on them.

    build/ports/python unit/recordings.py FOLDER TOKENS

writes, in one process, for to import transformers takes longer than all of it,

    FOLDER/checkpoints/KIND                      unit/checkpoints.py
    FOLDER/transformers-KIND/MISTAKE.safetensors right, and with mistakes: unit/record_transformers.py
    FOLDER/renamed-KIND/MISTAKE/ENGINE.safetensors   under each engine's names: unit/rename_recording.py
    FOLDER/weights-KIND/NAME.safetensors         the weights as engines hold them: unit/held_weights.py
"""

import os
import sys

import checkpoints
import held_weights
import record_transformers
import rename_recording
import torch
from transformers.utils import logging

KINDS = ("odd-f32", "odd-bf16", "noq-bf16", "odd-fp8", "f8-fp8")
RECORDED = ("odd-f32", "odd-bf16")
RELATIVES = ("v2-f32", "lite-bf16", "moonlight-f32")
IN_RELATIVES = ("right", "scale", "no_mscale")
RENAMED = ("right", "latent_eps")
HELD = ("odd-bf16", "f8-fp8")


def main():
    folder, tokens = sys.argv[1:]

    def at(*names):
        path = os.path.join(folder, *names)
        os.makedirs(path, exist_ok=True)
        return path

    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with torch.no_grad():
        made = {kind: checkpoints.make(at("checkpoints"), kind) for kind in KINDS + RELATIVES}
    for kind in RECORDED:
        recorded = at("transformers-" + kind)
        record_transformers.record_all(made[kind], recorded, tokens, record_transformers.MISTAKES)
        for mistake in RENAMED:
            source = os.path.join(recorded, mistake + ".safetensors")
            rename_recording.rename(source, made[kind], at("renamed-" + kind, mistake), rename_recording.ENGINES)
    for kind in RELATIVES:
        record_transformers.record_all(made[kind], at("transformers-" + kind), tokens, IN_RELATIVES)
    for kind in HELD:
        held_weights.hold(made[kind], at("weights-" + kind))


main()
