"""Records what every module of an mlx-lm model is given and gives, in one safetensors file. Needs mlx alone (docs/engines.md).

    with Recorder(model) as r:
        logits = model(ids)
    r.save("recording.safetensors", ids)
Names: MODULE.input and MODULE.output, .K behind where there are several arrays, and @1, @2 ... from the second call on; axes of 1 in
front go. MODULE.q of an attention with a latent: its queries, the rotated columns behind the others of their head."""
import mlx.core as mx


def arrays_in(value):
    if isinstance(value, mx.array):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [array for item in inner for array in arrays_in(item)]


class Recorder:
    def __init__(self, model):
        self.kept, self.modules, self.classes = {}, dict(model.named_modules()), {}

    def keep(self, name, value, call):
        found = arrays_in(value)
        for k, array in enumerate(found):
            while array.ndim > 2 and array.shape[0] == 1:
                array = array[0]
            array = array.astype(mx.int32) if array.dtype == mx.uint32 else array
            self.kept[name + (f".{k}" if len(found) > 1 else "") + (f"@{call}" if call else "")] = mx.contiguous(array)

    def recorded(self, name, kind):
        calls = iter(range(1 << 30))

        def call(module, *given, **more):
            number = next(calls)
            self.keep(name + ".input", given, number)
            value = kind.__call__(module, *given, **more)
            self.keep(name + ".output", value, number)
            return value

        return type(kind.__name__, (kind,), {"__call__": call})

    def __enter__(self):
        for name, module in self.modules.items():
            self.classes[name] = type(module)
            module.__class__ = self.recorded(name, type(module))
        return self

    def __exit__(self, *_):
        for name, module in self.modules.items():
            module.__class__ = self.classes[name]

    def queries(self):
        for name, m in self.modules.items():
            rotated = self.kept.get(f"{name}.rope.output")  # (heads, tokens, columns), or without heads if there is one
            if rotated is not None and hasattr(m, "qk_nope_head_dim"):
                whole = self.kept[f"{name}.{'q_b_proj' if m.q_lora_rank else 'q_proj'}.output"]
                rest = whole.reshape(-1, m.num_heads, m.q_head_dim)[..., : m.qk_nope_head_dim]
                turned = rotated.reshape(m.num_heads, -1, m.qk_rope_head_dim).swapaxes(0, 1)
                yield f"{name}.q", mx.contiguous(mx.concatenate([rest, turned], -1))

    def save(self, path, ids):
        mx.save_safetensors(path, self.kept | dict(self.queries()) | {"input_ids": ids.astype(mx.int32).flatten()})
