"""Check a release, and print its notes.

    release.py check [--version VERSION] [--repository REGISTRY/OWNER]
    release.py notes VERSION [--output FILE]

VERSION may be a tag, such as v0.2.0. The version of pyproject.toml is the project's; `check` compares with it what else
names a version: the chart, image names in pages and manifests, and the Git tags that GitOps layouts follow. With a
version it also requires that this is the project's, and that CHANGELOG.md has a section with its date. In a GitHub
workflow it sets the output `version`.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("charts", "deploy", "docs", "examples", "images")
"""Folders whose pages and manifests name versions of this project; tests also name older ones."""
NAMED = re.compile(
    r"maskrcnn-(?:operator|trainer):(\d+\.\d+\.\d+)"  # an image
    r"|targetRevision: v(\d+\.\d+\.\d+)|ref: \{tag: v(\d+\.\d+\.\d+)\}"  # a layout's Git tag
)
VERSION = re.compile(r"\d+\.\d+\.\d+")
REPOSITORY = re.compile(r"[a-z0-9.-]+(?::\d+)?(?:/[a-z0-9._-]+)+")


class ReleaseError(Exception):
    """A release is not as it should be; the message has one line for each problem."""


def project_version(root: Path) -> str:
    """Return the version in pyproject.toml, such as ``0.2.0``."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    return str(project["project"]["version"])


def notes(changelog: str, version: str) -> str:
    """Return the section of a version in the text of CHANGELOG.md, without its heading.

    Raises:
        ReleaseError: there is no such section, or it is empty.
    """
    heading = rf"^## \[?{re.escape(version)}\]?(?: - \d{{4}}-\d\d-\d\d)?\n"
    found = re.search(rf"{heading}(.*?)(?=^## |^\[[^\]]+\]: |\Z)", changelog, re.MULTILINE | re.DOTALL | re.IGNORECASE)
    if found is None or not found[1].strip():
        raise ReleaseError(f"CHANGELOG.md has no section {version}, or it is empty")
    return found[1].strip() + "\n"


def other_versions(root: Path, version: str) -> list[str]:
    """Return a line for each place that names another version of this project than ``version``."""
    chart = yaml.safe_load((root / "charts" / "maskrcnn-operator" / "Chart.yaml").read_text(encoding="utf-8"))
    found = [
        f"charts/maskrcnn-operator/Chart.yaml: {key} is {chart[key]}, pyproject.toml has {version}"
        for key in ("version", "appVersion")
        if chart[key] != version
    ]
    for path in _files(root):
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            for match in NAMED.finditer(line):
                if version not in match.groups():
                    found.append(f"{path.relative_to(root)}:{number}: {match[0]}, pyproject.toml has {version}")
    return found


def problems(root: Path, version: str | None, repository: str | None) -> list[str]:
    """Return what prevents a release, one line each.

    Args:
        root: of the project.
        version: to be released, ``None`` to check only that the project names one version.
        repository: registry and owner that images are pushed to, ``None`` if nothing is pushed.
    """
    own = project_version(root)
    found = other_versions(root, own)
    if not VERSION.fullmatch(own):
        found.append(f"pyproject.toml: version {own} isn't of the form 1.2.3, which a chart has as well")
    if version is not None and version != own:
        found.append(f"version {version} is to be released, and pyproject.toml has {own}")
    if version is not None:
        changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
        if not re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE):
            found.append(f"CHANGELOG.md has no heading '## [{version}] - YYYY-MM-DD'")
    if repository is not None and not REPOSITORY.fullmatch(repository):
        found.append(f"{repository!r} isn't REGISTRY/OWNER in lower case: set both repository variables")
    return found


def _files(root: Path) -> Iterator[Path]:
    yield root / "README.md"
    for folder in FOLDERS:
        yield from sorted(path for path in (root / folder).rglob("*") if path.suffix in {".md", ".yaml", ".yml"})


def main(arguments: list[str]) -> int:
    """Carry out one command; return 1 if it fails."""
    parser = argparse.ArgumentParser(description="Check a release, and print its notes.")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="compare all places that name a version")
    check.add_argument("--version", type=lambda text: text.removeprefix("v"), help="version or tag to be released")
    check.add_argument("--repository", help="registry and owner that images are pushed to")
    printed = commands.add_parser("notes", help="print one section of CHANGELOG.md")
    printed.add_argument("version", type=lambda text: text.removeprefix("v"), help="version, tag, or Unreleased")
    printed.add_argument("--output", type=Path, help="file to write as well")
    given = parser.parse_args(arguments)
    try:
        if given.command == "notes":
            text = notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), given.version)
            sys.stdout.write(text)
            if given.output:
                given.output.parent.mkdir(parents=True, exist_ok=True)
                given.output.write_text(text, encoding="utf-8")
        else:
            found = problems(ROOT, given.version or None, given.repository or None)
            if found:
                raise ReleaseError("\n".join(found))
            sys.stdout.write(f"version {project_version(ROOT)}\n")
            if os.environ.get("GITHUB_OUTPUT"):
                with Path(os.environ["GITHUB_OUTPUT"]).open("a", encoding="utf-8") as outputs:
                    outputs.write(f"version={project_version(ROOT)}\n")
    except ReleaseError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
