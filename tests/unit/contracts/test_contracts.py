"""Import contracts of pyproject.toml: each violation is found in a copy of the packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
OPERATOR = "operator/maskrcnn_operator"
TRAINER = "trainer/maskrcnn_trainer"
BREAKS = [
    ("operator-layers", f"{OPERATOR}/core/graph.py", "import maskrcnn_operator.jobs.names"),
    ("operator-layers", f"{OPERATOR}/metrics/process.py", "import maskrcnn_operator.progress_endpoint.bounds"),
    ("operator-layers", f"{OPERATOR}/newcomer.py", ""),
    ("trainer-layers", f"{TRAINER}/spec/steps.py", "import maskrcnn_trainer.task.artifacts"),
    ("trainer-layers", f"{TRAINER}/task/files.py", "import maskrcnn_trainer.model_files.model_file"),
    ("trainer-layers", f"{TRAINER}/staging/plan.py", "import maskrcnn_trainer.model_files.model_file"),
    ("trainer-layers", f"{TRAINER}/object_store/client.py", "import maskrcnn_trainer.staging.plan"),
    ("trainer-layers", f"{TRAINER}/model/boxes.py", "import maskrcnn_trainer.data.records"),
    ("trainer-layers", f"{TRAINER}/newcomer.py", ""),
    ("operator-of-trainer", f"{OPERATOR}/core/graph.py", "import maskrcnn_trainer.task.artifacts"),
    ("operator-of-trainer", f"{OPERATOR}/local/runner.py", "import maskrcnn_trainer.task.cpus"),
    ("operator-of-trainer", f"{OPERATOR}/runtime/command.py", "import maskrcnn_trainer.newcomer"),
    ("operator-dependencies", f"{OPERATOR}/runtime/command.py", "import numpy"),
    ("operator-dependencies", f"{OPERATOR}/runtime/worker.py", "import requests"),
    ("operator-dependencies", f"{TRAINER}/shared/text.py", "import numpy"),
    ("trainer-without-operator", f"{TRAINER}/task/reporter.py", "import maskrcnn_operator.api.reasons"),
    ("trainer-dependencies", f"{TRAINER}/task/posting.py", "import aiohttp"),
    ("trainer-dependencies", f"{TRAINER}/training/step.py", "import httpx"),
    ("trainer-dependencies", f"{TRAINER}/object_store/client.py", "import obstore"),
    ("specification-alone", f"{TRAINER}/spec/steps.py", "import maskrcnn_trainer.task.environment"),
    ("specification-alone", f"{TRAINER}/spec/steps.py", "import maskrcnn_trainer.newcomer"),
    ("specification-alone", f"{TRAINER}/spec/rules.py", "import numpy"),
    ("local-without-kubernetes", f"{OPERATOR}/local/runner.py", "import maskrcnn_operator.metrics.process"),
    ("local-without-kubernetes", f"{OPERATOR}/local/runner.py", "import maskrcnn_operator.newcomer"),
    ("local-without-kubernetes", f"{OPERATOR}/local/runner.py", "import kubernetes"),
    ("decisions-without-readers", f"{OPERATOR}/core/graph.py", "from maskrcnn_trainer.spec.reading import read_text"),
    (
        "decisions-without-readers",
        f"{OPERATOR}/jobs/names.py",
        "from maskrcnn_operator.api.generated import write_or_check",
    ),
    ("decisions-without-readers", f"{OPERATOR}/api/status.py", "import maskrcnn_trainer.spec.importing"),
    ("decisions-without-readers", f"{TRAINER}/spec/steps.py", "import maskrcnn_trainer.spec.reading"),
    (
        "decisions-without-readers",
        f"{OPERATOR}/core/graph.py",
        "from maskrcnn_trainer.spec.store_config import read_store_config",
    ),
    ("decisions-without-io", f"{OPERATOR}/api/status.py", "from pathlib import Path"),
    ("decisions-without-io", f"{OPERATOR}/core/graph.py", "import subprocess"),
    ("decisions-without-io", f"{OPERATOR}/jobs/names.py", "from urllib.request import urlopen"),
    ("decisions-without-io", f"{TRAINER}/spec/steps.py", "import time"),
    ("decisions-without-io", f"{TRAINER}/object_store/fence/claiming.py", "import random"),
    (
        "decisions-without-io",
        f"{TRAINER}/object_store/fence/cleaning.py",
        "import maskrcnn_trainer.object_store.client",
    ),
    ("decisions-without-io", f"{OPERATOR}/core/plan.py", "import sqlite3"),
    ("decisions-without-io", f"{OPERATOR}/core/plan.py", "import maskrcnn_trainer.task.files"),
]
"""Identifier of a contract, a file, and the line that breaks the contract when added to that file."""


def contracts() -> set[str]:
    configured = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return {contract["id"] for contract in configured["tool"]["importlinter"]["contracts"]}


def check(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run lint-imports over the packages under ``root``."""
    path = os.pathsep.join(str(root / folder) for folder in ("operator", "trainer"))
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache", *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "300"},  # so that lines aren't wrapped
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for folder in ("operator", "trainer"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    (tmp_path / "scripts").mkdir()
    for file in ("pyproject.toml", "scripts/import_contracts.py"):
        shutil.copy(ROOT / file, tmp_path / file)
    return tmp_path


def test_packages_keep_every_contract(copy: Path) -> None:
    done = check(copy)
    assert done.returncode == 0, done.stdout
    assert f"Contracts: {len(contracts())} kept, 0 broken." in done.stdout


def test_every_contract_is_broken_by_some_case() -> None:
    assert {contract for contract, _, _ in BREAKS} == contracts()


def test_unneeded_exception_is_found(copy: Path) -> None:
    config = copy / "pyproject.toml"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("api.task_kinds -> pathlib", "core.plan -> pathlib"), encoding="utf-8")
    done = check(copy, "--contract", "decisions-without-io")
    assert "maskrcnn_operator.core.plan -> pathlib: in exceptions, but not in the code" in done.stdout
    assert "maskrcnn_operator.api.task_kinds -> pathlib: neither in allowed_packages nor in exceptions" in done.stdout
    assert done.returncode == 1


@pytest.mark.parametrize(("contract", "file", "line"), BREAKS)
def test_import_against_a_contract_is_found(copy: Path, contract: str, file: str, line: str) -> None:
    changed = copy / file
    with changed.open("a", encoding="utf-8") as source:
        source.write(f"{line}\n")
    if line.endswith(".newcomer"):
        imported = line.rsplit(maxsplit=1)[-1].replace(".", "/")
        folder = "operator" if imported.startswith("maskrcnn_operator") else "trainer"
        (copy / folder / f"{imported}.py").touch()
    done = check(copy, "--contract", contract)
    assert "Contracts: 0 kept, 1 broken." in done.stdout, done.stdout + done.stderr
    module = ".".join(changed.relative_to(copy).with_suffix("").parts[1:])
    assert module in done.stdout
    assert done.returncode == 1
