"""Separate environment with TensorFlow Model Garden, created on demand: its dependencies include a second TensorFlow.

``python benchmarks/peer_environment.py`` creates it and prints the path of its interpreter. The environment is in
``.bench/model-garden`` of the repository and is recreated when the pins below change.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIRECTORY = ROOT / ".bench" / "model-garden"

# In this order: the package's own requirement for TensorFlow is too loose, so it is installed without dependencies.
STAGES: tuple[tuple[str, ...], ...] = (
    ("tensorflow-cpu==2.18.1",),
    ("--no-deps", "tf-keras==2.18.0", "tf-models-official==2.18.0"),
    (
        "numpy<2.1",
        "absl-py",
        "pillow",
        "pyyaml",
        "scipy",
        "psutil",
        "py-cpuinfo",
        "immutabledict",
        "gin-config",
        "six",
        "opencv-python-headless==4.11.0.86",
        "pycocotools",
        "matplotlib",
        "pandas",
        "tensorflow-datasets==4.9.7",
        "tf-slim",
        "tensorflow-metadata==1.16.1",
        "protobuf==5.29.6",
    ),
)


def model_garden_python() -> Path:
    """Return the interpreter of an environment with Model Garden; create it if it is missing, which takes minutes.

    Raises:
        subprocess.CalledProcessError: a package could not be installed; the next call starts from scratch.
    """
    python = DIRECTORY / "bin" / "python"
    stamp = DIRECTORY / "pins.sha256"
    pins = hashlib.sha256(json.dumps(STAGES).encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == pins:
        return python
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    DIRECTORY.parent.mkdir(exist_ok=True)
    print(f"creating {DIRECTORY} (once) ...", file=sys.stderr)
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if uv:
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(DIRECTORY)], check=True)
        install = [uv, "pip", "install", "--quiet", "--python", str(python)]
    else:
        subprocess.run([sys.executable, "-m", "venv", str(DIRECTORY)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for stage in STAGES:
        subprocess.run([*install, *stage], check=True, stdout=sys.stderr)
    stamp.write_text(pins)
    return python


def model_garden_environ() -> dict[str, str]:
    """Return the environment variables for that interpreter: Model Garden needs Keras 2 (``tf_keras``), without GPU."""
    return os.environ | {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": ""}


if __name__ == "__main__":
    print(model_garden_python())
