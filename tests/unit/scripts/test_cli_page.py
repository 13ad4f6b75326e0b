"""Reference of the command lines: it is up to date, and shows what a reader needs of each argument."""

from __future__ import annotations

import argparse
import re

import pytest
from scripts.cli_page import PAGE, PAGES, commands, default, main, page, row, section

from maskrcnn_trainer.task.arguments import IgnoredFlag


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="tool", description="Do\n  two | things.", allow_abbrev=False)
    made.add_argument("-n", "--number", type=int, default=3, required=True, help="how many (100%% or %(default)s)")
    made.add_argument("--old", action=IgnoredFlag)
    made.add_argument("--flag", action="store_true", help="<tag> | *")
    made.add_argument("--kind", choices=["a", "b"], nargs="+", default=[], help="kinds")
    made.add_argument("file", help="input")
    return made


def test_committed_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make manifests`"
    assert main(["--check", str(PAGE)]) == 0


def test_page_does_not_depend_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert PAGE.read_text(encoding="utf-8") == page()


def test_stale_page_is_reported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("scripts.cli_page.page", lambda: "another")
    assert main(["--check", str(PAGE)]) == 1
    assert "make manifests" in capsys.readouterr().err


def test_commands_are_the_innermost_without_aliases() -> None:
    outer = argparse.ArgumentParser(prog="tool")
    below = outer.add_subparsers()
    below.add_parser("one", aliases=["eins"])
    below.add_parser("two").add_subparsers().add_parser("three")
    assert [found.prog for found in commands(outer)] == ["tool one", "tool two three"]


def test_section_has_description_usage_and_shown_arguments() -> None:
    text = section(parser())
    assert text.startswith("## tool\n\nDo two \\| things.\n\n```text\ntool ")
    assert "--old" not in text.partition("| Argument")[2]
    assert "--help" not in text.partition("| Argument")[2]


def test_page_that_explains_a_command_follows_its_description(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PAGES, "tool", "[A page](page.md) explains it.")
    assert section(parser()).startswith("## tool\n\nDo two \\| things. [A page](page.md) explains it.\n\n")


def test_pages_that_explain_commands_exist() -> None:
    for text in PAGES.values():
        for link in re.findall(r"\]\(([^)#]+)", text):
            assert (PAGE.parent / link).exists()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("number", "| `-n`, `--number` `NUMBER` (required) | `3` | how many (100% or 3) |"),
        ("flag", "| `--flag` |  | &lt;tag> \\| \\* |"),
        ("kind", "| `--kind` `{a,b}` |  | kinds |"),
        ("file", "| `FILE` |  | input |"),
    ],
)
def test_row_of_an_argument(name: str, expected: str) -> None:
    [action] = [action for action in parser()._actions if action.dest == name]
    assert row(action) == expected


def test_default_that_depends_on_the_machine_is_described() -> None:
    action = argparse.ArgumentParser().add_argument("--lease-namespace", default="of-this-pod")
    assert "of-this-pod" not in default(action)
    assert default(action)
