#!/usr/bin/env python3
"""Honest ports beside the filters: none may be accused by statistics (docs/statistics.md).

innocence.py [--seed=N] [--seconds=S] [--op=OP[,OP...]] [--way=WAY[,WAY...]] [--rounds=N] [--ports=N] [--goal=N]
             [--out=FILE] [--table=FILE...]

A round is some ports, one unless --ports says more, on cases of one op with fresh seeds: sizes and formats of run.py's,
@smoke's V3-shaped ones, and the trained model's, with all fills that are sensed. Ports of a round declare the same, and
differ in what no declaration tells: orders, trees, which way functions err. --goal goes on with ops that have fewer
combinations in a format and way, until all have as many. Ways:
  any         LEGAL=N draws all: accumulators that nobody builds, functions off by 1000 units; it declares what it does
  ordinary    LEGAL=N of what libraries and matrix units do, declared
  undeclared  the same, and nothing is declared: the ladder of rungs must explain it
  engines     the backends that work here, as they declare themselves
  silent      those that are shared objects, with nothing declared
Each case that was sensed is a line in FILE (default build/innocence/SEED.jsonl). A combination is a port, a case and a
filter. Of each op, format and way a row is printed: ports, cases, how many answers were given to these (ports that agree
give one), combinations, the largest |t| and population ratio and where they were, and how many cases are above the
thresholds of SUSPECT (6, 4) and FAIL (12, 8). --table prints it from files of other runs again. Exit code 1: a case is
above those of FAIL.
"""
import argparse
import json
import os
import random
import re
import subprocess
import sys
import time

import run

FILLS = ("real", "far")  # and trained, of the sizes that the model has
UNSENSED = ("quant", "bias_update", "mtp_accept", "mtp_inputs", "cache_store", "embed")
ALARM_T, ALARM_RATIO = 6, 4
AT_LARGE = 4  # ports of a round that are asked for large cases: legal ports emulate each step of a sum

# Choices of unit/legal for ordinary ports: units of today's processors, functions within 2 units.
ORDINARY = {"acc": (0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 18), "arith": (0, 0, 2), "nearest": (1,), "exp": (0, 1), "log": (0, 1),
            "sigmoid": (0, 1), "sincos": (0,), "rsqrt": (0, 1, 2, 3), "div": (0, 1, 2, 3)}
# Name, backend and environment.
ENGINES = [("plain", "plain", {}), ("portable", "portable", {}),
           ("portable amx", "portable", {"DSV3_FAST": "amx"}), ("avx512", "avx512", {}),
           ("avx512 fma", "avx512", {"DSV3_FAST": "fma"}), ("avx512 dpbf16", "avx512", {"DSV3_FAST": "dpbf16"}),
           ("transformers", "transformers", {})]
SHARED = ("plain", "openblas", "onednn")


def verify(words, env=None):
    return subprocess.run([f"{run.BUILD}/bin/verify", *words], env=dict(os.environ, **(env or {})), capture_output=True, text=True)


def fills_of(op):
    """Those of FILLS that the op has."""
    listed = verify(["list", op]).stdout.split("\n  fills\n")[1].split("\n  quirks")[0]
    names = re.findall(r"^    (\w+) ", listed, re.M)
    return [f for f in FILLS if f in names]


def with_seed(ids, fills, draw):
    """Ids with all these fills, and a fresh seed."""
    base = re.sub(r";(fill|seed)=[^;]*", "", ids)
    return f"{base};fill={'|'.join(fills)};seed={draw.randrange(1, 1 << 30)}"


def listed(op, file, word):
    with open(f"verify/cases/{file}", encoding="utf-8") as lines:
        ids = [line.split("#")[0].strip() for line in lines]
    return [i for i in ids if i.startswith(f"{op}@") and word in i and "view." not in i]


def sample(ids, n, draw):
    return draw.sample(ids, min(n, len(ids)))


