#!/usr/bin/env python3
"""Installs into an empty folder, moves the installation away from the source tree, and works with it there.

usage: install.py        BUILD: the build folder; `make stage` has been run

Programs run in a folder of their own with an environment that knows nothing of the source tree; strace, where it is there and
may be used, says that they open nothing of it.

Last line: N passed, N failed, N skipped.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
BUILD = os.path.realpath(os.environ.get("BUILD", "build"))
CC = os.environ.get("CC", "gcc").split()[-1]


class Skip(Exception):
    """What this check needs and the machine lacks."""


def need(program):
    if not shutil.which(program):
        raise Skip(f"{program} is missing")


class Place:
    """An installation that was moved: `prefix`; a folder to work in: `work`; the folder it was installed into: `dest`."""

    def __init__(self, folder):
        self.folder = folder
        self.dest, self.prefix, self.work = (os.path.join(folder, n) for n in ("dest dir", "moved away", "work"))
        self.path = os.path.join(self.prefix, "bin")
        self.environment = {"PATH": f"{self.path}:/usr/local/bin:/usr/bin:/bin", "HOME": self.work, "LC_ALL": "C.UTF-8",
                            "XDG_CACHE_HOME": os.path.join(self.work, "cache"),
                            "PKG_CONFIG_PATH": os.path.join(self.prefix, "share/pkgconfig")}

    def run(self, command, code=0, folder=None):
        """What a shell command prints, both streams; it shall end with the code."""
        done = subprocess.run(["bash", "-c", command], cwd=folder or self.work, env=self.environment, text=True, timeout=300,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == code, f"{command}: exit code {done.returncode}:\n{done.stdout}"
        return done.stdout

    def make(self, goal, *words, code=0):
        environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
        done = subprocess.run(["make", "-s", "--no-print-directory", f"B={BUILD}", goal, *words], cwd=ROOT, env=environment,
                              text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == code, f"make {goal}: exit code {done.returncode}:\n{done.stdout}"
        return done.stdout


def files_below(folder):
    return sorted(os.path.relpath(os.path.join(at, name), folder) for at, folders, names in os.walk(folder)
                  for name in names + folders)


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


# ---- the copy ----


def is_copied(place):
    """All of the stage is there and may be read by everybody."""
    there = os.path.join(place.dest, "usr/local")
    wanted = set(read(BUILD, "stage.txt").split("\n")[:-1]) | {"lib/dsv3/installed.txt"}
    found = {f for f in files_below(there) if os.path.isfile(os.path.join(there, f))}
    assert found == wanted, f"differ: {sorted(found ^ wanted)[:5]}"
    for name in files_below(there):
        mode = os.stat(os.path.join(there, name)).st_mode & 0o777
        assert mode in (0o755, 0o644), f"{name} has mode {mode:o}"


def uninstall_leaves_nothing(place):
    """But for what somebody else put there."""
    there = os.path.join(place.folder, "second", "opt")
    os.makedirs(os.path.join(there, "share/man"))
    with open(os.path.join(there, "share/man/theirs"), "w", encoding="utf-8"):
        pass
    before = files_below(there)
    place.make("install", f"DESTDIR={place.folder}/second", "PREFIX=/opt")
    place.make("install", f"DESTDIR={place.folder}/second", "PREFIX=/opt")
    assert "bin/dsv3-verify" in files_below(there)
    place.make("uninstall", f"DESTDIR={place.folder}/second", "PREFIX=/opt")
    assert files_below(there) == before, f"left: {files_below(there)}"
    said = place.make("uninstall", f"DESTDIR={place.folder}/second", "PREFIX=/opt", code=2)
    assert "nothing is installed in" in said and "PREFIX" in said, said


def older_files_go(place):
    """What an older version had and this one has not."""
    there = os.path.join(place.folder, "third")
    stage = os.path.join(place.folder, "stage")
    shutil.copytree(os.path.join(BUILD, "stage"), stage)
    os.makedirs(os.path.join(stage, "share/old"))
    with open(os.path.join(stage, "share/old/file"), "w", encoding="utf-8"):
        pass
    for more in ("share/old/file\n", ""):
        with open(stage + ".txt", "w", encoding="utf-8") as file:
            file.write(more + read(BUILD, "stage.txt"))
        place.run(f"'{ROOT}/install/install.sh' '{stage}' '{there}'")
        assert os.path.exists(os.path.join(there, "share/old/file")) == bool(more)
    place.run(f"'{ROOT}/install/install.sh' --remove '{there}'")
    assert not os.path.exists(there)


def all_or_nothing(place):
    """A disk that is full, here a limit of files, and a folder that can't be made leave nothing, and one sentence."""
    there = os.path.join(place.folder, "fourth")
    copy = f"'{ROOT}/install/install.sh' '{BUILD}/stage' "
    said = place.run(f"ulimit -f 8000; {copy} '{there}'", code=2)
    assert said.count("\n") == 1 and "free some space" in said, said
    assert not os.path.exists(there), f"left: {files_below(there)}"
    os.makedirs(there)
    with open(os.path.join(there, "share"), "w", encoding="utf-8"):
        pass
    said = place.run(f"{copy} '{there}'", code=2)
    assert said.count("\n") == 1 and "PREFIX" in said, said
    assert files_below(there) == ["share"], f"left: {files_below(there)}"
    place.make("install", f"PREFIX={place.folder}/it's here")
    place.make("uninstall", f"PREFIX={place.folder}/it's here")
    assert not os.path.exists(os.path.join(place.folder, "it's here"))
    said = place.make("install", "PREFIX=relative", code=2)
    assert "begins with /" in said, said


