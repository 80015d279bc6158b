#!/usr/bin/env python3
"""Every term of every radius is watched: each one alone is weakened, and a witness must turn red.

run.py [--terms=NAME,...|tenth] [--seed=N] [--jobs=N] [--hunt=SECONDS] [--shares]

terms.txt lists the terms. Each is weakened to 0 and to 0.4 of itself in a copy of the tree under $BUILD/terms, the witness
is built there and run. A weakening survives where no witness of its row turns red. --terms takes names, beginnings of
names with a dot (`softmax.`), or `tenth`: a tenth of them, drawn by --seed. --hunt looks for a witness of a survivor among
the honest ports of unit/legal. --shares prints a table at the end: lemma, term, and the share of the term that its witnesses
reach at least, the largest factor (of some, by bisection) at which one is still red. Exit code 1: a weakening survives that is neither proved unreachable nor known to be open.

terms.txt, a block a term:
    term NAME LEMMA FILE       the term's name, its lemma in docs/numerics.md, where it is
    code TEXT {{TERM}} TEXT    the term in its line; stands once in FILE, blanks aside
    with TEXT {{TERM}} TEXT    a term of second order that is weakened along with it, in the same file
    zero EXPRESSION            instead of TERM; 0 * (TERM) unless said
    part EXPRESSION            instead of TERM; 0.4 * (TERM) unless said, and with --shares another factor takes the place of
                               0.4, 1 minus it that of 0.6, 1 plus it that of 1.4; `-`: there is no such part
    share F                    instead of 0.4: half of what the worst known argument of an exact reading's primitive uses
    tier TIER                  the tier whose witness this is; dd unless said
    ops OP,...                 where --hunt looks; all ops unless said
    red suite SUITE [FILTER]   a witness: a suite of unit/, tests of FILTER
    red legal LEGAL CASE       a witness: the honest port with this number on this case
    free zero|part|both: WHY   the proof that no legal port can use the term, or so much of it
    open zero|part|both: WHY   no witness is known yet: what one would be
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import queue
import random
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TABLE = ROOT / "unit/terms/terms.txt"
TIERS = ("dd", "256", "512", "1024", "sampled")
LIMIT = 150  # seconds of one witness
MULTIPLES = (0.125, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.25, 2.375)  # of 0.4 (or a row's share): what --shares tries


class Problem(Exception):
    """What makes the table or the tree unusable, in one sentence."""


class Term:
    def __init__(self, name, lemma, file):
        self.name, self.lemma, self.file = name, lemma, file
        self.share, self.codes, self.tier, self.ops, self.witnesses, self.free, self.open = "0.4", [], "dd", "", [], {}, {}
        self.weaker = {"zero": None, "part": None}
        self.reached = None  # the share that witnesses are known to reach

    def add(self, key, rest):
        if key in ("code", "with"):
            self.codes.append(rest)
        elif key in self.weaker:
            self.weaker[key] = rest
        elif key in ("tier", "ops", "share"):
            setattr(self, key, rest)
        elif key == "red":
            self.witnesses.append(rest)
        elif key in ("free", "open"):
            which, _, why = rest.partition(":")
            getattr(self, key).update({w: why.strip() for w in (("zero", "part") if which == "both" else (which,))})
        else:
            raise Problem(f"{TABLE.name}: '{key}' is no key")

    def parts(self, code):
        """The text before the term, the term, the text behind it."""
        match = re.fullmatch(r"(.*)\{\{(.+?)\}\}(.*)", code)
        if not match:
            raise Problem(f"{self.name}: its code marks no term with {{{{ }}}}")
        return match.groups()

    def weakenings(self):
        return [w for w in ("zero", "part") if self.weaker[w] != "-"]

    def weakened(self, text, which):
        """The text of the file with the term weakened: to zero, to its part, or to a factor of it."""
        factor = {"zero": "0", "part": self.share}.get(which, which)
        for number, code in enumerate(self.codes):
            before, term, behind = self.parts(code)
            match = re.search(pattern(before + term + behind), text)
            new = f"({factor} * ({term.strip()}))"
            if number == 0 and self.weaker.get(which):
                new = self.weaker[which]
            elif number == 0 and which != "zero" and self.weaker["part"]:
                new = self.part_of(float(factor))
            text = text[:match.start()] + before + new + behind + text[match.end():]
        return text

    def part_of(self, factor):
        """The row's own expression of a part, with another factor than 0.4."""
        numbers = {"0.4": factor, "0.6": 1 - factor, "1.4": 1 + factor}
        return re.sub(r"\b[01]\.[46]\b", lambda match: f"{numbers[match.group()]:.4g}", self.weaker["part"])

    def check(self):
        text = (ROOT / self.file).read_text()
        for code in self.codes:
            found = len(re.findall(pattern("".join(self.parts(code))), text))
            if found != 1:
                raise Problem(f"{self.name}: its code stands {found} times in {self.file}, not once: {code}")


