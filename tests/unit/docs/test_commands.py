"""Commands in README.md and docs/: each block is run by a test or a script, or marked as not run with a reason.

docs/contributing/development.md has the convention.
"""

from __future__ import annotations

import ast
import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.apiserver.binaries import cache_folder

ROOT = Path(__file__).resolve().parents[3]
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "charts" / "maskrcnn-operator" / "README.md",
    ROOT / "examples" / "seed" / "README.md",
    ROOT / "images" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
)
COMMANDS = ("console", "bash")
NOT_COMMANDS = ("yaml", "text", "promql", "python", "json", "lua", "toml")
SECONDS = 60
"""Time that a block may take which runs here; each takes a second or two."""

_FENCE = re.compile(r"^( *)(`{3,})([^\n`]*)\n(.*?)^\1\2 *$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"^ *<!-- (not run|run): (.+?) -->$")
_MAKE = re.compile(r"(?:^|&& |; |\()make (?:-\w+ )*([a-z][\w-]*)", re.MULTILINE)
_MAKE_IN_TEXT = re.compile(r"`make (?:-\w+ )*([a-z][\w-]*)")
_VARIABLE = re.compile(r"\w+=.*")
_FILE_FLAGS = {"-f", "--filename", "--patch-file", "--values"}
_SHELL = {"&&", "||", "|", "&", ";"}


@dataclass(frozen=True)
class Block:
    """A block of commands on a page.

    Attributes:
        where: page and line of the fence.
        language: ``console`` or ``bash``.
        text: content without the indentation of the fence.
        mark: comment right above it: ``run`` or ``not run``, and what follows; empty if there is none.
    """

    where: str
    language: str
    text: str
    mark: tuple[str, str]

    @property
    def script(self) -> str:
        """Return the commands, without prompts and output."""
        if self.language == "bash":
            return self.text
        script, continues = [], False
        for line in self.text.splitlines():
            if line.startswith("$ ") or continues:
                script.append(line.removeprefix("$ "))
                continues = line.endswith("\\")
        return "\n".join(script)

    @property
    def output(self) -> list[str]:
        """Return the lines of output of a ``console`` block, but for those that stand for lines left out."""
        if self.language == "bash":
            return []
        commands = set(self.script.splitlines())
        lines = [line for line in self.text.splitlines() if line.removeprefix("$ ") not in commands]
        return [line.rstrip() for line in lines if line.strip() not in ("", "...")]


def fences(page: str) -> list[tuple[int, str, str, tuple[str, str]]]:
    """Return line, language, content, and mark of each fenced block of a page."""
    found = []
    for fence in _FENCE.finditer(page):
        above = page[: fence.start()].splitlines()
        mark = _MARK.match(above[-1]) if above else None
        text = "".join(line.removeprefix(fence[1]) for line in fence[4].splitlines(keepends=True))
        found.append((len(above) + 1, fence[3].strip(), text, (mark[1], mark[2]) if mark else ("", "")))
    return found


def blocks() -> list[Block]:
    """Return all blocks of commands."""
    return [
        Block(f"{path.relative_to(ROOT)}:{line}", language, text, mark)
        for path in PAGES
        for line, language, text, mark in fences(path.read_text(encoding="utf-8"))
        if language in COMMANDS
    ]


def words(script: str) -> set[str]:
    """Return the subcommands, flags, and files (``-f FILE``) of commands: what a test that runs them must have, too."""
    found: set[str] = set()
    for line in script.replace("\\\n", " ").splitlines():
        given = [word for word in shlex.split(line, comments=True) if not _VARIABLE.fullmatch(word)]
        start = True  # a subcommand follows the program
        program, before = "", ""
        for word in given:
            if before in _FILE_FLAGS and word != "-":
                found.add(Path(word).name)
            before = word
            if word in _SHELL:
                start, program = True, ""
            elif not program:
                program = word
            elif word.startswith("--"):
                found.add(word.partition("=")[0])
                start = False
            elif start and re.fullmatch(r"[a-z][a-z_-]+", word):
                found.add(word)
                start = False
    return found


@dataclass(frozen=True)
class Runner:
    """A file that a mark names.

    Attributes:
        strings: in Python its string literals without docstrings; otherwise all of its text.
        tests: names of its tests.
    """

    strings: tuple[str, ...]
    tests: frozenset[str] = frozenset()

    def has(self, word: str) -> bool:
        """Return whether it has a word as a whole word."""
        whole = re.compile(rf"(?<![\w-]){re.escape(word)}(?![\w-])")
        return any(whole.search(text) for text in self.strings)

    def reads(self, block: Block) -> bool:
        """Return whether it takes the block from the page: it has the page's name and a text of the block."""
        name = Path(block.where.partition(":")[0]).name
        return name in self.strings and any(len(text) > 7 and text in block.text for text in self.strings)


@functools.cache
def runner(path: Path) -> Runner:
    """Return what is known of a file that runs commands."""
    source = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return Runner((source,))
    tree = ast.parse(source)
    defined = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, defined) and has_docstring(node)
    }
    strings = tuple(
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    )
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    return Runner(strings, frozenset(name for name in functions if name.startswith("test_")))