# ---- programs, away from the source tree ----


def judges_plain(place):
    said = place.run("dsv3-verify run 'rmsnorm@tiny' 'linear@odd' --backend=plain")
    assert said.endswith("2 passed, 0 failed, 0 skipped\n"), said
    assert int(place.run("dsv3-verify list --cases @smoke | wc -l")) > 100


def judges_a_copied_port(place):
    """Built by the README's own commands, in an installation whose path has a blank."""
    need("pkg-config")
    block = read(ROOT, "README.md").split("pkg-config quotes a blank")[1].split("\n\n")[1]
    copy, build = block.split("\n    dsv3-verify run")[0].replace("eval cc ", f"eval {CC} ").split("\n", 1)
    place.run(copy)
    place.run(build)
    said = place.run("dsv3-verify run 'rmsnorm@odd:x=f32' --backend=./mine.so")
    assert said.endswith("1 passed, 0 failed, 0 skipped\n"), said
    text = read(place.work, "mine/rmsnorm.c")
    wrong = text.replace(" + (float)p->rms_norm_eps", "")
    assert wrong != text
    with open(os.path.join(place.work, "mine/rmsnorm.c"), "w", encoding="utf-8") as file:
        file.write(wrong)
    place.run(build.replace("mine.so", "wrong.so"))
    said = place.run("dsv3-verify run 'rmsnorm@odd:x=f32' --backend=./wrong.so", code=1)
    assert re.search(r"repro .*dsv3-verify\S* run ", said) and re.search(r"next .*dsv3-verify\S* show ", said), said


def writes_a_new_port(place):
    """Its commands are printed, and work."""
    place.run("dsv3-verify new c first | sed -n 's/^    //p' >commands")
    text = read(place.work, "commands").replace("cc ", f"{CC} ", 1).replace("rmsnorm@*", "rmsnorm@tiny:x=f32")
    assert "\ndsv3-verify run " in text, text
    said = place.run(text)
    assert said.endswith("1 passed, 0 failed, 0 skipped\n"), said


def judges_a_program(place):
    """The port that dsv3_port.py's own text has."""
    ports = os.path.join(place.prefix, "lib/dsv3/ports")
    place.run(f"cp '{ports}/dsv3_port.py' . && sed -n '/^--8<-- rmsnorm_port.py/,/^-->8--/p' dsv3_port.py | sed '1d;$d' >rmsnorm_port.py")
    said = place.run("dsv3-verify run 'rmsnorm@odd:x=f32' --backend=exec:'python3 rmsnorm_port.py'")
    assert said.endswith("1 passed, 0 failed, 0 skipped\n"), said


def judges_kernels(place):
    """CUDA on this processor, from the PTX that comes with it: no nvcc is needed."""
    need("g++")
    ports = os.path.join(place.prefix, "lib/dsv3/ports")
    said = place.run(f"dsv3-verify run 'rmsnorm@tiny:x=f32' --backend='cuda:{ports}/cuda/rmsnorm.ptx'")
    assert said.endswith("1 passed, 0 failed, 0 skipped\n"), said