def ids_of(op, fills, draw):
    """Cases of a round: the small sizes and two of the trained model's; and large ones, of many elements and V3's widths."""
    small = [f"{op}@{run.PRESETS}{w if w.startswith(';') else ':' + w}" for w in run.CASES[op]]
    trained = sample(listed(op, "ci.txt", "fill=trained"), 2, draw)
    many = sample([f"{op}{w}" for w in run.MANY.get(op, [])], 1, draw)
    wide = sample([i for i in listed(op, "smoke.txt", "@v3") if "fill=" not in i or "real" in i], 1, draw)
    return ([with_seed(i, fills, draw) for i in small] + [with_seed(i, ["trained"], draw) for i in trained],
            [with_seed(i, fills, draw) for i in many + wide])


def link_of(habit):
    """A link to the legal ports, which reads in its own name what it draws anew."""
    link = f"{run.BUILD}/innocence/legal.{habit}.so"
    os.makedirs(os.path.dirname(link), exist_ok=True)
    if not os.path.islink(link):
        os.symlink("../legal/legal.so", link)
    return link


def legal_ports(way, draw, count):
    """Drawn ports that declare the same: names and backends, and their environment."""
    text = str(draw.randrange(1 << 30))
    if way != "any":
        text += "".join(f",{name}={draw.choice(values)}" for name, values in ORDINARY.items())
    if way == "undeclared":
        text += ",undeclared=1"
    habits = [0] if count == 1 else draw.sample(range(1, 1000), count)
    return {f"LEGAL={text}" + (f",habit={h}" if h else ""): link_of(h) for h in habits}, {"LEGAL": text}


def ports_of(way, draw, count, engines, shared):
    if way == "engines":
        name, backend, env = draw.choice(engines)
        return {name: backend}, env
    if way == "silent":
        name, path = draw.choice(shared)
        return {f"silent {name}": f"{run.BUILD}/planted/silent.so"}, {"PLAIN": path}
    return legal_ports(way, draw, count)


def engines_here():
    known = verify(["list", "--backends"]).stdout
    return [e for e in ENGINES if re.search(rf"^{e[1]}\b(?!.*(not|missing|no ))", known, re.M)]


def shared_here():
    paths = [(name, os.path.abspath(f"{run.BUILD}/ports/{name}.so")) for name in SHARED]
    return [(name, path) for name, path in paths if os.path.exists(path)]


def judge(ports, env, cases):
    """The rows of a run, with the name of the port; what can't be judged says so in its verdict."""
    backends = [f"--backend={b}" for b in ports.values()]
    done = verify(["run", *cases, *backends, "--format=jsonl", "--jobs=1"], env)
    if done.returncode == 2:
        sys.exit(f"innocence.py: {list(ports)[0]}: {done.stderr.strip()}")
    names = {backend: name for name, backend in ports.items()}
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"id":')]
    return [(names[row["backend"]], row) for row in rows]


def kept(op, way, port, result):
    """What is kept of a result: a line of FILE."""
    row = {"op": op, "format": run.format_of(result), "way": way, "port": port, "id": result["id"],
           "verdict": result["verdict"]}
    row.update({k: v for k, v in result.get("sensed", {}).items() if k not in ("sense_seconds", "shown", "words")})
    if is_above(row, 1):
        row["declared"] = result["declared"]
    return row


def answer_of(row):
    """What tells an answer from that of another port: two that agree in all of these are the same."""
    return tuple(row.get(k) for k in ("id", "rung", "t", "ratio", "ratio_t", "size"))


def is_above(row, times):
    """Of the thresholds of SUSPECT, or of FAIL at twice those."""
    if "t" not in row:
        return False
    scattered = row["ratio"] >= times * ALARM_RATIO and (times == 1 or row["ratio_t"] >= times * ALARM_T)
    return abs(row["t"]) >= times * ALARM_T or scattered


class Row:
    def __init__(self):
        self.ports, self.cases, self.unsensed, self.filters, self.suspect, self.wrong = set(), 0, 0, 0, 0, 0
        self.t, self.ratio = {"t": 0}, {"ratio": 0}
        self.answers = set()

    def add(self, row):
        if "t" not in row:
            self.unsensed += row["verdict"] != "SKIP"
            return
        self.ports.add(row["port"])
        self.answers.add(answer_of(row))
        self.cases += 1
        self.filters += row["filters"]
        self.suspect += is_above(row, 1)
        self.wrong += is_above(row, 2)
        self.t = row if abs(row["t"]) > abs(self.t["t"]) else self.t
        self.ratio = row if row["ratio"] > self.ratio["ratio"] else self.ratio


