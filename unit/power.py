#!/usr/bin/env python3
"""What cases see of the known mistakes: verify/cases/power.txt, and that none of its cases has lost power since.

    unit/power.py [--write]     BUILD: the build folder; build unless set
    --write   writes the file anew, from the cases that WORK leaves: three minutes

A line is CASE # MISTAKE LIST VERDICT ILLEGAL/ELEMENTS SIGMAS, as `verify list --power` has them. LIST is where the case is from:
    smoke, ci   of the cases of @smoke or @ci of the mistake's op, the one that shows it best; beyond 1000 sigmas, in most elements
    filters     the same of @ci, of cases where the balls hold the mistake and filters find it; not every mistake has one
Each is measured again: what was proved is proved still, the elements that prove it and the sigmas are at least 0.7 of what they
were, and what is left to filters has 12 sigmas.

Last line: N passed, N failed, N skipped.
"""

import json
import os
import pathlib
import subprocess
import sys

BUILD = pathlib.Path(os.environ.get("BUILD", "build")).resolve()
ROOT = pathlib.Path(__file__).resolve().parent.parent
FILE = ROOT / "verify/cases/power.txt"
VERDICTS = ["proved", "statistical", "SUSPECT", "BLIND(information)", "BLIND(balls)", "EQUAL"]
SEEN = VERDICTS[:2]
WORK = {"smoke": 0.7, "ci": 0.3}  # millions of multiply-adds of a case at most: they are measured in every test
ENOUGH, LEAST, KEPT = 1000, 12, 0.7
HEAD = """# Of each known mistake the cases that show it best, in a port that declares what plain does: written and read by unit/power.py.
# CASE # MISTAKE LIST VERDICT ILLEGAL/ELEMENTS SIGMAS
"""


def verify(*arguments):
    return subprocess.run([BUILD / "bin/verify", *arguments], capture_output=True, text=True, check=True).stdout.splitlines()


def mistakes():
    """Names, and the op of each."""
    words = [line.split() for line in verify("list", "--quirks") if not line.startswith(" ")]
    return {w[0]: w[1] for w in words}


def measure(cases, *options):
    return [json.loads(line) for line in verify("list", "--power", "--format=jsonl", cases, *options)]


def read():
    """Rows as they are measured, each with its list."""
    for line in FILE.read_text().splitlines():
        if line.startswith("#"):
            continue
        case, mistake, where, verdict, elements, sigmas = line.replace(" # ", " ").split()
        apart, count = map(int, elements.split("/"))
        yield dict(id=case, mistake=mistake, list=where, verdict=verdict, apart=apart, count=count, sigmas=sigmas_of(sigmas))


def sigmas_of(text):
    return None if text == "-" else float(text)


# ---- a new file ----


def rank(row):
    sigmas = min(row.get("sigmas", 0), ENOUGH)
    return (VERDICTS.index(row["verdict"]), -sigmas, -row["apart"], row["work"], row["id"])


def chosen(name, op, measured):
    for where, rows in measured.items():
        of_it = [r for r in rows if r["mistake"] == name and r["id"].startswith(op + "@")]
        if where == "filters":
            of_it = [r for r in of_it if r["verdict"] == "statistical"]
        if of_it:
            yield where, min(of_it, key=rank)


def write():
    measured = {where: measure(f"@{where}", f"--work={most}") for where, most in WORK.items()}
    measured["filters"] = measured["ci"]
    with open(FILE, "w", encoding="ascii") as f:
        f.write(HEAD)
        for name, op in mistakes().items():
            for where, r in chosen(name, op, measured):
                print(r["id"], "#", name, where, r["verdict"], f"{r['apart']}/{r['count']}", f"{r['sigmas']:.4g}" if "sigmas" in r else "-", file=f)


# ---- what is asked of it ----


def every_mistake_is_seen(rows):
    there = {(r["mistake"], r["list"]) for r in rows if r["verdict"] in SEEN}
    return [f"no case of @{where} sees {name}" for name in mistakes() for where in WORK if (name, where) not in there]


def cases_are_of_their_lists(rows):
    known = {where: set(verify("list", "--cases", f"@{where}")) for where in WORK}
    known["filters"] = known["ci"]
    return [f"{r['id']} is no case of @{r['list']}" for r in rows if r["id"] not in known[r["list"]]]


def loss(was, now):
    """What a case has lost of what it saw, in words."""
    if now is None:
        return "isn't asked for any more"
    sigmas = now.get("sigmas", 0)
    if VERDICTS.index(now["verdict"]) > VERDICTS.index(was["verdict"]):
        return f"is {now['verdict']} and was {was['verdict']}"
    if now["apart"] < KEPT * was["apart"]:
        return f"makes {now['apart']} elements illegal, and made {was['apart']} so"
    if sigmas < KEPT * (was["sigmas"] or 0) or (now["verdict"] == "statistical" and sigmas < LEAST):
        return f"shows at {sigmas:.4g} sigmas, and did at {was['sigmas']}"
    return None


def none_has_lost_power(rows):
    now = {(r["id"], r["mistake"]): r for r in measure(f"@{FILE}")}
    lost = [(r, loss(r, now.get((r["id"], r["mistake"])))) for r in rows]
    return [f"{r['mistake']} in {r['id']} {how}" for r, how in lost if how]


def main():
    if sys.argv[1:] == ["--write"]:
        write()
        return 0
    if sys.argv[1:]:
        print(f"unit/power.py takes --write or nothing, not '{sys.argv[1]}'", file=sys.stderr)
        return 2
    rows = list(read())
    tests = [every_mistake_is_seen, cases_are_of_their_lists, none_has_lost_power]
    failed = 0
    for test in tests:
        found = test(rows)
        failed += bool(found)
        for sentence in found:
            print(f"{test.__name__}: {sentence}")
    print(f"{len(tests) - failed} passed, {failed} failed, 0 skipped")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