def absent_ports_say_why(place):
    said = place.run("dsv3-verify run 'rmsnorm@tiny' --backend=transformers", code=3)
    assert "make transformers-port, in the source tree" in said, said


def opens_nothing_of_the_sources(place):
    need("strace")
    if subprocess.run(["strace", "-o", "/dev/null", "true"], check=False, stderr=subprocess.DEVNULL).returncode:
        raise Skip("strace may trace nothing here")
    for command in ("dsv3-verify run 'rmsnorm@tiny' --backend=plain", "dsv3-verify show rmsnorm@tiny", "dsv3-bench kv",
                    "dsv3-verify list --backends"):
        place.run(f"strace -f -qq -e trace=%file -o trace {command} >/dev/null")
        trace = read(place.work, "trace")
        assert os.path.join(place.prefix, "bin/dsv3-") in trace, "strace says nothing"
        seen = [line for line in trace.split("\n") if ROOT + "/" in line or BUILD + "/" in line]
        assert not seen, f"{command}: {seen[0]}"


def says_its_own_name(place):
    said = place.run("dsv3-verify --help; dsv3-bench --help; dsv3-verify run --help; dsv3-verify show; dsv3-verify run 'no@*'; true")
    assert "see dsv3-verify list" in said, said
    wrong = re.search(r"(?<!dsv3-)\b(verify|bench) [a-zA-Z-]", said)
    assert not wrong, f"{wrong.group(0)} in:\n{said}"


def version_names_the_commit(place):
    said = place.run("dsv3-verify --version; dsv3-bench --version").split("\n")
    commit = subprocess.run([os.path.join(ROOT, "install/commit.sh")], capture_output=True, text=True, check=True).stdout.strip()
    number = read(ROOT, "VERSION").strip()
    assert said[0].startswith(f"verify {number}, commit {commit}, abi "), said
    assert said[1].startswith(f"bench {number}, commit {commit}, abi "), said
    assert f"\n## [{number}] - " in read(ROOT, "CHANGELOG.md"), "CHANGELOG.md has no such version"


# ---- what belongs to a system ----


def manual_pages(place):
    """Every command has a page, every option of it stands there, and man has nothing to complain about."""
    man = os.path.join(place.prefix, "share/man/man1")
    for program in ("dsv3-verify", "dsv3-bench"):
        commands = re.findall(r"^  ([a-z]+)\b", place.run(f"{program} --help"), re.M)
        assert len(commands) > 5
        for command in commands:
            help_text = place.run(f"{program} {command} --help; true")
            if not help_text.startswith(f"usage: {program} {command}"):
                continue  # it has no help of its own
            page = read(man, f"{program}-{command}.1")
            for option in re.findall(r"^  (--[a-z-]+)", help_text, re.M):
                assert "\n.B " + option.replace("-", r"\-") in page, f"{program}-{command}.1 lacks {option}"
            assert re.search(r"\.SH NAME\n\S+ \\- \w", page), f"{program}-{command}.1 has no summary"
    if shutil.which("man"):
        for name in sorted(os.listdir(man)):
            said = place.run(f"MANWIDTH=80 man -l --warnings '{man}/{name}' 2>&1 >/dev/null")
            assert not said, f"{name}: {said}"