def table(rows):
    """rows: of (op, format, way)."""
    print(f"{'op':22} {'format':6} {'way':10} {'ports':>6} {'cases':>7} {'unsensed':>8} {'answers':>7} {'combinations':>12} {'|t|':>7} {'ratio':>7} "
          f"{'at 6':>5} {'at 12':>5}  largest |t|; largest ratio, of which port and case")
    for (op, dtype, way), r in sorted(rows.items()):
        print(f"{op:22} {dtype:6} {way:10} {len(r.ports):6} {r.cases:7} {r.unsensed:8} {len(r.answers):7} {r.filters:12} {abs(r.t['t']):7.2f} "
              f"{r.ratio['ratio']:7.2f} {r.suspect:5} {r.wrong:5}  {where(r.t, 'filter')}; {where(r.ratio, 'population')}")
    total = [sum(getattr(r, k) for r in rows.values()) for k in ("cases", "filters", "suspect", "wrong")]
    print("{} cases, {} combinations, {} above 6 or 4, {} above 12 or 8".format(*total))


def where(row, what):
    return f"{row[what]} [{row['rung']}] {row['port']} '{row['id']}'" if "id" in row else "-"


def wanting(rows, todo, goal):
    """Of ops and ways, those with a format that has fewer combinations; the least first. All, where there is no goal."""
    if not goal:
        return todo
    least = {ow: min((r.filters for k, r in rows.items() if (k[0], k[2]) == ow and r.cases), default=0) for ow in todo}
    return sorted((ow for ow in todo if least[ow] < goal), key=least.get)


def campaign(args, rows):
    draw = random.Random(args.seed)
    ops = [o for o in (args.op.split(",") if args.op else run.have()) if o not in UNSENSED]
    todo = [(o, w) for o in ops for w in args.way.split(",")]
    fills, engines, shared = {op: fills_of(op) for op in ops}, engines_here(), shared_here()
    ends, rounds = time.time() + args.seconds, 0
    os.makedirs(os.path.dirname(args.out), exist_ok=True)
    with open(args.out, "w", encoding="utf-8") as out:
        while time.time() < ends and (not args.rounds or rounds < args.rounds) and wanting(rows, todo, args.goal):
            for op, way in wanting(rows, todo, args.goal):
                if time.time() < ends:
                    ports, env = ports_of(way, draw, args.ports, engines, shared)
                    small, large = ids_of(op, fills[op], draw)
                    one_round(op, way, ports, env, small, rows, out)
                    one_round(op, way, first(ports, AT_LARGE), env, large, rows, out)
            rounds += 1


def first(ports, count):
    return dict(list(ports.items())[:count])


def one_round(op, way, ports, env, ids, rows, out):
    for port, result in judge(ports, env, ids) if ids else []:
        row = kept(op, way, port, result)
        rows.setdefault((op, row["format"], way), Row()).add(row)
        out.write(json.dumps(row) + "\n")
    out.flush()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--ports", type=int, default=1)
    parser.add_argument("--goal", type=int, default=0)
    parser.add_argument("--op", default="")
    parser.add_argument("--way", default="any,ordinary,undeclared,engines,silent")
    parser.add_argument("--out")
    parser.add_argument("--table", nargs="+")
    args = parser.parse_args()
    args.seed = args.seed if args.seed is not None else random.randrange(1 << 30)
    args.out = args.out or f"{run.BUILD}/innocence/{args.seed}.jsonl"
    rows = {}
    for file in args.table or []:
        with open(file, encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                rows.setdefault((row["op"], row["format"], row["way"]), Row()).add(row)
    if not args.table:
        print(f"seed {args.seed}", flush=True)
        campaign(args, rows)
    table(rows)
    sys.exit(any(r.wrong for r in rows.values()))


if __name__ == "__main__":
    main()
