#!/usr/bin/env python3
"""The pages of make docs, made anew in a folder of their own and read as a browser reads them; then with faults planted.

    unit/site.py     BUILD: the folder of bin/verify

Every page is well-formed, has a title, text and a link to its source, and is in the navigation. Every link and anchor inside
leads somewhere, every figure is there, every document has a page, every known mistake its row, every op its results. Each
planted fault is one that these rules shall find; where pages have faults of their own none is planted. Without pandoc all is
skipped.

Last line: N passed, N failed, N skipped.
"""

import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

BUILD = os.path.realpath(os.environ.get("BUILD", "build"))
VERIFY = os.path.join(BUILD, "bin", "verify")
SCRIPT = "docs/site/build.sh"
SHORT = 150  # characters: a page with less text is empty


# ---- a page ----


class Page:
    """What a browser finds in a page: its links, the anchors that links may lead to, its text."""

    def __init__(self, path):
        self.root = ElementTree.parse(path).getroot()
        self.main = self.root.find("body/main")
        self.ids = [e.get("id") for e in self.root.iter() if e.get("id")]
        self.links = [e.get(name) for e in self.root.iter() for name in ("href", "src") if e.get(name)]
        self.navigation = {a.get("href") for a in self.root.iterfind("body/nav//a")}
        self.source = self.main.find("footer/a").get("href")

    def text(self):
        """Of the document alone, and no code."""
        left_out = ("h1", "details", "footer", "pre", "code")
        parts = []

        def walk(element):
            if element.tag not in left_out:
                parts.append(element.text or "")
                for child in element:
                    walk(child)
            parts.append(element.tail or "")

        walk(self.main)
        return "".join(parts)

    def faults(self):
        if not (self.root.findtext("head/title") or "").strip() or len(self.root.findall(".//h1")) != 1:
            yield "has no title, or several"
        if len("".join(self.main.itertext())) < SHORT:
            yield "is empty"
        if "|--" in self.text():
            yield "has a table that is none"
        if len(set(self.ids)) < len(self.ids):
            yield f"has two anchors {next(i for i in self.ids if self.ids.count(i) > 1)}"
        if self.root.find(".//a//a") is not None:
            yield "has a link in a link"


# ---- all pages ----


def read_pages(folder):
    """Pages by their path in the folder, and the faults of those that can't be read."""
    pages, faults = {}, []
    for path in sorted(glob.glob(f"{folder}/**/*.html", recursive=True)):
        name = os.path.relpath(path, folder)
        try:
            pages[name] = Page(path)
        except (ElementTree.ParseError, AttributeError) as error:
            faults.append(f"{name}: is not well-formed, or lacks a part: {error}")
    return pages, faults


def link_fault(folder, pages, page, link):
    """None, or why the link leads nowhere."""
    if re.match(r"https?://", link):
        return None
    target, _, anchor = link.partition("#")
    if re.match(r"[a-z]+:|/", target):
        return f"{link} is not relative"
    name = os.path.normpath(os.path.join(os.path.dirname(page), target)) if target else page
    if name.startswith("..") or not os.path.isfile(os.path.join(folder, name)):
        return f"{link} leads to no file"
    if anchor and (name not in pages or anchor not in pages[name].ids):
        return f"{link} leads to no anchor"
    return None


def bytes_of(path):
    with open(path, "rb") as file:
        return file.read()


def document_faults(folder, pages):
    """Every document has a page, and its copy beside it."""
    for document in ["README.md", *glob.glob("docs/*.md"), *glob.glob("docs/components/*.md")]:
        copy = os.path.relpath(document, "docs") if document != "README.md" else document
        page = "index.html" if document == "README.md" else re.sub("md$", "html", copy)
        if page not in pages:
            yield f"{document}: has no page"
        elif pages[page].source != os.path.basename(copy) or bytes_of(document) != bytes_of(os.path.join(folder, copy)):
            yield f"{page}: its source is not {document}"


def words_of(element):
    return set(re.findall(r"\w+", " ".join(element.itertext())))


def list_faults(pages):
    """What verify lists is in the pages that are made of it: mistakes have rows, ops are in both tables of what is judged."""
    listed = subprocess.run([VERIFY, "list", "--quirks"], capture_output=True, text=True, check=True).stdout
    mistakes = dict(re.findall(r"^([A-Z]\w+) +(\w+)", listed, re.M))
    if not mistakes or not {"quirks.html", "support.html"} <= set(pages):
        yield "verify lists no mistake, or a page that is made of what it lists is missing"
        return
    quirks, tables = pages["quirks.html"], list(pages["support.html"].main.iter("table"))
    there = words_of(quirks.main)
    yield from (f"quirks.html: lacks {name}" for name in mistakes if name not in quirks.ids or name not in there)
    if len(tables) != 2:
        yield f"support.html: has {len(tables)} tables, not that of the README and that of the results"
    for table in tables:
        yield from (f"support.html: lacks {op}" for op in sorted(set(mistakes.values()) - words_of(table)))


