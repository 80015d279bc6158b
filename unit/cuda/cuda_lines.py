"""The PTX of our kernels, its lines, and which of them a case runs: what cuda_coverage.py and cuda_mutants.py share."""

import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get("BUILD", "build"))
CASES = HERE / "cuda_cases.txt"
VALUES = HERE / "cuda_values.txt"
COVERAGE = BUILD / "ports/cuda_coverage.so"
MACHINE = BUILD / "ports/cuda_machine.so"


ENTRY = re.compile(r"\.(?:entry|func)\s+(?:\([^)]*\)\s*)?([^\s(]+)")  # a kernel, or a function that wasn't inlined


class Problem(Exception):
    """What makes the command impossible, in one sentence."""


def run_main(main):
    try:
        sys.exit(main())
    except Problem as problem:
        print(f"{pathlib.Path(sys.argv[0]).name}: {problem}", file=sys.stderr)
        sys.exit(2)


def readable(names):
    """Kernels as C++ has them, without their arguments: swiglu_kernel<float>."""
    text = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    return [re.sub(r"\(anonymous namespace\)::", "", re.sub(r"\((?!anonymous).*", "", n)).removeprefix("void ") for n in text.split("\n")]


class Ptx:
    """One file: its text by line, the lines with code, the kernel that a line is in."""

    def __init__(self, path, translated):
        self.path, self.name = pathlib.Path(path), pathlib.Path(path).name.split(".")[0]
        self.line = [""] + self.path.read_text().split("\n")  # from 1, as messages count
        self.code = sorted({int(n) for n in re.findall(r"reached\[(\d+)\] \|= 1;", translated)})
        named = {n: ENTRY.search(text) for n, text in enumerate(self.line)}
        self.begin = [n for n, found in named.items() if found]
        self.kernels = readable([named[n][1] for n in self.begin]) if self.begin else []

    def kernel_index(self, n):
        return max(k for k, begin in enumerate(self.begin) if begin <= n)

    def kernel(self, n):
        return self.kernels[self.kernel_index(n)]

    def end(self, k):
        """The line of the closing brace of kernel k."""
        return next(n for n in range(self.begin[k], len(self.line)) if self.line[n].rstrip() == "}")

    def alone(self, n):
        """The lines of the file without the kernels that line n isn't in; all, if it has arrays of its own or functions."""
        lines = list(self.line)
        if any(re.match(r"\s*(\.visible |\.weak |\.extern )*\.(const|global|func)\b", text) for text in self.line):
            return lines
        for k, begin in enumerate(self.begin):
            if k != self.kernel_index(n):
                end = self.end(k) + 1
                lines[begin:end] = [""] * (end - begin)
        return lines

    def blocks(self):
        """Lines with code that run one behind the other: up to a label, or behind a jump."""
        blocks = []
        for n, before in zip(self.code, [0, *self.code]):
            label = any(re.match(r"\s*[$\w]+:|.*\.(entry|func)\b", text) for text in self.line[before + 1 : n + 1])
            if not blocks or label or re.match(r"(@\S+ )?(bra|ret)\b", self.text(before)):
                blocks.append([])
            blocks[-1].append(n)
        return blocks

    def ways(self, blocks):
        """The blocks that each block goes on to, by index."""
        at, ways = {}, []
        for b, block in enumerate(blocks):
            above = blocks[b - 1][-1] if b else self.begin[0]
            for text in self.line[above + 1 : block[0] + 1]:
                if found := re.match(r"\s*([$\w]+):", text):
                    at[self.kernel_index(block[0]), found[1]] = b
        for b, block in enumerate(blocks):
            last = re.fullmatch(r"(@\S+ )?(bra|ret)\b(?:\.uni)?\s*([$\w]*);", self.text(block[-1]))
            k = self.kernel_index(block[0])
            to = [at[k, last[3]]] if last and last[2] == "bra" else []
            if (not last or last[1]) and b + 1 < len(blocks) and self.kernel_index(blocks[b + 1][0]) == k:
                to.append(b + 1)
            ways.append(to)
        return ways

    def text(self, n):
        return " ".join(self.line[n].split("//")[0].split())


def all_ptx():
    """Every cuda/*.cu with kernels."""
    found = []
    for source in sorted(pathlib.Path("cuda").glob("*.cu")):
        path = BUILD / f"obj/cuda/{source.stem}.compute_80.ptx"
        if not path.exists():
            raise Problem(f"{path} isn't there: make cuda-coverage builds it")
        found.append(Ptx(path, path.with_suffix(".coverage.c").read_text()))
    return [p for p in found if p.code]


