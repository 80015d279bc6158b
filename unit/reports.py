#!/usr/bin/env python3
"""Reports of verify run and verify merge in every format: what they say, whole and in shards, of friendly ports and of hostile ones.

    unit/reports.py        BUILD: the build folder; build unless set

Last line: N passed, N failed, N skipped.
"""

import base64
import fcntl
import hashlib
import html.parser
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
import xml.etree.ElementTree

BUILD = os.path.realpath(os.environ.get("BUILD", "build"))
VERIFY = os.path.join(BUILD, "bin", "verify")
MISTAKE = os.path.join(BUILD, "planted", "mistake_A12_lse_base_2.so")
PLANTED = os.path.join(BUILD, "planted", "planted.so")
FILES = {"jsonl": "results.jsonl", "junit": "junit.xml", "md": "summary.md", "html": "report.html"}
CASES = ["rmsnorm@tiny|odd:n_tokens=1..3", "mla_decode@odd", "gate@odd", "swiglu@odd:n_tokens=1..4"]
PORTS = [f"--backend=plain,{MISTAKE}"]
STARTERS = re.compile("SLURM_|PMI_|OMPI_|GITHUB_")

# What a port may say of itself: markup, commands to GitHub's runner, the terminal's and the writing's direction.
HOSTILE = (
    "</pre></code></td>|`</script><script>alert(1)</script><img src=x onerror=alert(1)>&lt;\"' ]]> --> @everyone #1 "
    "![x](http://x/y.png) **bold** __b__ $x$\n::error::owned\n##[error]owned\n\n# head\n\x1b[31m\ufffe\u202e%0A::warning::x"
)
FILE_NAME = "<img src=x onerror=alert(1)>&\"|`%0A:"
PROGRAM = """import json, os
text = json.loads(%r)
requests, answers = os.fdopen(3), os.fdopen(4, "w")
def say(line):
    print(json.dumps(line), file=answers, flush=True)
say({"hello": {"protocol": 1, "name": text, "ops": ["rmsnorm"]}})
for line in requests:
    os.write(1, text.encode() + b"\\n\\xff\\n::error::printed\\n")
    say({"error": text})
"""


def run(*arguments, **environment):
    clean = {k: v for k, v in os.environ.items() if not STARTERS.match(k)}
    return subprocess.run([VERIFY, *arguments], env=clean | environment, capture_output=True, text=True, check=False, timeout=120)


def read(path):
    with open(path, encoding="utf-8", newline="") as f:
        return f.read()


def reports(folder, *arguments, command="run", **environment):
    """Exit code, standard error, and the text of each format."""
    os.makedirs(folder, exist_ok=True)
    done = run(command, *arguments, "--format=text,jsonl,junit,md,html", f"--out={folder}", **environment)
    texts = {"text": done.stdout} | {f: read(os.path.join(folder, name)) for f, name in FILES.items()}
    return done.returncode, done.stderr, texts


def without_times(text):
    """What clocks say becomes T."""
    text = re.sub(r'("[a-z]*_seconds":)[0-9.e+-]*', r"\1T", text)
    text = re.sub(r' time="[0-9.]*"', ' time="T"', text)
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ?", "T", text)
    return re.sub(r"(cases in |T, )\d+ s", r"\1T s", text)


def of_results(text):
    """A text without what only its run knows: where its files lie."""
    return re.sub("^full report: .*\n", "", text, flags=re.M)


def expect(truth, *what):
    if not truth:
        raise AssertionError(" ".join(str(w) for w in what)[:2000])


# ---- the line about the run, and the last one ----


def jsonl_has_a_head_and_an_end(folder):
    done = run("run", *CASES, *PORTS, "--format=jsonl", "--strict", "--timeout=7", "--require=plain")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    head, end = lines[0]["run"], lines[-1]["end"]
    expect(head["format"] == 2 and head["version"] in run("--version").stdout, head)
    expect(head["host"] == os.uname().nodename and head["processor"], head)
    age = time.time() - time.mktime(time.strptime(head["started"] + " UTC", "%Y-%m-%dT%H:%M:%SZ %Z")) + time.timezone
    expect(-2 < age < 60, head["started"], "is", age, "s ago")
    expect(head["options"] == {"strict": True, "proofs": False, "diagnose": False, "verbose": False, "timeout": 7, "start_timeout": 7,
                               "require": ["plain"]}, head)  # fmt: skip
    expect([p["backend"] for p in head["ports"]] == ["plain", MISTAKE], head)
    expect([p["port"] for p in head["ports"]] == ["plain", "mistake_A12_lse_base_2"], head)
    expect(head["cases"] == head["whole"] == end["cases"] == 12 and head["shard"] == head["shards"] == 1, head)
    verdicts = [line["verdict"] for line in lines[1:-1]]
    expect(len(verdicts) == 24 and end["passed"] == verdicts.count("PASS") and end["failed"] == 1, end)
    expect(end["interrupted"] is False and end["run_seconds"] > 0, end)


def absent_ports_and_programs_have_their_words(folder):
    program = os.path.join(folder, "port.py")
    with open(program, "w", encoding="utf-8") as f:
        f.write(PROGRAM % json.dumps("mine"))
    done = run("run", "rmsnorm@tiny", f"--backend={PLANTED}", f"--backend=exec:python3 {program}", "--format=jsonl",
               PLANT="not_here")  # fmt: skip
    first, second = json.loads(done.stdout.splitlines()[0])["run"]["ports"]
    expect(first["absent"] == "this port is for the moon" and "absent" not in second, first, second)
    expect(second["hello"] == "mine", second)


