"""Script of the tests on servers of object storage: what the smoke test of CI installs and runs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "test_object_storage.sh"
# stand-in for the Python of .venv: prints its arguments, and as pytest ends with the number in the file "ends"
PYTHON = """#!/usr/bin/env bash
echo "ran $*"
[ "$2" != pytest ] || exit "$(cat ends)"
"""


def run(folder: Path, *arguments: str, ends: int = 0) -> tuple[int, list[str]]:
    """Return the exit code, and the arguments of Python's runs."""
    (folder / "scripts").mkdir()
    shutil.copy(SCRIPT, folder / "scripts" / SCRIPT.name)
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    (folder / "ends").write_text(str(ends))
    done = subprocess.run(
        ["/bin/bash", str(folder / "scripts" / SCRIPT.name), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, [line[4:] for line in done.stdout.splitlines() if line.startswith("ran ")]


def test_smoke_test_installs_moto_alone(tmp_path: Path) -> None:
    code, (install, test) = run(tmp_path, "--smoke")
    assert code == 0
    assert install == "tests/object_storage/installs.py moto"
    assert test.split()[-2:] == ["tests/object_storage/test_smoke.py", "tests/object_storage/test_smoke_results.py"]


def test_all_servers_are_installed_for_all_tests(tmp_path: Path) -> None:
    code, (install, test) = run(tmp_path, "-k", "faults")
    assert code == 0
    assert install == "tests/object_storage/installs.py"
    assert test.endswith(" tests/object_storage -k faults")


@pytest.mark.parametrize("arguments", [["--smoke"], []])
def test_failed_tests_fail_the_script(tmp_path: Path, arguments: list[str]) -> None:
    assert run(tmp_path, *arguments, ends=5)[0] == 5