def completion(place):
    """The words that bash offers for a line, its cursor at the end."""
    folder = os.path.join(place.prefix, "share/bash-completion/completions")
    os.makedirs(os.path.join(place.work, "some/inner"))
    folders = {name for name in os.listdir(place.work) if os.path.isdir(os.path.join(place.work, name))}
    asked = [
        ("dsv3-verify", "ru", {"run"}),
        ("dsv3-verify", "run rms", {"rmsnorm@", "rmsnorm_backward@"}),
        ("dsv3-verify", "run rmsnorm@o", {"odd"}),
        ("dsv3-verify", "run @sm", {"smoke"}),
        ("dsv3-verify", "run rmsnorm@odd:hid", {"hidden_size="}),
        ("dsv3-verify", "run 'rmsnorm@odd;fill=ex", {"rmsnorm@odd;fill=exact"}),
        ("dsv3-verify", "run --diag", {"--diagnose"}),
        ("dsv3-verify", "run --backend=por", {"portable"}),
        ("dsv3-verify", "run --backend por", {"portable"}),
        ("dsv3-verify", "run --format=jsonl,te", {"jsonl,text"}),
        ("dsv3-verify", "run --format=text,te", set()),
        ("dsv3-verify", "run --backend=plain,p", {"plain,portable"}),
        ("dsv3-verify", "run rmsnorm@odd:x=", set()),
        ("dsv3-verify", "compare out --case=swiglu_b", {"swiglu_backward@"}),
        ("dsv3-verify", "bundle m", {"make"}),
        ("dsv3-verify", "mer", {"merge"}),
        ("dsv3-verify", "new py", {"python"}),
        ("dsv3-verify", "help ru", {"run"}),
        ("dsv3-verify", "list rms", {"rmsnorm", "rmsnorm_backward"}),
        ("dsv3-bench", "run @per", {"perf"}),
        ("dsv3-bench", "acc", {"accumulation"}),
        ("dsv3-verify", "run rmsnorm@odd --out ", folders),
        ("dsv3-verify", "run rmsnorm@odd --out=some", {"some"}),
        ("dsv3-verify", "run rmsnorm@odd --out some/i", {"some/inner"}),
        ("dsv3-verify", "run rmsnorm@odd --resume ", set()),
        ("dsv3-verify", "run rmsnorm@odd --jobs ", set()),
        ("dsv3-verify", "run --require=pl", {"plain"}),
        ("dsv3-verify", "run --shard ", {"auto"}),
        ("dsv3-verify", "show rmsnorm@odd --numerics ", set()),
        ("dsv3-verify", "model ", folders),
        ("dsv3-verify", "model some --format=b", {"bf16"}),
        ("dsv3-verify", "bundle make ", folders),
        ("dsv3-verify", "bundle make some rms", {"rmsnorm@", "rmsnorm_backward@"}),
        ("dsv3-verify", "bundle make some rmsnorm@odd --tensors=", {"f32"}),
        ("dsv3-verify", "compare ", set()),
        ("dsv3-verify", "compare out --case rmsnorm@o", {"odd"}),
        ("dsv3-verify", "new c ", folders),
        ("dsv3-verify", "merge ", set()),
        ("dsv3-bench", "plot bi", {"biases"}),
        ("dsv3-bench", "plot kv --out ", folders),
        ("dsv3-bench", "compare ", set()),
        ("dsv3-bench", "compare a.so b.so rms", {"rmsnorm@", "rmsnorm_backward@"}),
        ("dsv3-bench", "train --balance ", {"none", "aux", "bias"}),
        ("dsv3-bench", "train --dtype=b", {"bf16"}),
        ("dsv3-bench", "peers --peer=open", {"openblas"}),
        ("dsv3-bench", "record --model ", folders),
        ("dsv3-bench", "record --out ", set()),
    ]
    for program, line, wanted in asked:
        words = " ".join(shlex.quote(w) for w in [program, *line.replace("'", "").split(), *[""] * line.endswith(" ")])
        said = place.run(f"source '{folder}/{program}'; f=$(complete -p {program}) || exit 9; f=${{f#*-F }} f=${{f% *}}\n"
                         f"COMP_LINE=\"{program} {line}\" COMP_POINT=${{#COMP_LINE}}; COMP_WORDS=({words})\n"
                         "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); $f; printf '%s\\n' \"${COMPREPLY[@]}\"")
        assert set(said.split()) == wanted, f"{program} {line}: {said.split()}"
    for line, stops in (("run rmsnorm@odd:x=", True), ("run --format=text,te", True), ("run --resume=", False)):
        said = place.run(f"source '{folder}/dsv3-verify'; compopt() {{ echo \"$@\"; }}; COMP_LINE='dsv3-verify {line}'\n"
                         f"COMP_POINT=${{#COMP_LINE}}; COMP_WORDS=(dsv3-verify {line}); COMP_CWORD=2; _dsv3_verify")
        assert ("+o default" in said) == stops, f"files behind {line}: {said}"
    said = place.run(f"source '{folder}/dsv3-verify'; complete -p dsv3-verify")
    assert said.strip() == "complete -o default -F _dsv3_verify dsv3-verify", said


