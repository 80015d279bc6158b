"""Turns what engines save by torch or numpy into a recording, one safetensors file (docs/engines.md). Needs torch, and record.py beside it.

    python convert.py OUT.safetensors FROM... [--pass N]

FROM is a file NAME.pt, .pth, .bin (read by torch with weights_only=True), .npy or .npz, or a folder of them. A dict's keys are joined by
dots; in a list K is .K where there are several tensors; a tensor alone in its file has the file's name. Two dumps of SGLang have names
of their own:
  its dumper's files (..___name=N.pt): rank{R}.N, without non_intrusive__ in front
  --debug-tensor-dump-output-folder: TP{R}.MODULE. PassN.pt holds a pass, and --pass says which where there are several; `model` and
  `logits_processor` of a pass are in the file of the next one, and are taken from there
"""

import argparse
import os
import re
import sys

import torch
from record import FORMATS, write

ENDINGS = (".pt", ".pth", ".bin", ".npy", ".npz")
LATE = ("model", "logits_processor")  # saved one pass later
PASS = re.compile(r"TP(\d+)_PP\d+_Rank\d+_pid\d+/Pass(\d+)\.pt$")
FORWARD = "model.forward_batch_info."


def flat(name, value):
    """Pairs of names and tensors."""
    if isinstance(value, torch.Tensor):
        return [(name, value)]
    if isinstance(value, dict):
        return [pair for key, item in value.items() for pair in flat(f"{name}.{key}" if name else str(key), item)]
    inner = [flat("", item) for item in value] if isinstance(value, (list, tuple)) else []
    found = [pairs for pairs in inner if pairs]
    dotted = [f"{name}.{k}".lstrip(".") if len(found) > 1 else name for k in range(len(found))]
    return [(f"{at}.{rest}" if rest and at else rest or at, t) for at, pairs in zip(dotted, found) for rest, t in pairs]


def load(path):
    try:
        return load_any(path)
    except Exception as e:  # whatever torch and numpy raise at a file that isn't theirs
        raise ValueError(f"{path}: {e or type(e).__name__}") from e


def load_any(path):
    if path.endswith((".npy", ".npz")):
        import numpy

        array = numpy.load(path, allow_pickle=False)
        items = {"": array} if path.endswith(".npy") else array
        return {name: torch.from_numpy(numpy.ascontiguousarray(items[name])) for name in items}
    return torch.load(path, map_location="cpu", weights_only=True)


def fields(path):
    """step=1___rank=0___name=model.norm of a dumper's file, as a dict; {}: it is none."""
    parts = [part.partition("=") for part in os.path.basename(path).rpartition(".")[0].split("___")]
    return {key: value for key, equals, value in parts if equals}


def of_file(path):
    value, of = load(path), fields(path)
    if "name" in of and isinstance(value, dict) and "value" in value:
        return flat(f"rank{of.get('rank', 0)}." + of["name"].removeprefix("non_intrusive__"), value["value"])
    stem = os.path.basename(path).rpartition(".")[0]
    return [(name or stem, t) for name, t in flat("", value)]


def of_pass(rank, files, wanted):
    """One pass of one rank; files: by number."""
    here, later = load(files[wanted]), load(files[wanted + 1]) if wanted + 1 in files else {}
    both = {name: value for name, value in here.items() if name not in LATE} | {name: later[name] for name in LATE if name in later}
    if FORWARD + "input_ids" in both and rank == 0:
        yield "input_ids", both[FORWARD + "input_ids"]
    for name, value in both.items():
        yield from flat(f"TP{rank}.{name}", value)


def of_passes(paths, wanted):
    ranks = {}
    for path in paths:
        rank, number = map(int, PASS.search(path.replace(os.sep, "/")).groups())
        if number in ranks.setdefault(rank, {}):
            raise ValueError(f"{path}: there is another pass {number} of TP{rank}: name one folder")
        ranks[rank][number] = path
    for rank, files in sorted(ranks.items()):
        if wanted is None and len(files) > 1:
            raise ValueError(f"TP{rank} has passes {', '.join(map(str, sorted(files)))}: say which one by --pass=N")
        number = min(files) if wanted is None else wanted
        if number not in files:
            raise ValueError(f"TP{rank} has no pass {number}")
        yield from of_pass(rank, files, number)


def listed(path):
    if not os.path.isdir(path):
        if os.path.exists(path) and not os.path.isfile(path):
            raise ValueError(f"{path}: is no regular file")
        return [path]
    paths = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names if name.endswith(ENDINGS)]
    found = [name for name in paths if os.path.isfile(name)]
    if not found:
        raise ValueError(f"{path}: holds no file of {', '.join(ENDINGS)}")
    return sorted(found)


def converted(sources, wanted):
    kept = {}
    paths = [path for source in sources for path in listed(source)]
    passes = [path for path in paths if PASS.search(path.replace(os.sep, "/"))]
    pairs = [(pair, "a pass") for pair in of_passes(passes, wanted)] if passes else []
    pairs += [(pair, path) for path in paths if path not in passes for pair in of_file(path)]
    for (name, t), path in pairs:
        if t.dtype not in FORMATS or t.layout != torch.strided or t.device.type != "cpu":
            print(f"convert.py: {name} is {t.dtype}, {t.layout}, on {t.device.type}, which isn't recorded: left out", file=sys.stderr)
        elif name in kept:
            raise ValueError(f"{path}: {name} is there twice: convert the files apart")
        else:
            kept[name] = t.detach()
    return kept


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("sources", nargs="+", metavar="from")
    parser.add_argument("--pass", type=int, dest="wanted", metavar="N")
    o = parser.parse_args()
    try:
        kept = converted(o.sources, o.wanted)
        if not kept:
            raise ValueError("no tensor there")
        if any(os.path.exists(path) and os.path.exists(o.out) and os.path.samefile(path, o.out) for source in o.sources for path in listed(source)):
            raise ValueError(f"{o.out}: is one of the files that are converted: name another")
        write(o.out + ".part", kept)
        os.replace(o.out + ".part", o.out)
    except Exception as e:  # whatever torch and numpy raise at a file that isn't theirs
        fail(e)
    print(f"{len(kept)} tensors")


def fail(e):
    print("convert.py: " + (" ".join(str(e).split()) or type(e).__name__)[:300], file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