def has_docstring(node: ast.AST) -> bool:
    """Return whether a module, class, or function has a docstring."""
    return ast.get_docstring(node, clean=False) is not None


def problem_of_mark(block: Block) -> str:
    """Return what is wrong with a block's mark; empty for nothing."""
    kind, rest = block.mark
    if not kind:
        return "has no mark: write <!-- run: ... --> or <!-- not run: REASON --> right above it"
    if kind == "not run":
        return "" if len(rest.split()) > 1 else "gives no reason that a reader understands"
    return "" if rest == "here" else problem_of_runners(block, rest)


def problem_of_runners(block: Block, names: str) -> str:
    """Return why the named files can't run a block; empty if they can."""
    runners = []
    for name in names.split(", "):
        path, _, test = name.partition("::")
        if not (ROOT / path).is_file():
            return f"names {path}, which doesn't exist"
        runners.append(runner(ROOT / path))
        if test and test not in runners[-1].tests:
            return f"names {name}, which doesn't exist"
    if any(found.reads(block) for found in runners):
        return ""
    missing = sorted(word for word in words(block.script) if not any(found.has(word) for found in runners))
    return f"has {', '.join(missing)}, which {names} hasn't" if missing else ""


def helm() -> Path | None:
    """Return helm, which may have been built for the tests of the chart; None if there is none."""
    installed = shutil.which("helm")
    built = sorted((cache_folder() / "tools").glob("helm-*/helm"))
    return Path(installed) if installed else built[-1] if built else None


def runs_here() -> list[Block]:
    """Return the blocks that this file runs, without those of helm on a machine that doesn't have it."""
    here = [block for block in blocks() if block.mark == ("run", "here")]
    return [block for block in here if helm() or "helm " not in block.script]


def test_each_block_names_its_language() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {language or 'no language'}"
        for path in PAGES
        for line, language, _, _ in fences(path.read_text(encoding="utf-8"))
        if language not in COMMANDS + NOT_COMMANDS and not language.startswith("{")
    ]
    assert not wrong, f"use one of {', '.join(COMMANDS + NOT_COMMANDS)}: {wrong}"


def test_commands_are_in_blocks_of_commands() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in PAGES
        for line, language, text, _ in fences(path.read_text(encoding="utf-8"))
        if language == "text" and re.search(r"^(?:\$ |make [a-z]|kubectl |helm )", text, re.MULTILINE)
    ]
    assert wrong == [], "use console or bash"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_block_of_commands_is_run_or_marked(page: Path) -> None:
    name = str(page.relative_to(ROOT))
    problems = [(block.where, problem_of_mark(block)) for block in blocks() if block.where.startswith(f"{name}:")]
    assert [f"{where} {problem}" for where, problem in problems if problem] == []