def package_config(place):
    need("pkg-config")
    said = place.run("pkg-config --modversion dsv3; pkg-config --cflags dsv3; pkg-config --libs dsv3").split("\n")
    assert said[0] == read(ROOT, "VERSION").strip(), said
    place.run(f"printf '#include <dsv3.h>\\nint main(void) {{ return DSV3_ABI != 1; }}\\n' >abi.c && "
              f'eval {CC} "$(pkg-config --cflags dsv3)" -o abi abi.c && ./abi')


# ---- where a program comes from ----


def commit_of_a_release(place):
    """git archive writes it into COMMIT; a tree without git doesn't know it, nor does one inside a stranger's repository."""
    tree = os.path.join(place.folder, "release")
    os.makedirs(os.path.join(tree, "install"))
    shutil.copy(os.path.join(ROOT, "install/commit.sh"), os.path.join(tree, "install"))
    shutil.copy(os.path.join(ROOT, "COMMIT"), tree)
    said = place.run("./install/commit.sh", folder=tree)
    assert said == "unknown\n", said
    if shutil.which("git"):
        place.run("git init -q . && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m a", folder=place.folder)
        said = place.run("./install/commit.sh", folder=tree)
        shutil.rmtree(os.path.join(place.folder, ".git"))
        assert said == "unknown\n", said
    with open(os.path.join(tree, "COMMIT"), "w", encoding="utf-8") as file:
        file.write("0123456789abcdef0123456789abcdef01234567\n")
    said = place.run("./install/commit.sh", folder=tree)
    assert said == "0123456789ab\n", said


PARTS = ["obj/verify/main.o", "obj/verify/version.o", "version.o", "obj/verify/judge/judge.o", "obj/ref/numerics.o", "obj/ref_dd/gate.o",
         "obj/fast/gate.o", "obj/portable/gate.o", "obj/ref/kernel_v3.o", "ports/plain.so"]


def same_bits_elsewhere(place):
    """The same sources in two folders make the same objects, and none names its folder."""
    need("git")
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if files.returncode:
        raise Skip("this is no git repository")
    trees = [os.path.join(place.folder, name) for name in ("one", "another-folder/with/a/longer/name")]
    for tree in trees:
        for name in files.stdout.split("\n")[:-1]:
            if os.path.isfile(os.path.join(ROOT, name)) and not name.startswith("docs/"):
                os.makedirs(os.path.dirname(os.path.join(tree, name)), exist_ok=True)
                shutil.copy(os.path.join(ROOT, name), os.path.join(tree, name))
        environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
        parts = ["build/" + p for p in PARTS if os.uname().machine == "x86_64" or "_v3" not in p]
        subprocess.run(["make", "-s", "-j2", f"CC={CC}", *parts], cwd=tree, env=environment, check=True)
    for part in parts:
        one, other = (open(os.path.join(tree, part), "rb").read() for tree in trees)
        assert one == other, f"{part} differs"
        assert place.folder.encode() not in one, f"{part} names its folder"


CHECKS = [is_copied, judges_plain, judges_a_copied_port, writes_a_new_port, judges_a_program, judges_kernels, absent_ports_say_why,
          opens_nothing_of_the_sources, says_its_own_name, version_names_the_commit, manual_pages, completion, package_config,
          uninstall_leaves_nothing, older_files_go, all_or_nothing, commit_of_a_release, same_bits_elsewhere]


def main():
    passed = failed = skipped = 0
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory(prefix="dsv3-install-") as folder:
        place = Place(folder)
        os.makedirs(place.work)
        place.make("install", f"DESTDIR={place.dest}")
        shutil.copytree(os.path.join(place.dest, "usr/local"), place.prefix)
        for check in CHECKS:
            if sys.argv[1:] and check.__name__ not in sys.argv[1:]:
                continue
            try:
                check(place)
                passed += 1
            except Skip as why:
                print(f"{check.__name__}: skipped: {why}")
                skipped += 1
            except (AssertionError, OSError, subprocess.SubprocessError) as fault:
                print(f"{check.__name__}: {fault}")
                failed += 1
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(failed > 0 or passed == 0)


main()
