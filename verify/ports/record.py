"""Records what every module of a torch model is given and gives, in one safetensors file. Needs torch alone (docs/engines.md).
    with Recorder(model) as r: out = model(ids)
    r.save("recording.safetensors", ids, out.past_key_values)    # and r.save_weights("weights.safetensors")
Names: MODULE.input and MODULE.output, .K behind where there are several tensors, and @1, @2 ... from the second call on. The functions
eager_attention_forward of transformers are attention.input.K@N in call N: queries and keys, rotated. A first axis of 1 goes."""
import contextlib
import json
import struct
import sys

import torch

FORMATS = {torch.float32: "F32", torch.float64: "F64", torch.bfloat16: "BF16", torch.float16: "F16", torch.int64: "I64", torch.int32: "I32",
           torch.float8_e4m3fn: "F8_E4M3"}  # fmt: skip


def tensors_in(value):
    if isinstance(value, torch.Tensor):
        return [value.detach().to("cpu", copy=True)] if value.dtype in FORMATS else []
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [tensor for item in inner for tensor in tensors_in(item)]


def write(path, tensors):
    header, at = {}, 0
    for name, t in tensors.items():
        header[name] = {"dtype": FORMATS[t.dtype], "shape": list(t.shape), "data_offsets": [at, at := at + t.nbytes]}
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text := json.dumps(header).encode())) + text)
        f.writelines(t.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes() for t in tensors.values())


class Recorder(contextlib.ExitStack):
    def __init__(self, model):
        super().__init__()
        self.kept, self.calls, self.model = {}, {}, model

    def keep(self, name, kind, value):
        n = self.calls[name] = self.calls.get(name, -1) + (kind == "input")  # every call begins with its input
        call = f"@{n}" if n or name == "attention" else ""
        for k, t in enumerate(found := tensors_in(value)):
            self.kept[f"{name}.{kind}" + (f".{k}" if len(found) > 1 else "") + call] = t[0] if t.dim() > 2 and t.shape[0] == 1 else t

    def __enter__(self):
        for name, module in self.model.named_modules():
            self.callback(module.register_forward_pre_hook(lambda _, *inputs, n=name: self.keep(n, "input", inputs), with_kwargs=True).remove)
            self.callback(module.register_forward_hook(lambda _, __, y, n=name: self.keep(n, "output", y)).remove)
        for file in {sys.modules[type(module).__module__] for module in self.model.modules()}:
            if core := getattr(file, "eager_attention_forward", None):
                file.eager_attention_forward = lambda *args, f=core, **more: (self.keep("attention", "input", args), f(*args, **more))[1]
                self.callback(setattr, file, "eager_attention_forward", core)
        return self

    def save(self, path, ids=None, cache=None):
        for n, layer in enumerate(getattr(cache, "layers", ())):
            self.kept |= {f"cache.{n}.keys": layer.keys[0, 0].contiguous(), f"cache.{n}.values": layer.values[0, 0].contiguous()}
        write(path, self.kept | ({} if ids is None else {"input_ids": ids.cpu().flatten()}))

    def save_weights(self, path):
        write(path, {"weight:" + name: t for name, t in self.model.state_dict().items() if t.dtype in FORMATS})