def what_a_start_printed_is_of_its_first_case(folder):
    """Whether it comes before or behind the hello, at once or late; and a case that the program isn't asked for has none of it."""
    program = os.path.join(folder, "port.py")
    many = ["embed@tiny", "rmsnorm@tiny", "rmsnorm@odd", "--jobs=1", "--format=jsonl", f"--backend=exec:python3 {program}"]
    for pause in (0, 0.02, 0.2):
        with open(program, "w", encoding="utf-8") as f:
            before, after = PROGRAM.replace('{"error"', '{"unsupported"').split('say({"hello"')
            hello, requests = after.split("\n", 1)
            f.write("import time\n" + before % '"mine"' + 'os.write(1, b"before ")\n' + 'say({"hello"' + hello + "\n"
                    + f'time.sleep({pause})\nos.write(1, b"behind ")\n' + requests)  # fmt: skip
        lines = [json.loads(line) for line in run("run", *many).stdout.splitlines()[1:-1]]
        texts = {line["id"]: line.get("output", "").split() for line in lines}
        expect("before" not in texts["embed@tiny"], texts)
        expect(texts["rmsnorm@tiny"][:2] == ["before", "behind"], pause, texts)
        expect(texts["rmsnorm@odd"][:1] != ["before"], texts)


def nothing_resolved_has_no_bits(folder):
    """Wider than the truth: the number is for programs alone."""
    _, _, text = reports(folder, "gate_backward@edge", "--backend=plain")
    (line,) = [json.loads(line) for line in text["jsonl"].splitlines() if '"id"' in line]
    expect(line["outputs"][0]["bits"] < 0, line)
    expect("no bits: nothing is resolved" in " ".join(text["text"].split()) and "constant: no mutant" in text["text"], text["text"])
    expect("| gate_backward | 1/1, - |" in text["md"], text["md"])
    expect("<td>-</td>" in text["html"], text["html"])
    for name in ("text", "md", "html"):
        expect("-88" not in text[name], name)


def elements_are_counted_whole(folder):
    done = run("run", "rmsnorm@odd:n_tokens=301,x=f32", "--backend=plain", "--format=text,jsonl", f"--out={folder}")
    lines = [json.loads(line) for line in read(f"{folder}/results.jsonl").splitlines()[1:-1]]
    judged = sum(output["count"] for line in lines for output in line["outputs"])
    expect(judged > 10000 and f"plain        1 PASS, {judged} elements judged\n" in done.stdout, judged, done.stdout)


def limits_are_those_that_applied(folder):
    """The start has a default of its own, and another one for a program."""
    program = os.path.join(folder, "port.py")
    with open(program, "w", encoding="utf-8") as f:
        f.write(PROGRAM % json.dumps("mine"))
    both = ["rmsnorm@tiny", "--backend=plain", f"--backend=exec:python3 {program}", "--format=text,jsonl", f"--out={folder}"]
    rows = ((["--timeout=7"], 7, 120, ""), ([], 60, 120, ""), (["--start-timeout=60"], 60, 60, "--start-timeout=60"),
            (["--start-timeout=120"], 120, 120, ""))  # fmt: skip
    for more, plain, exec_, again in rows:
        text = run("run", *both, *more).stdout
        head = json.loads(read(f"{folder}/results.jsonl").splitlines()[0])["run"]
        expect([p["start_timeout"] for p in head["ports"]] == [plain, exec_], more, head)
        expect(head["options"]["start_timeout"] == max(plain, exec_), more, head)
        merged = run("merge", f"{folder}/results.jsonl").stdout
        for said in (text, merged):
            (line,) = [line for line in said.splitlines() if line.startswith("  repro ")]
            expect(("--start-timeout" in line) == bool(again) and again in line, more, line)


def an_interrupted_run_says_so(folder):
    out = os.path.join(folder, "results.jsonl")
    command = [VERIFY, "run", "rmsnorm@odd", "rmsnorm@odd:n_tokens=3,x=f32", f"--backend={PLANTED}", "--jobs=1",
               "--timeout=50", "--format=jsonl,junit,md", f"--out={folder}"]  # fmt: skip
    with subprocess.Popen(command, env=os.environ | {"PLANT": "hang"}, stderr=subprocess.PIPE) as child:
        time.sleep(1)
        child.send_signal(signal.SIGINT)
        child.communicate()
        expect(child.returncode == 130, child.returncode)
    end = json.loads(read(out).splitlines()[-1])["end"]
    expect(end["interrupted"] is True and end["cases"] < 2, end)
    text = read(f"{folder}/junit.xml")
    root = xml.etree.ElementTree.fromstring(text)
    (suite,) = root
    *judged, case = suite.iter("testcase")
    expect('name="interrupted" value="true"' in text and root.get("errors") == suite.get("errors") == "1", text)
    expect(root.get("tests") == suite.get("tests") == str(end["cases"] + 1) == str(len(judged) + 1), text)
    expect(case.get("name") == "interrupted" and case.find("error").get("message") == f"interrupted: {end['cases']} of 2 cases judged", text)
    expect("; interrupted\n" in read(f"{folder}/summary.md"), read(f"{folder}/summary.md"))
    command = [VERIFY, "run", "embed@tiny", "rmsnorm@odd:x=f32", f"--backend=plain,{PLANTED}", "--jobs=1", "--format=html", f"--out={folder}"]
    with subprocess.Popen(command, env=os.environ | {"PLANT": "hang"}, stderr=subprocess.PIPE) as child:
        time.sleep(2)
        child.send_signal(signal.SIGINT)
        child.communicate()
    page = read(f"{folder}/report.html")
    expect(re.search('<h1><span class="none">1 passed, 0 failed, .*; interrupted</span></h1>', page), "is green:", page[-3000:])
    done = run("merge", out)
    expect(done.returncode == 2 and "interrupted: judge that shard again" in done.stderr, done.stderr)


# ---- files ----


def out_of(folder, *arguments, case="rmsnorm@tiny:n_tokens=1..9", **environment):
    return run("run", case, "--backend=plain", f"--out={folder}", *arguments, **environment)


def refused(done, *said):
    """One sentence, before a case ran."""
    good = done.returncode == 2 and done.stderr.count("\n") == 1 and not done.stdout and all(s in done.stderr for s in said)
    expect(good, said, "isn't said:", done.returncode, done.stderr, done.stdout)


