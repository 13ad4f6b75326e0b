"""Arguments of the builds that ``scripts/images.sh`` starts, with a stand-in for docker."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(name="run")
def _run(tmp_path: Path) -> object:
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\n[ "$1" = info ] || echo "$@" >> {tmp_path}/calls\n')
    docker.chmod(0o755)

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PATH": f"{tmp_path}:/usr/bin:/bin", "XDG_CACHE_HOME": str(tmp_path), **variables}
        command = [str(ROOT / "scripts" / "images.sh"), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return run


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


def test_gpu_image_is_built_on_request_with_docker(run: object, tmp_path: Path) -> None:
    assert callable(run)
    done = run("gpu", TENSORRT="tensorrt-cu12==10.7.0")
    assert done.returncode == 0, done.stderr
    [build] = calls(tmp_path)
    assert "--build-arg TENSORRT=tensorrt-cu12==10.7.0 --target gpu -t maskrcnn-trainer:" in build
    assert "-gpu -f " in build
    assert "BASE=" not in build


def test_operator_and_cpu_are_the_default(run: object, tmp_path: Path) -> None:
    assert callable(run)
    assert run().returncode == 0
    operator, cpu = calls(tmp_path)
    assert "/images/operator/Dockerfile" in operator
    assert " --target cpu -t maskrcnn-trainer:" in cpu


def test_unknown_image_is_refused(run: object) -> None:
    assert callable(run)
    done = run("tpu")
    assert done.returncode == 64
    assert "unknown argument tpu; expected --local, --archive DIR, operator, cpu, or gpu" in done.stderr