def read_blocks(path, keys):
    """Blocks of lines `KEY WORDS`, one of each key; the last key ends a block."""
    blocks, block = [], {}
    with open(path) as f:
        for n, line in enumerate(f, 1):
            key, _, rest = line.strip().partition(" ")
            if not key or key.startswith("#"):
                continue
            if key not in keys:
                raise Problem(f"{path}:{n}: a line begins with {', '.join(keys)} or #")
            block[key] = rest.strip()
            if key == keys[-1]:
                if len(block) < len(keys):
                    raise Problem(f"{path}:{n}: a block has {', '.join(keys)}")
                blocks.append(block)
                block = {}
    if block:
        raise Problem(f"{path}: the last block has no {keys[-1]}")
    return blocks


# ---- cases ----


def read_cases():
    """Those that run every line, and those whose values see more."""
    return list(dict.fromkeys(listed(f"@{CASES}") + listed(f"@{VALUES}")))


def listed(name):
    """The cases of @ci, @smoke or a file."""
    done = subprocess.run([BUILD / "bin/verify", "list", "--cases", name], capture_output=True, text=True)
    if done.returncode:
        raise Problem(done.stderr.strip())
    return done.stdout.split("\n")[:-1]


def judge(case, port, limit, **environment):
    """PASS, SKIP, or what else verify says of it, and why; seconds of a processor."""
    command = [BUILD / "bin/verify", "run", case, f"--backend={port}", "--jobs=1", "--format=jsonl", f"--timeout={limit}"]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, env=dict(os.environ, **environment))
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0  # it is waited for
        out.seek(0), err.seek(0)
        try:
            report = next(result for result in map(json.loads, out) if "verdict" in result)
        except (ValueError, StopIteration):
            raise Problem(f"{case}: verify says nothing of it: {err.read().strip()[:300]}") from None
    return report["verdict"], report["why"], usage.ru_utime + usage.ru_stime


class Run:
    """What a case did: its verdict, its seconds, the lines that it reached, and those that did something, by file, as bits of a
    number."""

    def __init__(self, case, verdict, seconds, lines, acted):
        self.case, self.verdict, self.seconds, self.lines, self.acted = case, verdict, seconds, lines, acted

    def ran(self, file, n):
        return self.lines.get(file, 0) >> n & 1


def bits_of(path, mask):
    """Bit n: has byte n of the file a bit of the mask?"""
    return int("0" + "".join("1" if b & mask else "0" for b in reversed(path.read_bytes())), 2)


def in_hex(lines):
    return {file: f"{bits:x}" for file, bits in lines.items() if bits}


def of_hex(lines):
    return {file: int(bits, 16) for file, bits in lines.items()}


class Runs:
    """Cases run by the port that notes its lines; what one did is kept until that port changes."""

    def __init__(self, limit, port=COVERAGE, folder=BUILD / "cuda/coverage"):
        if not port.exists():
            raise Problem(f"{port} isn't there: make cuda-coverage builds it")
        self.limit, self.port, self.folder = limit, port, folder
        self.content = hashlib.sha256(port.read_bytes()).hexdigest()
        self.folder.mkdir(parents=True, exist_ok=True)

    def kept(self, case):
        return self.folder / (hashlib.sha256(f"{self.content} {case}".encode()).hexdigest()[:20] + ".json")

    def run(self, case):
        path = self.kept(case)
        kept = json.loads(path.read_text()) if path.exists() else {}
        if kept and (kept["verdict"] != "TIMEOUT" or kept["limit"] >= self.limit):
            return Run(case, kept["verdict"], kept["seconds"], of_hex(kept["lines"]), of_hex(kept["acted"]))
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        try:
            verdict, _, seconds = judge(case, self.port, self.limit, DSV3_CUDA_COVERAGE=str(folder.resolve()))
            lines, acted = ({f.name.split(".")[0]: bits_of(f, mask) for f in folder.glob("*.lines")} for mask in (1, 2))
        finally:
            shutil.rmtree(folder)
        kept = dict(case=case, verdict=verdict, limit=self.limit, seconds=seconds, lines=in_hex(lines), acted=in_hex(acted))
        part = path.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(kept))
        part.rename(path)
        return Run(case, verdict, seconds, lines, acted)
