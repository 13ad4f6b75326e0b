"""Check docstrings, comments, messages, pages, and names of tests for wording that this project avoids.

    check_words.py [PATH ...]

Each finding is one line, PATH:LINE: the text and what to write instead. Without paths all tracked files are checked.
CONTRIBUTING.md has the rules. Other names in code are not checked, and neither are generated or recorded files.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TEXT_SUFFIXES = {".md", ".yaml", ".yml", ".sh", ".tpl", ".toml", ".txt", ".in", ".cfg"}
TEXT_NAMES = {"Makefile", "Dockerfile", "run"}
NOT_CHECKED = re.compile(
    r"scripts/check_words\.py|tests/unit/scripts/test_check_words\.py"
    r"|requirements/|LICENSE|.*golden.*|.*/recorded/.*|crds/|charts/.*/files/|.*\.lock"
)
NO_NOUN = r"no (?!longer|more|less|such|different|need|room|other|\w+(?:er|ier) than)\w+"
OPENING = re.compile(r"(?:What|Whether|Where|How|Which|Who|Whose|When)\b(?! possible)")
PHRASES = [
    (re.compile(pattern, re.IGNORECASE), instead)
    for pattern, instead in (
        (r"\banew\b", "again, or re-"),
        (r"\b(?:whoever|whomever)\b", "the user, the caller, the client"),
        (r"\b(?:nobody|somebody|everybody)(?: else)?\b", "no user, another controller or user, all"),
        (r"\bfor want of\b", "because ... is missing"),
        (r"\b(?:goes|went|go|going) on\b(?! (?:to|for|the|a|this|that|their|its)\b)", "continue, resume"),
        (rf"(?<!there )\b(?:is|are|was|were) {NO_NOUN}", "isn't a, invalid, there is no"),
        (r"\bbesides?\b", "next to, compared with, in addition"),
        (r"\b(?:tells?|told|telling)\b", "report, state, show, log"),
        (r"\b(?:says|said|saying)\b", "state, name, specify"),
        (r"\b(?:wants|wanted|wanting)\b", "need, request, expect"),
        (r"\b(?:stands|stood)\b(?!(?: in)? for|-in)", "is, lies"),
        (r"\bmend(?:s|ed|ing)?\b", "fix"),
        (r"\blast words?\b", "termination message"),
        (r"\b\d+ %(?![\w(])", "30%"),
    )
]
NAMES_OF_TESTS = [
    (re.compile(f"(?:^|_)({pattern})(?=_|$)"), instead)
    for pattern, instead in (
        (r"anew", "again, or re_"),
        (r"whoever|nobody|somebody|everybody", "another user, no user, all users"),
        (r"tells?|told", "is_reported, is_logged, distinguishes"),
        (r"says?|said", "is_reported, names"),
        (r"wants?|wanted", "needs, requests, expects"),
        (r"stands?|stood", "is, precedes"),
        (r"(?:is|are)_fine", "is_accepted"),
        (r"in_peace", "is_left_unchanged"),
        (r"colo[u]rs?|cancel[l]ed|behavi[o]urs?", "the American spelling"),
    )
]


def prose_of_python(source: str) -> Iterator[tuple[int, str]]:
    """Yield line number and text of each comment and of each string that has a space in it."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT or (token.type == tokenize.STRING and " " in token.string):
            for offset, line in enumerate(token.string.splitlines()):
                yield token.start[0] + offset, line


def openings_of_python(source: str) -> Iterator[tuple[int, str]]:
    """Yield line number and text of each docstring that opens with a relative clause."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring and OPENING.match(docstring):
                yield node.body[0].lineno, docstring.split("\n")[0]


def names_of_tests(source: str) -> Iterator[tuple[int, str]]:
    """Yield line number and name of each test function."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node.lineno, node.name


def findings(path: str, text: str) -> list[str]:
    """Return what to change in a file, one line each.

    Args:
        path: of the file, relative to the project's root; its suffix decides how the text is read.
        text: content of the file.
    """
    found: list[tuple[int, str]] = []
    prose = list(prose_of_python(text)) if path.endswith(".py") else list(enumerate(text.splitlines(), 1))
    for number, line in prose:
        for pattern, instead in PHRASES:
            found += [(number, f"{match[0]!r}: write {instead}") for match in pattern.finditer(line)]
    if path.endswith(".py"):
        found += [
            (number, f"{opening!r}: open with a verb, or a noun for a class")
            for number, opening in openings_of_python(text)
        ]
        found += [
            (number, f"{name!r}: write {instead} instead of {match[1]!r}")
            for number, name in names_of_tests(text)
            for pattern, instead in NAMES_OF_TESTS
            for match in pattern.finditer(name)
        ]
    return [f"{path}:{number}: {message}" for number, message in sorted(found)]


def is_checked(path: str) -> bool:
    """Return whether a tracked file holds prose of this project."""
    file = Path(path)
    has_prose = file.suffix in TEXT_SUFFIXES | {".py"} or file.name in TEXT_NAMES
    return has_prose and not NOT_CHECKED.match(path)


def main(paths: list[str]) -> int:
    """Print all findings; return 1 if there are any."""
    command = ["git", "ls-files", *paths]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [
        line
        for path in listed.stdout.splitlines()
        if is_checked(path) and (ROOT / path).is_file()
        for line in findings(path, (ROOT / path).read_text(errors="replace"))
    ]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
