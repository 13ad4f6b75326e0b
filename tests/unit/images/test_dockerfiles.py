"""Checks of the text of the Dockerfiles, without building them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILES = sorted((ROOT / "images").glob("*/Dockerfile"))
FINAL = {"operator": ("",), "trainer": ("cpu", "gpu")}


def instructions(file: Path) -> list[str]:
    """Return the instructions of a Dockerfile, with continued lines joined and without comments."""
    lines = [line for line in file.read_text().splitlines() if not line.lstrip().startswith("#")]
    return [line for line in "\n".join(lines).replace("\\\n", " ").splitlines() if line.strip()]


def stages(file: Path) -> dict[str, list[str]]:
    """Return the instructions of each stage by its name; the last stage of a file may have no name."""
    found: dict[str, list[str]] = {}
    name = None
    for line in instructions(file):
        if line.startswith("FROM "):
            match = re.search(r" AS (\S+)$", line)
            name = match[1] if match else ""
            found[name] = [line]
        elif name is not None:
            found[name].append(line)
    return found


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.parent.name)
def test_every_stage_and_file_that_is_copied_is_there(file: Path) -> None:
    known = stages(file)
    for lines in known.values():
        for line in lines:
            for source in re.findall(r"from=([^\s,]+)", line):
                assert source in known, line
            if line.startswith("COPY ") and "--from" not in line:
                for path in line.split()[1:-1]:
                    assert (ROOT / path).exists(), line
    bases = [line.split()[1] for lines in known.values() for line in lines[:1]]
    arguments = set(re.findall(r"^ARG (\w+)", file.read_text(), re.MULTILINE))
    for base in bases:
        assert base in known or base.strip("${}") in arguments, base


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.parent.name)
def test_shipped_images_have_no_compiler_and_no_root(file: Path) -> None:
    for name in FINAL[file.parent.name]:
        lines = stages(file)[name]
        assert "USER 65532:65532" in lines
        text = "\n".join(lines)
        assert not re.search(r"g\+\+|gcc|cmake|pip install|devel", text)
        assert "org.opencontainers.image.version" in text
        assert any(line.startswith("ENTRYPOINT") for line in lines)


def test_packages_are_locked() -> None:
    for file in DOCKERFILES:
        for lines in stages(file).values():
            for command in re.findall(r"pip install[^&;]*", "\n".join(lines)):
                assert "--require-hashes" in command or "--no-index" in command or "TENSORRT" in command, command


def test_both_targets_of_the_trainer_end_in_the_same_code() -> None:
    known = stages(ROOT / "images" / "trainer" / "Dockerfile")
    same = [line for line in known["cpu"] if line.startswith(("COPY --from=own", "ENV", "WORKDIR", "ENTRYPOINT"))]
    assert len(same) == 4
    assert all(line in known["gpu"] for line in same)


def test_gpu_image_has_the_base_and_the_python_of_the_cpu_image() -> None:
    file = ROOT / "images" / "trainer" / "Dockerfile"
    known = stages(file)
    assert known["gpu"][0].split()[1] == known["cpu"][0].split()[1] == known["gpu-locked"][0].split()[1] == "${BASE}"
    defaults = dict(re.findall(r"^ARG (BASE|COMPILERS|TENSORRT)=(.*)$", file.read_text(), re.MULTILINE))
    assert defaults == {"BASE": "python:3.11-slim-bookworm", "COMPILERS": "python:3.11-slim-bookworm", "TENSORRT": ""}


def test_gpu_image_requests_the_driver_and_adds_no_cuda() -> None:
    [variables] = [line for line in stages(ROOT / "images" / "trainer" / "Dockerfile")["gpu"] if "NVIDIA_" in line]
    assert variables.split()[1:] == [
        "NVIDIA_VISIBLE_DEVICES=all",
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        "LD_LIBRARY_PATH=/usr/local/nvidia/lib:/usr/local/nvidia/lib64",
    ]


def test_horovod_of_the_gpu_image_has_nccl_and_is_checked() -> None:
    known = stages(ROOT / "images" / "trainer" / "Dockerfile")
    assert "/build/trainer/horovod_gpu.sh /opt/maskrcnn /build/out" in known["gpu-horovod"][-1]
    assert any("from=gpu-horovod" in line for line in known["gpu-environment"])
    script = (ROOT / "images" / "trainer" / "horovod_gpu.sh").read_text()
    assert "HOROVOD_GPU_OPERATIONS=NCCL" in script
    assert "check_horovod.py" in script.splitlines()[-1]


@pytest.mark.parametrize(
    "script", sorted((ROOT / "images").rglob("*.sh")) + sorted((ROOT / "scripts").glob("*.sh")), ids=str
)
def test_scripts_parse(script: Path) -> None:
    shell = "bash" if "bash" in script.read_text().splitlines()[0] else "sh"
    subprocess.run([shell, "-n", str(script)], check=True)
    assert script.stat().st_mode & 0o111
