"""A training step that XLA compiles, compared with the plain one on the same batches."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from maskrcnn_trainer.training.step import LOSSES

pytestmark = [pytest.mark.trainer, pytest.mark.slow]

SCRIPT = Path(__file__).with_name("xla_step.py")
# TensorFlow reads both variables only when it is loaded: the first makes it write a line for each compilation.
LOGGING = {"TF_CPP_VMODULE": "device_compilation_profiler=1", "TF_CPP_MIN_LOG_LEVEL": "0"}


@dataclass(frozen=True)
class Compared:
    """Output of the script."""

    values: Mapping[str, np.ndarray]
    log: str


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    output = tmp_path_factory.mktemp("xla") / "steps.npz"
    ran = subprocess.run(
        [sys.executable, str(SCRIPT), str(output)],
        env={**os.environ, **LOGGING},
        stderr=subprocess.PIPE,
        text=True,
        timeout=600,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return Compared(dict(np.load(output)), ran.stderr)


def assert_close(compared: Compared, differences: np.ndarray) -> None:
    by_name = dict(zip(compared.values["names"], differences, strict=True))
    assert len(by_name) > 50
    for name, difference in by_name.items():
        assert difference < (1e-4 if name in LOSSES else 1e-3), name


def test_compiled_step_has_the_losses_and_gradients_of_the_plain_one(compared: Compared) -> None:
    assert_close(compared, compared.values["differences"].max(axis=0))


def test_step_compiled_for_a_gpu_has_the_losses_and_gradients_of_the_plain_one(compared: Compared) -> None:
    """Rounded pixels with padding, indices of 64 bits, and suppression by products of float16 matrices."""
    assert_close(compared, compared.values["differences_for_gpu"])
    assert "float16" in compared.values["products_for_gpu"]
    assert "int64" in compared.values["indices_for_gpu"]


def test_nothing_is_compiled_after_the_fifth_step(compared: Compared) -> None:
    foreground = compared.values["foreground"]
    assert len(foreground) > 5
    assert 0 in foreground
    assert len(set(foreground)) > 2
    before, after = compared.log.split("step 5 done")
    assert len(re.findall(r"Compiled \S*forward_backward\S* \d+ times", before)) == 1
    assert not re.findall(r"Compiled \S+ \d+ times", after.split("all steps done")[0])


def test_reduction_over_ranks_is_not_compiled(compared: Compared) -> None:
    inside, outside = ({str(name) for name in compared.values[where]} for where in ("inside", "outside"))
    assert "Conv2DBackpropFilter" in inside
    assert "HorovodGroupedAllreduce" in outside
    assert [name for name in inside if "Horovod" in name] == []