def a_disk_that_is_full(folder):
    """/dev/full, then a size that no file may pass: which file, and why."""
    os.symlink("/dev/full", f"{folder}/results.jsonl")
    os.symlink("/dev/full", f"{folder}/junit.xml")
    done = out_of(folder, "--format=text,jsonl,junit")
    expect(done.returncode == 2 and "full report" not in done.stdout, done.stdout)
    said = f"{folder}/results.jsonl could not be written whole: No space left on device; nor is {folder}/junit.xml"
    expect(said in done.stderr and done.stderr.count("\n") == 1, done.stderr)
    done = out_of(folder, "--format=text,jsonl,junit,md")
    expect(done.returncode == 2 and f"\nfull report: {folder}/summary.md\n" in done.stdout, done.stdout)
    small = f"{folder}/small"
    command = ["bash", "-c", 'ulimit -f 2; exec "$@"', "", VERIFY, "run", "rmsnorm@tiny:n_tokens=1..9", "--backend=plain",
               "--format=text,jsonl,html", f"--out={small}"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    expect(done.returncode == 2 and "full report" not in done.stdout, done.returncode, done.stdout)
    for name in ("results.jsonl", "report.html"):
        expect(name in done.stderr and "File too large" in done.stderr, done.stderr)


def no_full_disk_passes_for_a_whole_file(folder):
    """A page is one long write, and a summary begins with one: nothing is left for the last one to fail."""
    cases = ["mla_decode@odd", "rmsnorm@tiny:n_tokens=1..9", *PORTS]
    expect(run("run", *cases, "--format=jsonl", f"--out={folder}").returncode == 1)
    expect(run("bundle", "make", f"{folder}/bundle", "rmsnorm@odd").returncode == 0)
    commands = (["run", *cases], ["run", "rmsnorm@odd", "--backend=plain"], ["merge", f"{folder}/results.jsonl"], ["compare", f"{folder}/bundle"])
    for of in ("html", "md"):
        full, small = f"{folder}/{of}", f"{folder}/{of}-small"
        os.mkdir(full)
        os.symlink("/dev/full", f"{full}/{FILES[of]}")
        os.mkdir(small)
        for command in commands:
            done = run(*command, f"--format={of}", f"--out={full}")
            said = f"verify: {full}/{FILES[of]} could not be written whole: No space left on device\n"
            expect(done.returncode == 2 and said in done.stderr, command, done.returncode, done.stderr)
            if of == "md" and command is not commands[0]:
                continue  # it fits
            limited = ["bash", "-c", 'ulimit -f 1; exec "$@"', "", VERIFY, *command, f"--format={of}", f"--out={small}"]
            done = subprocess.run(limited, capture_output=True, text=True, check=False)
            expect(done.returncode == 2 and "could not be written whole: File too large\n" in done.stderr, command, done.stderr)
    for command in commands:
        with open("/dev/full", "w", encoding="utf-8") as out:
            done = subprocess.run([VERIFY, *command, "--format=jsonl"], stdout=out, stderr=subprocess.PIPE, text=True, check=False)
        said = "standard output could not be written whole: No space left on device\n"
        expect(done.returncode == 2 and said in done.stderr, command, done.stderr)


def a_journal_that_is_full(folder):
    """The run ends, and no report passes for one of all cases."""
    command = ["bash", "-c", 'ulimit -f 8; exec "$@"', "", VERIFY, "run", "rmsnorm@odd:n_tokens=1..40", "--backend=plain",
               "--jobs=1", f"--resume={folder}/journal"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    expect(done.returncode == 2 and f"cannot write {folder}/journal: File too large" in done.stderr, done.stderr)
    expect(re.search(r"\ninterrupted: \d+ of 40 cases were judged\n", done.stdout), done.stdout)


def folders_are_made(folder):
    deep = f"{folder}/a//b/c/"
    done = out_of(deep, "--format=text,jsonl")
    expect(done.returncode == 0 and os.path.isfile(f"{folder}/a/b/c/results.jsonl"), done.stderr)
    with open(f"{folder}/a/b/c/mine", "w", encoding="utf-8") as f:
        f.write("mine")
    expect(out_of(deep, "--format=text,html").returncode == 0)
    expect(sorted(os.listdir(f"{folder}/a/b/c")) == ["mine", "report.html", "results.jsonl"])
    refused(out_of(f"{deep}mine", "--format=jsonl"), f"{deep}mine: is no folder: name another")
    refused(out_of(f"{deep}mine/d", "--format=jsonl"), f"{deep}mine: is no folder: name another")
    expect(read(f"{deep}mine") == "mine")
    refused(out_of("/proc/none/d", "--format=jsonl"), "cannot make the folder /proc/none: No such file")
    refused(out_of("/proc/self", "--format=jsonl"), "cannot write /proc/self/results.jsonl: ")
    refused(out_of(f"{folder}/{'x' * 1200}", "--format=jsonl"), "is too long a name")


def no_report_waits_for_a_pipe(folder):
    for make in (os.mkfifo, os.mkdir, lambda path: socket.socket(socket.AF_UNIX).bind(path)):
        path = os.path.join(folder, make.__name__.strip("<>"))
        os.mkdir(path)
        expect(out_of(path, "--format=jsonl").returncode == 0)
        kept = read(f"{path}/results.jsonl")
        make(f"{path}/report.html")
        said = "Is a directory" if make is os.mkdir else "is no regular file"
        refused(out_of(path, "--format=text,jsonl,html"), f"{path}/report.html", said)
        expect(read(f"{path}/results.jsonl") == kept, "it lost another report")
    os.symlink("/dev/null", f"{path}/junit.xml")
    expect(out_of(path, "--format=text,junit").returncode == 0)


def the_full_report_is_the_one_to_read(folder):
    for formats, name in (("junit,text", "junit.xml"), ("junit,jsonl,text", "results.jsonl"), ("text,jsonl,md", "summary.md"),
                          ("text,junit,html,md,jsonl", "report.html")):  # fmt: skip
        done = out_of(folder, f"--format={formats}")
        expect(done.stdout.count("full report: ") == 1 and f"\nfull report: {folder}/{name}\n" in done.stdout, done.stdout)


# ---- formats ----

GOLDEN_MD = """## verify: 2 passed, 1 failed, 1 skipped

verify V on <code>H</code>, <code>C</code>; 2 of 2 cases in T s, from T on

| op | <code>plain</code> | <code>planted</code> |
|---|--:|--:|
| rmsnorm | 1/1, 21.3 bits | **0/1** |
| linear | 1/1, exact | - |

- <code>planted</code>: 1 skipped&#58; the port doesn&#39;t support this case

### 1 failed

<details><summary><code>planted</code> UNWRITTEN <code>rmsnorm&#64;tiny&#58;x=f32</code></summary>

<pre>B</pre>

</details>

"""

GOLDEN_JUNIT = """<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="verify" tests="4" failures="1" errors="0" skipped="1" time="T">
  <testsuite name="plain" tests="2" failures="0" errors="0" skipped="0" time="T" timestamp="T" hostname="H">
    <properties>P</properties>
    <testcase classname="plain.rmsnorm" name="rmsnorm@tiny:x=f32" time="T"></testcase>
    <testcase classname="plain.linear" name="linear@tiny" time="T"></testcase>
  </testsuite>
  <testsuite name="planted" tests="2" failures="1" errors="0" skipped="1" time="T" timestamp="T" hostname="H">
    <properties>P</properties>
    <testcase classname="planted.rmsnorm" name="rmsnorm@tiny:x=f32" time="T"><failure type="UNWRITTEN" message="M">B</failure></testcase>
    <testcase classname="planted.linear" name="linear@tiny" time="T"><skipped type="SKIP" message="M"/></testcase>
  </testsuite>
</testsuites>
"""


def goldens(folder):
    arguments = ["rmsnorm@tiny:x=f32", "linear@tiny", "--backend=plain", f"--backend={PLANTED}"]
    code, _, text = reports(folder, *arguments, PLANT="unwritten")
    expect(code == 1, code)
    junit = without_times(text["junit"])
    for pattern, to in (("<properties>.*</properties>", "<properties>P</properties>"), ('hostname="[^"]*"', 'hostname="H"'),
                        ('message="[^"]*"', 'message="M"'), (">[^<>]+</failure>", ">B</failure>")):  # fmt: skip
        junit = re.sub(pattern, to, junit)
    expect(junit == GOLDEN_JUNIT, junit)
    markdown = re.sub("<pre>.*</pre>", "<pre>B</pre>", without_times(text["md"]))
    markdown = re.sub(r"verify \S+( \([\w-]+\))? on <code>.*</code>, <code>.*</code>; 2 of 2", "verify V on <code>H</code>, <code>C</code>; 2 of 2", markdown)  # fmt: skip
    expect(markdown == GOLDEN_MD, markdown)


def junit_counts(folder):
    code, _, text = reports(folder, *CASES, *PORTS)
    root = xml.etree.ElementTree.fromstring(text["junit"])
    expect(code == 1 and [s.get("name") for s in root] == ["plain", "mistake_A12_lse_base_2"], text["junit"][:500])
    for element in (root, *root):
        expect(int(element.get("tests")) == len(list(element.iter("testcase"))), element.attrib)
        expect(int(element.get("failures")) == len(list(element.iter("failure"))), element.attrib)
        expect(int(element.get("skipped")) == len(list(element.iter("skipped"))), element.attrib)
    (failure,) = root.iter("failure")
    expect("lse (3, 2, 4) f32: 24 of 24 elements are not legal" in failure.text, failure.text)
    expect("\n  repro " in failure.text and "mla_decode@odd" in failure.text, failure.text)


class Page(html.parser.HTMLParser):
    """Tags with their attributes, what is open, and the text."""

    VOID = {"meta", "input", "br", "path", "rect"}

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.open, self.text, self.ends = [], [], "", []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        expect(self.open and self.open[-1] == tag, "</", tag, "> closes", self.open[-3:])
        self.open.pop()

    def handle_data(self, data):
        self.text += data


def check_page(text):
    """One file that loads nothing, with one script, which is the one that it allows."""
    page = Page(text)
    expect(not page.open, page.open)
    names = [tag for tag, _ in page.tags]
    expect(names.count("script") == 1 and not {"img", "link", "iframe", "object", "base"} & set(names), set(names))
    for tag, attributes in page.tags:
        expect(not {"src", "style"} & set(attributes) and not any(a.startswith("on") for a in attributes), tag, attributes)
        expect(attributes.get("href", "#")[0] == "#", attributes)
    script = re.search("<script>(.*?)</script>", text, re.S).group(1)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    expect(f"script-src 'sha256-{digest}'" in text, "the script's hash is", digest)
    expect("http" not in re.sub("http-equiv|http://x/y.png", "", text.lower()), "it names an address")
    return page


def html_reads_without_a_script(folder):
    code, _, text = reports(folder, *CASES, *PORTS, "--diagnose")
    page = check_page(text["html"])
    expect(code == 1 and "23 passed, 1 failed, 0 skipped" in page.text, page.text[:500])
    expect(sum(tag == "tr" for tag, _ in page.tags) == 1 + 4 + 1 + 24, "rows")
    expect(sum(tag == "svg" for tag, _ in page.tags) == 8, "a histogram an op and port")
    expect("A12_lse_base_2 explains all 24: lse is a logarithm to base 2" in page.text, page.text)
    expect("\n  repro " in page.text and f"--backend='{MISTAKE}'" in page.text, page.text)
    hidden = [(tag, a) for tag, a in page.tags if "hidden" in a]
    expect(len(hidden) == 1 and hidden[0][0] == "input", hidden)
    titles = re.findall("<title>Budgets of (.*?)</title>", text["html"])
    expect("2 outputs, in tenths: 0 0 0 0 0 0 0 0 0 1; not legal: 1" in titles, titles)


def the_page_in_a_browser(folder):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not browser:
        return "chromium is not installed"
    program = os.path.join(folder, FILE_NAME + ".py")
    with open(program, "w", encoding="utf-8") as f:
        f.write(PROGRAM % json.dumps(HOSTILE))
    reports(folder, *CASES, *PORTS, f"--backend=exec:python3 '{program}'")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", f"file://{folder}/report.html"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return "chromium does not answer here"
    if "</html>" not in done.stdout:
        return "chromium does not run here"
    shown = re.search('<input id="filter"[^>]*>', done.stdout).group(0)
    expect("hidden" not in shown, "the script does not run:", shown)
    expect("<img" not in done.stdout, "a name became a tag")
    return None


# ---- narrow terminals ----


def on_terminal(columns, *arguments, **environment):
    """What a terminal gets, standard output and standard error."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    child = subprocess.Popen([VERIFY, *arguments], stdout=theirs, stderr=theirs, env=os.environ | environment)
    os.close(theirs)
    text = b""
    while True:
        try:
            text += os.read(ours, 65536)
        except OSError:  # it is closed
            break
    os.close(ours)
    expect(child.wait() == 1, "exit", child.returncode)
    return text.decode()


def narrow_text(lines, columns):
    """What is run or opened as it stands is not broken, nor is a word."""
    for line in lines:
        kept = re.match("  (repro|next) |full report: /", line) or " " not in line.strip()
        expect(kept or len(line) <= columns, len(line), "columns:", line)


def text_fits_the_terminal(folder):
    arguments = ["run", "rmsnorm@odd:x=f32,n_tokens=1..9", "gate@odd", f"--backend={PLANTED}", "--diagnose"]
    for columns in (40, 30, 64):
        text = on_terminal(columns, *arguments, PLANT="no_eps")
        shown = re.findall("\r([^\r\n]*?)\x1b\\[K", text)
        expect(any("of 10 cases" in line for line in shown), "no line of progress:", text)
        expect(all(len(line) < columns for line in shown), shown)
        lines = re.sub("\r[^\r\n]*?\x1b\\[K", "", text).replace("\r\n", "\n").splitlines()
        expect(any("not legal" in line for line in lines) and lines[-1] == "0 passed, 9 failed, 1 skipped", lines)
        narrow_text(lines, columns)
        narrow_text(run(*arguments, PLANT="no_eps", COLUMNS=str(columns)).stdout.splitlines(), columns)
    wide = [run(*arguments, PLANT="no_eps", **more).stdout for more in ({}, dict(COLUMNS="200"), dict(COLUMNS="wide"))]
    expect(wide[0] == wide[1] == wide[2] and max(map(len, wide[0].splitlines())) > 64, *wide)
    blocks = [reports(folder, *arguments[1:], PLANT="no_eps", **more)[2] for more in ({}, dict(COLUMNS="40"))]
    for f in FILES:
        expect(without_times(blocks[0][f]) == without_times(blocks[1][f]), f, "is another on a narrow terminal")


# ---- hostile ports ----


def nothing_hostile_gets_through(folder):
    program, plain = os.path.join(folder, FILE_NAME + ".py"), os.path.join(folder, FILE_NAME + ".so")
    with open(program, "w", encoding="utf-8") as f:
        f.write(PROGRAM % json.dumps(HOSTILE))
    shutil.copy(os.path.join(BUILD, "ports", "plain.so"), plain)
    ports = [f"--backend=exec:python3 '{program}'", f"--backend={plain}"]
    code, errors, text = reports(folder, "rmsnorm@tiny:x=f32", *ports, GITHUB_ACTIONS="true")
    expect(code == 1, code, errors)
    said = [line for line in json.loads(text["jsonl"].splitlines()[1])["output"].splitlines()]
    expect(any(line == "::error::printed" for line in said), "it didn't print what it should", said)
    root = xml.etree.ElementTree.fromstring(text["junit"])
    expect({e.tag for e in root.iter()} <= {"testsuites", "testsuite", "properties", "property", "testcase", "failure"})
    (failure,) = root.iter("failure")
    expect("<script>alert(1)</script>" in failure.get("message") and "::error::owned" in failure.text, failure.text)
    page = check_page(text["html"])
    expect("</script><script>alert(1)</script><img src=x onerror=alert(1)>&lt;" in page.text, page.text)
    tags = set(re.findall("<[^>]*>", text["md"]))
    expect(tags <= {"<code>", "</code>", "<pre>", "</pre>", "<details>", "</details>", "<summary>", "</summary>"}, tags)
    foreign = re.sub(r"^\|.*$|</?\w+>|&#\d+;|^#+ .*$|^- ", "", text["md"], flags=re.M)
    expect(not re.search(r"[|`*<>&#@!\[\]_~$\\]", foreign), foreign)
    for name in ("text", "junit", "html", "md", "jsonl"):
        commands = [line for line in text[name].splitlines() if re.match(r"\s*::|.*##\[", line)]
        expect(not commands, name, commands)
        controls = "[\x00-\x08\x0b-\x1f\x7f\u202e]" if name == "text" else "[\x00-\x08\x0b-\x1f\x7f\u202e\ufffe]"
        expect(not re.search(controls, text[name]), name, "has control characters")
    notes = [line for line in errors.splitlines() if line.startswith("::")]
    expect(len(notes) == 1 and notes[0].startswith("::error title=") and "owned" in notes[0], errors)
    expect("%250A" in notes[0] and "\x1b" not in errors, notes[0])


def annotations(folder):
    many = ["rmsnorm@tiny:n_tokens=1|3..16,x=f32", f"--backend={PLANTED}"]
    done = run("run", *many, "--format=md", GITHUB_ACTIONS="true", PLANT="nan")
    notes = [line for line in done.stderr.splitlines() if line.startswith("::error title=planted NAN::rmsnorm@tiny:n_tokens=")]
    expect(len(notes) == 10, "GitHub shows ten:", done.stderr)
    expect("::" not in done.stdout, done.stdout)
    for environment in ({}, {"GITHUB_ACTIONS": "false"}):
        done = run("run", *many, "--format=md", PLANT="nan", **environment)
        expect("::" not in done.stderr, done.stderr)


# ---- shards ----


def make_shards(folder, *arguments, shards=3, **environment):
    """The exit codes."""
    return [run("run", *arguments, f"--shard={i}/{shards}", "--format=jsonl", f"--out={folder}", **environment).returncode
            for i in range(1, shards + 1)]  # fmt: skip


def shard(folder, i, n=3):
    return os.path.join(folder, f"results-{i}-of-{n}.jsonl")


def merged_is_the_whole(folder):
    for name, more in (("a", ["--diagnose"]), ("b", ["--verbose", "--strict"])):
        parts, arguments = os.path.join(folder, name), CASES + PORTS + more
        code, _, whole = reports(os.path.join(parts, "whole"), *arguments)
        expect(sorted(make_shards(parts, *arguments)) == [0, 0, 1])
        given = [shard(parts, i) for i in (3, 1, 2)]
        again, _, merged = reports(os.path.join(parts, "merged"), *given, command="merge")
        expect(code == again == 1, code, again)
        for f, text in whole.items():
            plain = of_results if f == "text" else without_times
            expect(plain(text) == plain(merged[f]), f, plain(text), plain(merged[f]))
        once_more = run("merge", os.path.join(parts, "merged", "results.jsonl")).stdout
        expect(of_results(once_more) == of_results(whole["text"]), "merged once more:", once_more)


def a_merged_head_is_of_all(folder):
    make_shards(folder, *CASES, "--backend=plain")
    texts = {i: read(shard(folder, i)) for i in (1, 2, 3)}
    texts[1] = re.sub('"host":"[^"]*"', '"host":"a"', texts[1])
    texts[2] = re.sub('"host":"[^"]*"', '"host":"ab"', texts[2])
    texts[3] = re.sub('"host":"[^"]*"', '"host":"a"', re.sub('"started":"2', '"started":"1', texts[3]))
    for i, text in texts.items():
        rewrite(folder, str(i), shard(folder, i), lambda _, t=text, i=i: re.sub(r'("run_seconds":)[^,]*', rf"\g<1>{i}", t))
    done = run("merge", *(os.path.join(folder, i) for i in "312"), "--format=jsonl")
    lines = done.stdout.splitlines()
    head, end = json.loads(lines[0])["run"], json.loads(lines[-1])["end"]
    expect(head["host"] == "a, ab" and head["started"][0] == "1", head)
    expect(end["run_seconds"] == 6 and end["cases"] == head["cases"] == head["whole"] == 12, end)
    expect(head["shard"] == head["shards"] == end["shard"] == end["shards"] == 1, head, end)


def shards_say_which(folder):
    for f in ("text", "md", "html", "junit"):
        out = run("run", *CASES, "--backend=plain", "--shard=2/3", f"--format={f}").stdout
        expect(re.search("(in )?shard.* 2 of 3|name=\"shard\" value=\"2 of 3\"|<dt>shard</dt><dd>2 of 3", out), f, out[:300])
    lines = run("run", *CASES, "--backend=plain", "--shard=2/3").stdout.splitlines()
    expect(lines[0] == "shard 2 of 3: 4 of 12 cases", lines)
    expect(lines[-1] == "shard 2 of 3: 4 passed, 0 failed, 0 skipped", lines)
    lines = run("run", *CASES, "--backend=plain", "--shard", "2/3", "--format=jsonl").stdout.splitlines()
    head, end = json.loads(lines[0])["run"], json.loads(lines[-1])["end"]
    expect((head["shard"], head["shards"], head["cases"], head["whole"]) == (2, 3, 4, 12), head)
    expect((end["shard"], end["shards"], end["cases"]) == (2, 3, 4), end)


def shards_tell_what_they_see(folder):
    """Each mistake in the shard that sees it, and all of them together; older files don't say it."""
    cases = ["rmsnorm@tiny;fill=exact", "rmsnorm@odd", "gate@odd", "gate@tiny", "rmsnorm@v3", "gate@tiny;seed=2"]
    whole = run("run", *cases, "--backend=plain", "--format=jsonl").stdout
    make_shards(folder, *cases, "--backend=plain")
    given = [shard(folder, i) for i in (1, 2, 3)]
    ends = [json.loads(text.splitlines()[-1])["end"]["sees"] for text in (whole, run("merge", *given, "--format=jsonl").stdout)]
    expect(ends[0] == ends[1] and [row["op"] for row in ends[0]] == ["rmsnorm", "gate"], *ends)
    for row in ends[0]:
        (port,) = row["ports"]
        expect(port["port"] == "plain" and 0 < row["seen"] == len(port["seen"]) <= row["mistakes"], row)
        expect(row["whole"] == (port["looked"] == "all"), row)
        line = next(line for line in run("merge", *given).stdout.splitlines() if line.startswith(row["op"] + " "))
        more = "" if row["whole"] or row["seen"] == row["mistakes"] else "+"
        expect(line.endswith(f" {row['seen']}{more}/{row['mistakes']}"), line, row)
    alone = [json.loads(read(path).splitlines()[-1])["end"]["sees"] for path in given]
    seen = [sum(row["seen"] for row in rows) for rows in (ends[0], *alone)]
    expect(seen[0] > max(seen[1:]), "no shard sees less than all:", seen)
    old = [rewrite(folder, f"{i}", path, lambda t: re.sub(',"sees":.*', "}}", t)) for i, path in enumerate(given)]
    done = run("merge", *old)
    expect(done.returncode == 0 and re.search("^gate .* -$", done.stdout, flags=re.M), done.stdout, done.stderr)


def shards_have_one_environment(folder):
    case = ["rmsnorm@tiny:n_tokens=1..3", "--backend=plain"]
    expect(make_shards(folder, *case, DSV3_B="b", DSV3_A="it's\n2") == [0, 0, 0])
    expect(json.loads(read(shard(folder, 1)).splitlines()[0])["run"]["environment"] == {"DSV3_A": "it's\n2", "DSV3_B": "b"})
    given = [shard(folder, i) for i in (1, 2, 3)]
    done = run("merge", *given, "--format=jsonl", DSV3_A="another")
    expect(json.loads(done.stdout.splitlines()[0])["run"]["environment"] == {"DSV3_A": "it's\n2", "DSV3_B": "b"}, done.stdout)
    for variables, said in ((dict(DSV3_B="c", DSV3_A="it's\n2"), "DSV3_B is 'b' in the first and 'c' in the second"),
                            (dict(DSV3_A="it's\n2"), "DSV3_B is 'b' in the first and missing in the second")):  # fmt: skip
        run("run", *case, "--shard=2/3", "--format=jsonl", f"--out={folder}", **variables)
        done = run("merge", *given)
        expect(done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1, said, done.stderr)


def exit_codes_of_merge(folder):
    rows = (("nan", "planted.so", [], 1), ("not_here", "planted.so", [], 3), ("honest", "planted.so", [], 0),
            ("not_here", "planted.so", ["--backend=plain", f"--require={PLANTED}"], 3))  # fmt: skip
    for i, (plant, _, more, code) in enumerate(rows):
        parts = os.path.join(folder, str(i))
        make_shards(parts, "rmsnorm@tiny:x=f32,n_tokens=1..4", f"--backend={PLANTED}", *more, PLANT=plant)
        done = run("merge", *(shard(parts, k) for k in (1, 2, 3)))
        expect(done.returncode == code, plant, more, done.returncode, done.stdout, done.stderr)
    expect("was not judged: this port is for the moon" in done.stderr, done.stderr)


def rewrite(folder, name, path, change):
    to = os.path.join(folder, name)
    with open(to, "w", encoding="utf-8") as f:
        f.write(change(read(path)))
    return to


def merge_refuses(folder):
    arguments = ["rmsnorm@tiny|odd:n_tokens=1..4", "--backend=plain"]
    expect(make_shards(folder, *arguments) == [0, 0, 0])
    one, two, three = (shard(folder, i) for i in (1, 2, 3))
    strict, other = os.path.join(folder, "strict"), os.path.join(folder, "other")
    run("run", *arguments, "--strict", "--shard=3/3", "--format=jsonl", f"--out={strict}")
    run("run", "rmsnorm@tiny|odd:n_tokens=2..5", "--backend=plain", "--shard=3/3", "--format=jsonl", f"--out={other}")
    more = os.path.join(folder, "more")
    run("run", *arguments, f"--backend={MISTAKE}", "--shard=3/3", "--format=jsonl", f"--out={more}")
    change = lambda name, edit: rewrite(folder, name, three, edit)  # noqa: E731
    first_result = lambda t: t.splitlines(True)[1]  # noqa: E731
    rows = [
        ([one, two], "shard 3 of 3 is missing"),
        ([two, three], "shard 1 of 3 is missing"),
        ([one, two, two, three], "are both shard 2 of 3"),
        ([one, two, shard(strict, 3)], "--strict is not given in the first and given in the second"),
        ([one, two, shard(other, 3)], "the hash of the list of cases is '"),
        ([one, two, shard(more, 3)], "the number of ports is 1 in the first and 2 in the second"),
        ([one, two, change("v", lambda t: re.sub('"version":"[^"]*"', '"version":"9"', t))], "' in the first and '9' in the second"),
        ([one, two, change("c", lambda t: re.sub('"commit":"[^"]*"', '"commit":"c0"', t))], "the commit of verify is '"),
        ([one, two, change("p", lambda t: t.replace('"backend":"plain"', '"backend":"./plain"'))], "port 1 is 'plain' in the first and './plain' in"),
        ([one, two, change("s", lambda t: t.replace('"start_timeout":60}', '"start_timeout":9}'))], "--start-timeout for port 1 is 60 in the first and 9 in"),
        ([one, two, change("E", lambda t: t.replace('"environment":{', '"environment":{"DSV3_A":"1"'))], "DSV3_A is missing in the first and '1' in"),
        ([one, two, change("F", lambda t: t.replace('"environment":{', '"environment":{"PATH":"1"'))], "does not begin as"),
        ([one, two, change("t", lambda t: t[:-9])], "ends before its last line"),
        ([one, two, change("l", lambda t: "".join(t.splitlines(True)[:-1]))], "ends before its last line"),
        ([one, two, change("m", lambda t: t.replace(first_result(t), ""))], "ends before its last case"),
        ([one, two, change("d", lambda t: t.replace(first_result(t), 2 * first_result(t)))], "does not end as"),
        ([one, two, change("i", lambda t: t.replace('"interrupted":false', '"interrupted":true'))], "interrupted"),
        ([one, two, change("k", lambda t: t.replace('"looked":"all"', '"looked":1'))], "does not end as"),
        ([one, two, change("q", lambda t: t.replace('"seen":["', '"seen":["Z'))], "does not end as"),
        ([one, two, change("f", lambda t: t.replace('"PASS"', '"FAIL"', 1))], "counts other verdicts"),
        ([one, two, change("n", lambda t: t.replace('"id":"rmsnorm@tiny', '"id":"rmsnorm@edge', 1))], "not those that its first"),
        ([one, two, change("j", lambda t: t.replace('"outside":', '"outside":"'))], "line 2 is no JSON"),
        ([one, two, change("w", lambda t: re.sub('"count":[0-9]*', '"count":99', t, count=1))], "line 2 is not the result"),
        ([one, two, change("o", lambda t: re.sub('"outputs":.*', '"outputs":7}', t, count=1))], "line 2 is not the result"),
        ([one, two, change("e", lambda t: "")], "does not begin as"),
        ([one, two, change("h", lambda t: t.replace('"format":2', '"format":1'))], "does not begin as"),
        (["/no/such"], "cannot read /no/such"),
        ([folder], "cannot read"),
        (["README.md"], "does not begin as"),
        ([], "needs the reports of all shards"),
    ]
    for files, said in rows:
        done = run("merge", *files, "--format=md")
        good = done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1 and not done.stdout
        expect(good, said, "isn't said:", done.returncode, done.stderr, done.stdout)
    done = run("merge", one, two, three, "--format=jsonl", f"--out={folder}/whole")
    expect(done.returncode == 0, done.stderr)
    done = run("merge", f"{folder}/whole/results.jsonl", "--format=jsonl", f"--out={folder}/whole")
    expect(done.returncode == 2 and "name another" in done.stderr, done.stderr)


AUTO = [  # variables, and "shard I of N" or what is said
    ({}, "no variables of a starter"),
    (dict(SLURM_PROCID="1", SLURM_NTASKS="3"), "shard 2 of 3"),
    (dict(SLURM_PROCID="1"), "Slurm without SLURM_NTASKS"),
    (dict(SLURM_NTASKS="3"), "Slurm without SLURM_PROCID"),
    (dict(SLURM_PROCID="3", SLURM_NTASKS="3"), "is none of the 3"),
    (dict(SLURM_ARRAY_TASK_ID="7", SLURM_ARRAY_TASK_COUNT="3", SLURM_ARRAY_TASK_MIN="3", SLURM_ARRAY_TASK_STEP="2"), "shard 3 of 3"),
    (dict(SLURM_ARRAY_TASK_ID="1", SLURM_ARRAY_TASK_COUNT="3", SLURM_ARRAY_TASK_MIN="1", SLURM_PROCID="0"), "shard 1 of 3"),
    (dict(SLURM_ARRAY_TASK_ID="4", SLURM_ARRAY_TASK_COUNT="3", SLURM_ARRAY_TASK_MIN="3", SLURM_ARRAY_TASK_STEP="2"), "is none of the 3"),
    (dict(SLURM_ARRAY_TASK_ID="4", SLURM_ARRAY_TASK_COUNT="3"), "without SLURM_ARRAY_TASK_MIN"),
    (dict(SLURM_ARRAY_TASK_ID="4", SLURM_ARRAY_TASK_MIN="3"), "without SLURM_ARRAY_TASK_COUNT"),
    (dict(SLURM_ARRAY_TASK_ID="0", SLURM_ARRAY_TASK_COUNT="2", SLURM_ARRAY_TASK_MIN="0", SLURM_PROCID="1", SLURM_NTASKS="2"), "each with several"),
    (dict(OMPI_COMM_WORLD_RANK="2", OMPI_COMM_WORLD_SIZE="3"), "shard 3 of 3"),
    (dict(OMPI_COMM_WORLD_RANK="2", OMPI_COMM_WORLD_SIZE="3", SLURM_PROCID="0", SLURM_NTASKS="3"), "shard 3 of 3"),
    (dict(OMPI_COMM_WORLD_RANK="2"), "Open MPI without OMPI_COMM_WORLD_SIZE"),
    (dict(PMI_RANK="0", PMI_SIZE="2"), "shard 1 of 2"),
    (dict(PMI_SIZE="2"), "PMI without PMI_RANK"),
    (dict(PMI_RANK="", PMI_SIZE="2"), "PMI without PMI_RANK"),
    (dict(PMI_RANK="-1", PMI_SIZE="2"), "PMI_RANK is '-1'"),
    (dict(PMI_RANK="1x", PMI_SIZE="2"), "PMI_RANK is '1x'"),
    (dict(PMI_RANK="0", PMI_SIZE="99999999999"), "PMI_SIZE is '99999999999'"),
]


def auto(folder):
    for variables, said in AUTO:
        done = run("run", "rmsnorm@tiny:n_tokens=1..3", "--backend=plain", "--shard=auto", **variables)
        if said.startswith("shard"):
            expect(done.returncode == 0 and done.stdout.startswith(said + ":"), variables, done.stdout, done.stderr)
        else:
            expect(done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1, variables, done.stderr)


def shards_that_are_none(folder):
    for value, said in (("0/3", "is no part"), ("4/3", "is no part"), ("1", "is no part"), ("/", "is no part"), ("1/3/3", "is no part"),
                        ("1/4", "there are 3; take at most 3 shards"), ("-1/3", "is no part"), ("", "shard")):  # fmt: skip
        done = run("run", "rmsnorm@tiny:n_tokens=1..3", "--backend=plain", f"--shard={value}")
        expect(done.returncode == 2 and said in done.stderr, value, done.stderr)


# ---- readers ----


def the_matrix_reads_it(folder):
    make_shards(folder, "rmsnorm@tiny|odd:n_tokens=1..4", "--backend=plain")
    files = [f"--results={shard(folder, i)}" for i in (1, 2, 3)]
    done = run("list", "--matrix", "rmsnorm@tiny|odd:n_tokens=1..4", *files)
    row = next(line for line in done.stdout.splitlines() if line.startswith("rmsnorm "))
    expect(done.returncode == 0 and "8/0/0" in row and "not counted" not in done.stdout, done.stdout, done.stderr)


TESTS = [jsonl_has_a_head_and_an_end, elements_are_counted_whole, nothing_resolved_has_no_bits, what_a_start_printed_is_of_its_first_case, absent_ports_and_programs_have_their_words, limits_are_those_that_applied, an_interrupted_run_says_so, a_disk_that_is_full, no_full_disk_passes_for_a_whole_file, a_journal_that_is_full,
         folders_are_made, no_report_waits_for_a_pipe, the_full_report_is_the_one_to_read, goldens,
         junit_counts, html_reads_without_a_script, the_page_in_a_browser, text_fits_the_terminal, nothing_hostile_gets_through, annotations,
         merged_is_the_whole, a_merged_head_is_of_all, shards_say_which, shards_tell_what_they_see, shards_have_one_environment, exit_codes_of_merge, merge_refuses, auto, shards_that_are_none,
         the_matrix_reads_it]  # fmt: skip


def main():
    passed, failed, skipped = 0, 0, 0
    for test in TESTS:
        with tempfile.TemporaryDirectory(prefix="dsv3-reports-") as folder:
            try:
                absent = test(folder)
            except (AssertionError, subprocess.TimeoutExpired, xml.etree.ElementTree.ParseError) as e:
                print(f"{test.__name__}: {e}")
                failed += 1
                continue
        if absent:
            print(f"{test.__name__}: skipped, {absent}")
        passed, skipped = passed + (not absent), skipped + bool(absent)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
