"""NVIDIA devices of a machine, played by files."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskrcnn_trainer.shared.nvidia import gpus_are_hidden, has_nvidia_device


@pytest.mark.parametrize(
    ("files", "found"), [((), False), (("nvidiactl", "nvidia-uvm"), False), (("nvidia0",), True), (("nvidia12",), True)]
)
def test_only_the_file_of_a_gpu_is_a_device(tmp_path: Path, files: tuple[str, ...], found: bool) -> None:
    for name in files:
        (tmp_path / name).touch()
    assert has_nvidia_device(tmp_path) is found


@pytest.mark.parametrize(("value", "hidden"), [("", True), ("-1", True), (" -1 ", True), ("0", False), ("1,0", False)])
def test_an_empty_list_or_minus_one_hides_all_gpus(value: str, hidden: bool) -> None:
    assert gpus_are_hidden({"CUDA_VISIBLE_DEVICES": value}) is hidden


def test_gpus_are_visible_without_the_variable() -> None:
    assert not gpus_are_hidden({})