def faults_of(folder):
    pages, faults = read_pages(folder)
    navigation = {os.path.normpath(link) for link in pages["index.html"].navigation} if "index.html" in pages else set()
    for name, page in pages.items():
        faults += [f"{name}: {fault}" for fault in page.faults()]
        faults += [f"{name}: {why}" for why in (link_fault(folder, pages, name, link) for link in page.links) if why]
        here = {os.path.normpath(os.path.join(os.path.dirname(name), link)) for link in page.navigation}
        if name not in navigation or here != navigation:
            faults.append(f"{name}: is not in the navigation, or has another one")
    return faults + list(document_faults(folder, pages)) + list(list_faults(pages))


# ---- faults on purpose: what is changed in which page, and what is then said ----

PLANTS = [
    ("index.html", '<a href="porting.html">docs/porting.md', '<a href="nowhere.html">docs/porting.md', "leads to no file"),
    ("components/mla.html", '<a href="../numerics.html">', '<a href="../../numerics.html">', "leads to no file"),
    ("formats.html", 'id="filltrained"', 'id="filltrain"', "formats.html#filltrained leads to no anchor"),
    ("quirks.html", ' id="G1_bias_in_weights"', "", "quirks.html#G1_bias_in_weights leads to no anchor"),
    ("studies.html", 'src="figures/mtp_tokens.svg"', 'src="figures/mtp_token.svg"', "leads to no file"),
    ("harness.html", 'href="style.css"', 'href="/style.css"', "is not relative"),
    ("glossary.html", "</td>", "", "is not well-formed"),
    ("fast.html", "<footer>", "<p>", "is not well-formed"),
    ("claims.html", r"(?s)<main>.*<footer>", "<main><h1>Claims</h1><footer>", "is empty"),
    ("bench.html", "<title>.*</title>", "<title></title>", "has no title"),
    ("bench.html", "<p>", "<p>| a | b | |---|---| ", "has a table that is none"),
    ("porting.html", "<h2 id=[^>]*>", '<h2 id="validate-your-port-in-ten-minutes">', "has two anchors"),
    ("porting.html", "<p>", '<p><a href="index.html"><a href="index.html">x</a></a>', "has a link in a link"),
    ("numerics.html", '<li class="document"><a href="fast.html">.*</li>', "", "has another one"),
    ("quirks.html", r"M9_goes_on", "M9", "lacks M9_goes_on"),
    ("support.html", r"\bmtp_accept\b", "mtp", "lacks mtp_accept"),
    ("support.html", "(?s)<h2 .*</table>\n</div>", "", "has 1 tables"),
    ("gate.html", None, None, "docs/components/gate.md: has no page"),
    ("porting.md", "port", "prot", "its source is not docs/porting.md"),
]
REMOVED = {"gate.html": "components/gate.html"}


def plant(folder, page, pattern, text):
    """Once or everywhere: rows of mistakes and ops are named several times."""
    path = os.path.join(folder, REMOVED.get(page, page))
    if pattern is None:
        os.remove(path)
        return
    before = bytes_of(path).decode()
    after = re.sub(pattern, text, before, count=0 if page in ("quirks.html", "support.html") else 1)
    if before == after:
        sys.exit(f"site.py: {page} has no {pattern}: the plant is out of date")
    with open(path, "w", encoding="utf-8") as file:
        file.write(after)


def missed(folder, planted, said):
    """None, or what the rules say instead."""
    with tempfile.TemporaryDirectory(prefix="dsv3-site-") as copy:
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        plant(copy, *planted)
        faults = faults_of(copy)
    return None if any(said in fault for fault in faults) else faults


# ---- the test ----


def make_pages(folder):
    """With the results of a few cases, as behind verify run @ci."""
    subprocess.run([VERIFY, "run", "rmsnorm@tiny", "--backend=plain", "--format=jsonl", f"--out={folder}/results"],
                   capture_output=True, check=True)  # fmt: skip
    environment = os.environ | {"BUILD": BUILD, "RESULTS": f"{folder}/results/results.jsonl"}
    subprocess.run([SCRIPT, f"{folder}/pages"], env=environment, check=True)
    return f"{folder}/pages"


def complaint_fault():
    """None, or what is wrong with the sentence about a missing pandoc."""
    done = subprocess.run(["/bin/sh", SCRIPT, "--check"], env={"PATH": "/nowhere"}, capture_output=True, text=True)
    good = done.returncode == 2 and done.stderr.count("\n") == 1 and "package pandoc" in done.stderr and not done.stdout
    return None if good else f"without pandoc: code {done.returncode}, {done.stdout}{done.stderr}"


def main():
    if not shutil.which("pandoc"):
        print(f"pandoc is not installed\n0 passed, 0 failed, {len(PLANTS) + 2} skipped")
        return
    with tempfile.TemporaryDirectory(prefix="dsv3-site-") as folder:
        pages = make_pages(folder)
        wrong = ["\n".join(faults_of(pages)), complaint_fault()]
        planted = [] if wrong[0] else PLANTS
        for page, pattern, text, said in planted:
            faults = missed(pages, (page, pattern, text), said)
            wrong.append(None if faults is None else f"{page}, {pattern} planted: nobody says '{said}', but {faults}")
    failed = [w for w in wrong if w]
    print("\n".join(failed + [f"{len(wrong) - len(failed)} passed, {len(failed)} failed, {len(PLANTS) - len(planted)} skipped"]))
    sys.exit(bool(failed))


main()