def pattern(code):
    """Of any blanks between the words of the code."""
    return r"\s*".join(re.escape(token) for token in re.findall(r"\w+|[^\w\s]", code))


def read_table():
    terms = []
    for number, line in enumerate(TABLE.read_text().splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        key, _, rest = line.strip().partition(" ")
        if key == "term":
            if len(words) != 4:
                raise Problem(f"{TABLE.name}:{number}: a term has a name, a lemma and a file")
            terms.append(Term(*words[1:]))
        elif not terms:
            raise Problem(f"{TABLE.name}:{number}: no term before '{key}'")
        else:
            terms[-1].add(key, rest.strip())
    names = [t.name for t in terms]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise Problem(f"{TABLE.name}: two terms are called {twice[0]}")
    lemmas = set(re.findall(r"\*\*Lemma ([^*.]+?)\.?\*\*", (ROOT / "docs/numerics.md").read_text()))
    known = {lemma.replace(" ", "-").replace(",", "") for lemma in lemmas} | {"Rules"}
    for term in terms:
        if term.lemma not in known:
            raise Problem(f"{term.name}: docs/numerics.md has no Lemma {term.lemma}")
        term.check()
    return terms


# ---- copies of the tree ----

class Tree:
    """A copy of the tree whose objects are kept from one weakening to the next; at first those of the build folder, but for
    CUDA's, which no witness has."""

    def __init__(self, folder, objects):
        self.folder = folder
        self.is_new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        self.refresh()
        if self.is_new and objects.is_dir():
            shutil.copytree(objects, folder / "build/obj", ignore=shutil.ignore_patterns("cuda"))

    def refresh(self):
        listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True,
                                check=True).stdout.split("\n")
        for old in self.folder.rglob("*"):  # files that the tree has no more
            name = old.relative_to(self.folder).as_posix()
            if old.is_file() and not name.startswith("build/") and not (ROOT / name).is_file():
                old.unlink()
        for name in filter(None, listed):
            source, target = ROOT / name, self.folder / name
            if not source.is_file():
                continue
            data = source.read_bytes()
            if target.is_file() and target.read_bytes() == data:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            target.chmod(source.stat().st_mode & 0o777)
            if self.is_new:  # as old as what the objects were made of
                shutil.copystat(source, target)

    def make(self, targets, tiers):
        """Builds; objects of tiers that aren't named stay as they are."""
        old = [o for t in TIERS if t not in tiers for o in ("-o", f"build/obj/ref_{t}.o")]
        command = ["make", "-s", "-j1", f"CC={os.environ.get('CC', 'gcc')}", "B=build", "NVCC=", *old, *targets]
        env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "BUILD", "TERMS")}
        done = subprocess.run(command, cwd=self.folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise Problem("the copy doesn't build: " + " ".join(done.stdout.split()[-60:]))

    def restore(self, term):
        (self.folder / term.file).write_bytes((ROOT / term.file).read_bytes())


# ---- witnesses ----

def targets_of(witness):
    kind, first = witness.split()[:2]
    if kind == "suite":
        return [f"build/unit/{first}", "build/bin/verify", "build/ports/plain.so"] if first.startswith("verify/") else [
            f"build/unit/{first}"]
    return ["build/bin/verify", "build/legal/legal.so"]


def run_suite(tree, name, test=None):
    command = [f"build/unit/{name}", "--short-filename"]
    if test:
        suite = name.rsplit("/", 1)[1]
        command.append(f"--filter={re.sub('_(dd|256|512|1024|sampled)$', '', suite)}/{test}")
    done = subprocess.run(command, cwd=tree.folder, capture_output=True, text=True, timeout=LIMIT)
    tested = re.search(r"Tested: (\d+) .*Failing: (\d+)", done.stderr + done.stdout)
    if not tested or tested.group(1) == "0":
        raise Problem(f"build/unit/{name} runs no test {test or ''}")
    return done.returncode != 0


def run_legal(tree, number, case):
    env = dict(os.environ, LEGAL=number)
    command = ["build/bin/verify", "run", "--proofs", case, "--backend=build/legal/legal.so", "--format=jsonl", "--jobs=1"]
    done = subprocess.run(command, cwd=tree.folder, env=env, capture_output=True, text=True, timeout=LIMIT)
    verdicts = [json.loads(line).get("verdict") for line in done.stdout.splitlines()]
    verdicts = [v for v in verdicts if v]
    if not verdicts or any(v in ("SKIP", "CRASH", "REJECTED") for v in verdicts):
        raise Problem(f"LEGAL={number} {case}: {verdicts or done.stderr.strip()}")
    return any(not v.startswith("PASS") and v != "VACUOUS" for v in verdicts)


def is_red(tree, witness):
    kind, *words = witness.split()
    try:
        return run_suite(tree, *words) if kind == "suite" else run_legal(tree, *words)
    except subprocess.TimeoutExpired:
        raise Problem(f"{witness}: no answer in {LIMIT} s") from None


# ---- the run ----

class Outcome:
    def __init__(self, term, which):
        self.term, self.which, self.killer, self.error, self.seconds, self.found = term, which, None, None, 0, None

    def word(self):
        if self.error:
            return "ERROR"
        if self.killer:
            return "killed"
        return "unreachable" if self.which in self.term.free else "open" if self.which in self.term.open else "survived"


def killer_of(tree, term, which):
    """The first witness that is red with the term so weakened; None: all are green."""
    (tree.folder / term.file).write_text(term.weakened((ROOT / term.file).read_text(), which))
    for witness in term.witnesses:
        tree.make(targets_of(witness), {"dd", term.tier})
        if is_red(tree, witness):
            return witness
    return None


def share_reached(tree, term, killed):
    """The largest factor at which a witness is red, of those that are tried; None where none is at zero."""
    if not killed:
        return None
    share = float(term.share)
    reached = share if "part" in killed else 0
    if term.weaker["part"] == "-":
        return reached
    factors = [share * m for m in MULTIPLES if (m > 1 if reached else m < 1)]
    while factors:
        middle = len(factors) // 2
        if killer_of(tree, term, f"{factors[middle]:.4g}"):
            reached, factors = factors[middle], factors[middle + 1:]
        else:
            factors = factors[:middle]
    return reached


def weaken(tree, term, args):
    """Both weakenings of a term, in one tree."""
    outcomes = []
    for which in term.weakenings():
        out, began = Outcome(term, which), time.time()
        outcomes.append(out)
        try:
            out.killer = killer_of(tree, term, which)
            if not out.killer and args.hunt and which not in term.free:
                out.found = hunt_in(tree, term, args.hunt)
        except Problem as why:
            out.error = str(why)
        out.seconds = time.time() - began
    try:
        if args.shares:
            term.reached = share_reached(tree, term, [o.which for o in outcomes if o.killer])
    except Problem as why:
        outcomes[-1].error = str(why)
    tree.restore(term)
    if term.tier != "dd" or term.file.endswith(".h"):
        tree.make(["build/libverify.a"], TIERS)
    return outcomes


def hunt_in(tree, term, seconds):
    """An honest port that is accused: its number and case."""
    tree.make(["build/bin/verify", "build/legal/legal.so"], {"dd"})
    env = dict(os.environ, BUILD="build")
    command = ["unit/legal/run.py", f"--seconds={seconds}", "--show=1", f"--op={term.ops}"]
    done = subprocess.run(command, cwd=tree.folder, env=env, capture_output=True, text=True)
    found = re.search(r"^\S+ LEGAL=(\d+) '([^']+)'", done.stdout, re.M)
    return f"legal {found.group(1)} {found.group(2)}" if found else None


def innocent(tree, witnesses):
    """Without a weakening every witness is green: returns those that aren't."""
    guilty = []
    if witnesses:
        tree.make(sorted({x for w in witnesses for x in targets_of(w)}), TIERS)
    for witness in witnesses:
        try:
            if is_red(tree, witness):
                guilty.append(f"{witness} is red as it is")
        except Problem as why:
            guilty.append(str(why))
    return guilty


def chosen(terms, words, seed):
    if not words:
        return terms
    if words == "tenth":
        print(f"seed {seed}", flush=True)
        return random.Random(seed).sample(terms, max(1, len(terms) // 10))
    names = [w for w in words.split(",") if w]
    picked = [t for t in terms if any(t.name == n or (n.endswith(".") and t.name.startswith(n)) for n in names)]
    for n in names:
        if not any(t.name == n or t.name.startswith(n) for t in picked):
            raise Problem(f"{TABLE.name} has no term '{n}'")
    return picked


def print_row(out):
    why = out.error or out.killer or out.term.free.get(out.which) or out.term.open.get(out.which) or (out.found and f"found: {out.found}") or "no witness turns red"
    print(f"{out.term.name:34} {out.which:5} {out.word():12} {out.seconds:5.1f} s  {why}", flush=True)


def print_shares(terms):
    print(f"\n{'lemma':36} {'term':30} share")
    for term in sorted(terms, key=lambda t: (t.lemma, t.name)):
        proved = all(w in term.free for w in term.weakenings())
        known = f"{term.reached:.3g}" if term.reached else "above 0" if term.reached == 0 else "unknown"
        print(f"{term.lemma.replace('-', ' '):36} {term.name:30} {'none, proved' if proved else known}")
    print()


def run(args):
    terms = chosen(read_table(), args.terms, args.seed)
    began, folder = time.time(), ROOT / os.environ.get("BUILD", "build") / "terms"
    jobs = max(1, min(args.jobs, len(terms)))
    trees = [Tree(folder / f"tree{i}", folder.parent / "obj") for i in range(jobs)]
    witnesses = sorted({w for t in terms for w in t.witnesses})
    free = queue.Queue()
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        list(pool.map(lambda tree: tree.make(["build/libverify.a", "build/bin/verify", "build/legal/legal.so"], TIERS), trees))
        guilty = pool.map(lambda i: innocent(trees[i], witnesses[i::jobs]), range(jobs))
        guilty = [words for found in guilty for words in found]
        if guilty:
            raise Problem("; ".join(guilty))
        for tree in trees:
            free.put(tree)

        def one(term):
            tree = free.get()
            try:
                return weaken(tree, term, args)
            finally:
                free.put(tree)

        terms.sort(key=lambda t: t.file)
        outcomes = []
        for rows in pool.map(one, terms):
            outcomes += rows
            for row in rows:
                print_row(row)
    if args.shares:
        print_shares(terms)
    words = [o.word() for o in outcomes]
    failed = words.count("survived") + words.count("ERROR")
    print(f"{len(terms)} terms, {len(outcomes)} weakenings, {time.time() - began:.0f} s")
    print(f"{words.count('killed')} passed, {failed} failed, {words.count('unreachable') + words.count('open')} skipped")
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--terms", default=os.environ.get("TERMS", ""))
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--hunt", type=float, default=0)
    parser.add_argument("--shares", action="store_true", default=bool(os.environ.get("SHARES")))
    args = parser.parse_args()
    try:
        return run(args)
    except Problem as why:
        print(f"terms: {why}", file=sys.stderr)
        print("0 passed, 1 failed, 0 skipped")
        return 2


if __name__ == "__main__":
    sys.exit(main())
