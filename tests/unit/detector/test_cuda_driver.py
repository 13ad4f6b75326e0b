"""Visibility of GPUs, with a stand-in for the driver's library."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from maskrcnn_trainer.detector import cuda_driver


@pytest.mark.parametrize(("initialized", "devices", "visible"), [(0, 2, 2), (0, 0, 0), (100, 1, 0)])
def test_gpus_are_counted_by_the_driver(
    monkeypatch: pytest.MonkeyPatch, initialized: int, devices: int, visible: int
) -> None:
    def count(pointer: Any) -> int:
        pointer._obj.value = devices
        return 0

    driver = SimpleNamespace(cuInit=lambda flags: initialized, cuDeviceGetCount=count)
    monkeypatch.setattr("ctypes.CDLL", lambda name: driver)
    assert cuda_driver.visible_gpus() == visible


def test_no_gpu_is_visible_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver, "LIBRARY", "libnothere.so")
    assert cuda_driver.visible_gpus() == 0
