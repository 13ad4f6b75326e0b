"""Paths of test files, which mirror the paths of the tested modules."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("operator/maskrcnn_operator", "trainer/maskrcnn_trainer")
PROGRAMS = ("scripts", "benchmarks")
TIERS = ("unit", "trainer", "apiserver")
OF_NO_MODULE = {
    "unit/bed": "the tests' own tools: control plane, nodes, soak",
    "unit/contracts": "import contracts and other rules over all files",
    "unit/docs": "pages, which belong to no module",
    "unit/examples": "the files of examples/",
    "unit/gitops": "the health script of Argo CD",
    "unit/goldens": "output of operator and trainer, byte by byte",
    "unit/images/test_dockerfiles.py": "the files of images/ next to operator/ and trainer/",
    "unit/images/test_check_horovod.py": "programs that the build of the gpu image runs",
    "unit/scripts/test_ci.py": ".ci/run, which is outside the folders of programs",
    "unit/scripts/test_makefile.py": "the Makefile",
    "unit/object_store/fence/test_enumeration.py": "all decisions of the fence together",
    "unit/object_store/test_no_keys.py": "a search for keys over all of the package",
    "unit/weights/test_key_lists.py": "the tests' own lists of tensors",
    "apiserver/runtime": "the running operator; files are named after scenarios",
    "apiserver/test_bed.py": "the tests' own control plane",
    "apiserver/test_gitops.py": "the health checks of Flux in the API server's CEL",
    "apiserver/test_kind_tutorial.py": "commands of a tutorial",
    "apiserver/test_report_pod.py": "a pod of a how-to guide",
    "apiserver/test_scale_writes.py": "the running operator with many experiments",
}
"""Folders and files below tests/ that mirror no module, with what they test."""


def modules() -> frozenset[str]:
    """Return the modules of both packages and the programs, such as ``core/graph`` and ``scripts/soak``."""
    in_packages = {
        path.relative_to(ROOT / package).with_suffix("").as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py"
    }
    programs = {f"{folder}/{path.stem}" for folder in PROGRAMS for path in (ROOT / folder).glob("*.*")}
    return frozenset(in_packages | programs)


def files_of_tests() -> list[str]:
    """Return the test files of TIERS, relative to tests/."""
    tests = ROOT / "tests"
    return sorted(path.relative_to(tests).as_posix() for tier in TIERS for path in (tests / tier).rglob("test_*.py"))


def is_exempt(path: str) -> bool:
    """Return whether a file or one of its parent folders is in OF_NO_MODULE."""
    return any(str(above) in OF_NO_MODULE for above in (PurePosixPath(path), *PurePosixPath(path).parents))


def mirrored(path: str, known: Collection[str]) -> str | None:
    """Return the module that a test file mirrors, ``None`` if there is none.

    The file has the folders and the name of the module, optionally followed by an underscore and a behavior; or its
    folder has the name of the module.
    """
    below_tier = PurePosixPath(*PurePosixPath(path).parts[1:])
    named = str(below_tier.with_name(below_tier.stem.removeprefix("test_")))
    prefixes = [named[:end] for end in (len(named), *_underscores(named))]
    return next((module for module in (*prefixes, str(below_tier.parent)) if module in known), None)


def _underscores(named: str) -> list[int]:
    return [at for at in range(len(named) - 1, named.rfind("/"), -1) if named[at] == "_"]


@pytest.mark.parametrize(
    ("path", "module"),
    [
        ("unit/core/test_graph.py", "core/graph"),
        ("unit/core/test_attempts_lost_and_stopped.py", "core/attempts"),
        ("unit/core/attempts/test_lost.py", "core/attempts"),
        ("unit/scripts/test_states_page.py", "scripts/states_page"),
        ("unit/test_cli.py", "cli"),
        ("unit/test_graph.py", None),
        ("unit/jobs/test_graph.py", None),
        ("unit/core/test_graphs.py", None),
        ("unit/core/test_histories.py", None),
    ],
)
def test_file_mirrors_the_module_of_its_path(path: str, module: str | None) -> None:
    known = {"core/graph", "core/attempts", "scripts/states_page", "cli"}
    assert mirrored(path, known) == module


def test_every_file_mirrors_a_module_or_is_listed_with_a_reason() -> None:
    known = modules()
    lost = [path for path in files_of_tests() if not is_exempt(path) and mirrored(path, known) is None]
    assert lost == [], f"name them after a module, see docs/contributing/testing.md: {lost}"


def test_exceptions_exist_and_are_needed() -> None:
    files, known = files_of_tests(), modules()
    for exception in OF_NO_MODULE:
        below = [path for path in files if f"{path}/".startswith(f"{exception}/")]
        assert any(mirrored(path, known) is None for path in below), exception