@pytest.mark.parametrize("block", runs_here(), ids=lambda block: block.where)
def test_block_that_runs_here_prints_its_output(block: Block, tmp_path: Path) -> None:
    for program, module in (("maskrcnn", "maskrcnn_trainer.cli"), ("maskrcnn-operator", "maskrcnn_operator.cli")):
        file = tmp_path / program
        file.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        file.chmod(0o755)
    if found := helm():
        (tmp_path / "helm").symlink_to(found)
    environment = os.environ | {
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "operator"), str(ROOT / "trainer")]),
        "COLUMNS": "80",
    }
    script = block.script.replace(".venv/bin/", "")
    done = subprocess.run(
        ["/usr/bin/env", "bash", "-euo", "pipefail", "-c", script],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    printed = [line.rstrip() for line in done.stdout.splitlines()]
    assert [line for line in block.output if line not in printed] == [], done.stdout


def test_make_knows_the_targets_of_all_pages() -> None:
    in_blocks = {target for block in blocks() for target in _MAKE.findall(block.script)}
    in_text = {target for path in PAGES for target in _MAKE_IN_TEXT.findall(path.read_text(encoding="utf-8"))}
    named = in_blocks | in_text
    assert named >= {"test", "e2e", "docs"}
    command = ["/usr/bin/env", "make", "-n", "-k", *sorted(named)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("mark", "problem"),
    [
        ("", "has no mark"),
        ("<!-- not run: cluster -->\n", "gives no reason"),
        ("<!-- not run: needs a cluster of yours -->\n", ""),
        ("<!-- run: here -->\n", ""),
        ("<!-- run: here -->\n\n", "has no mark"),
        ("<!-- run: tests/absent.py::test_it -->\n", "tests/absent.py, which doesn't exist"),
        ("<!-- run: tests/unit/docs/test_commands.py::test_absent -->\n", "test_absent, which doesn't exist"),
        ("<!-- run: scripts/states_page.py -->\n", "has --absolutely-absent, which scripts/states_page.py hasn't"),
        ("<!-- run: scripts/states_page.py, tests/unit/docs/test_commands.py -->\n", ""),
    ],
)
@pytest.mark.parametrize("indentation", ["", "   "])
def test_mark_of_a_block_is_checked(mark: str, problem: str, indentation: str) -> None:
    page = "".join(
        indentation + line if line.strip() else line
        for line in f"{mark}```bash\nkubectl get mrx --absolutely-absent\n```\n".splitlines(keepends=True)
    )
    [(_, language, text, found)] = fences(f"1. A step:\n\n{page}")
    assert problem in problem_of_mark(Block("page.md:3", language, text, found))
    assert bool(problem) == bool(problem_of_mark(Block("page.md:3", language, text, found)))


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("helm upgrade maskrcnn charts/x -n y --wait", {"upgrade", "--wait"}),
        ("make images && kind create cluster --name=x", {"images", "create", "--name"}),
        ("kubectl get mrx \\\n    --output=wide  # a comment --no", {"get", "--output"}),
        ("A=1 maskrcnn train -e SPEC | head", {"train"}),
        (".venv/bin/python scripts/x.py --minutes 3", {"--minutes"}),
        ("kubectl apply -f examples/claim.yaml -f b.yaml", {"apply", "claim.yaml", "b.yaml"}),
        ("helm install maskrcnn charts/x --values my/v.yaml", {"install", "--values", "v.yaml"}),
        ("cat x | kubectl apply -f -", {"apply"}),
    ],
)
def test_words_of_a_command_are_its_subcommand_long_flags_and_files(script: str, found: set[str]) -> None:
    assert words(script) == found


def test_output_of_a_console_block_is_apart_from_its_commands() -> None:
    block = Block("page.md:1", "console", "$ maskrcnn \\\n    --version\nmaskrcnn 1\n...\n$ true\n", ("run", "here"))
    assert block.script == "maskrcnn \\\n    --version\ntrue"
    assert block.output == ["maskrcnn 1"]


def test_docstrings_do_not_count_as_commands(tmp_path: Path) -> None:
    file = tmp_path / "test_it.py"
    file.write_text(
        '"""Run helm upgrade."""\n\ndef test_it():\n    """Use --wait."""\n    helm("install", "--set=a")\n'
    )
    found = runner(file)
    assert found.tests == {"test_it"}
    assert [word for word in ("install", "--set", "upgrade", "--wait", "inst") if found.has(word)] == [
        "install",
        "--set",
    ]


@pytest.mark.parametrize(
    ("strings", "reads"),
    [(("README.md", "ARGS=--play"), True), (("ARGS=--play",), False), (("README.md", "ARGS=--stop"), False)],
)
def test_test_that_takes_the_block_from_its_page_runs_all_of_it(strings: tuple[str, ...], reads: bool) -> None:
    block = Block("README.md:3", "bash", "make dev-cluster ARGS=--play-kubelet\n", ("run", "tests/x.py"))
    assert Runner(strings).reads(block) == reads
