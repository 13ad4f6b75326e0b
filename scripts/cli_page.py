"""Reference of the command lines, docs/reference/cli.md, from the parsers of both programs.

python -m scripts.cli_page [--check FILE]
"""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

from maskrcnn_operator.api.generated import write_or_check
from maskrcnn_operator.cli import build_parser as operator_parser
from maskrcnn_trainer.cli import build_parser as trainer_parser

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "cli.md"
USAGE_WIDTH = "100"
LINE = 120

INTRODUCTION = """# Command line

<!-- Generated: make manifests -->

`maskrcnn` runs one task. It reads long flags with `-` and with `_` (`--use-amp` is `--use_amp`). `maskrcnn-operator`
runs whole experiments. Abbreviated flags are not guessed, and invalid arguments exit with [64](exit-codes.md).
[Differences from TAO Toolkit](from-tao.md) also lists the flags that are read and ignored. To print the help:

<!-- run: here -->
```bash
maskrcnn train --help
maskrcnn-operator run --help
```
"""

PAGES = {"maskrcnn report": "[Read a report](../how-to/report.md) explains the page."}
"""Sentences about pages that explain a command."""

COMPUTED = {"lease_namespace": "the pod's namespace"}
"""Defaults that depend on where the command runs, by argument."""


def page() -> str:
    """Return the page as Markdown."""
    parts = [INTRODUCTION]
    with mock.patch.dict(os.environ, COLUMNS=USAGE_WIDTH):
        for parser in (trainer_parser(), operator_parser()):
            parts += [section(command) for command in commands(parser)]
    return "\n".join(parts)


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield the parsers of all commands below a parser, without aliases, in the order of its help."""
    actions = parser._actions  # noqa: SLF001 - argparse has no public list of a parser's actions
    below = [action for action in actions if isinstance(action, argparse._SubParsersAction)]  # noqa: SLF001 - as above
    if not below:
        yield parser
    for action in below:
        for child in dict.fromkeys(action.choices.values()):
            yield from commands(child)


def section(parser: argparse.ArgumentParser) -> str:
    """Return the section of a command: its description, usage, and a table of arguments."""
    actions = parser._actions  # noqa: SLF001 - argparse has no public list of a parser's actions
    rows = [row(action) for action in actions if is_shown(action)]
    table = "\n".join(["| Argument | Default | Description |", "|---|---|---|", *rows])
    usage = parser.format_usage().removeprefix("usage: ").rstrip().replace("\n       ", "\n")
    return f"## {parser.prog}\n\n{description(parser)}```text\n{usage}\n```\n\n{table}\n"


def is_shown(action: argparse.Action) -> bool:
    """Return whether the table has an argument: not those that are read and ignored, and not ``--help``."""
    return action.help != argparse.SUPPRESS and "--help" not in action.option_strings


def description(parser: argparse.ArgumentParser) -> str:
    """Return a command's description as a paragraph, with the page that explains it; empty if it has neither."""
    described = escaped(" ".join((parser.description or "").split()))
    sentences = filter(None, (described, PAGES.get(parser.prog)))
    text = textwrap.fill(" ".join(sentences), LINE, break_on_hyphens=False)
    return f"{text}\n\n" if text else ""


def row(action: argparse.Action) -> str:
    """Return the row of one argument."""
    names = ", ".join(f"`{name}`" for name in action.option_strings)
    value = value_of(action)
    argument = " ".join(filter(None, (names, f"`{value}`" if value else ""))) + (
        " (required)" if is_required(action) else ""
    )
    text = escaped(" ".join((action.help or "").split()).replace("%(default)s", str(action.default)).replace("%%", "%"))
    return f"| {argument} | {default(action)} | {text} |"


def is_required(action: argparse.Action) -> bool:
    """Return whether a flag must be given; the usage shows it for positional arguments."""
    return action.required and bool(action.option_strings)


def value_of(action: argparse.Action) -> str:
    """Return an argument's value as the usage shows it; empty for a switch."""
    if action.nargs == 0:
        return ""
    if action.choices:
        return "{" + ",".join(map(str, action.choices)) + "}"
    names = action.metavar or action.dest.upper()
    name = " ".join(names) if isinstance(names, tuple) else names
    return f"{name} ..." if action.nargs in ("+", "*") else name


def default(action: argparse.Action) -> str:
    """Return the default as code; empty for none, for an empty list, and for a switch."""
    if action.dest in COMPUTED:
        return COMPUTED[action.dest]
    shown = action.default not in (None, True, False, argparse.SUPPRESS, [], (), "")
    return f"`{action.default}`" if shown else ""


def escaped(text: str) -> str:
    """Return a text for a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the page, or with ``--check FILE`` compare it with a file."""
    return write_or_check(page, arguments, module="scripts.cli_page", description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
