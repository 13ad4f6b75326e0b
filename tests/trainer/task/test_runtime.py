"""Settings of TensorFlow with a list of devices that a test plays."""

from __future__ import annotations

import os
from typing import Any

import pytest
import tensorflow as tf

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.task.device import cpu_name, device_name
from maskrcnn_trainer.task.runtime import describe_runtime, prepare_tensorflow


@pytest.fixture(name="chosen", autouse=True)
def _chosen(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Keep TensorFlow as it is, and return the devices that are made visible."""
    chosen: list[Any] = []
    for name in ("set_intra_op_parallelism_threads", "set_inter_op_parallelism_threads"):
        monkeypatch.setattr(tf.config.threading, name, lambda _threads: None)
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda device, _kind: chosen.append(device))
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda _device, _grow: None)
    monkeypatch.setenv("MASKRCNN_FINGERPRINT", "f")
    monkeypatch.setenv("MASKRCNN_IMAGE", "trainer:1")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return chosen


def see(monkeypatch: pytest.MonkeyPatch, *devices: str) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _kind: list(devices))


def test_step_that_finds_no_gpu_ends_with_64_and_names_package_driver_and_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    see(monkeypatch)
    monkeypatch.setenv("MASKRCNN_GPUS", "2")
    words = (
        r"gpusPerNode 2: TensorFlow finds no GPU \(tensorflow-cpu [\d.]+ without CUDA, .*driver.*, image trainer:1\)"
    )
    with pytest.raises(InvalidInput, match=words) as refused:
        prepare_tensorflow(threads=1)
    assert (refused.value.exit_code, refused.value.reason) == (64, "MissingDevice")


def test_processes_get_gpus_of_their_own(monkeypatch: pytest.MonkeyPatch, chosen: list[Any]) -> None:
    see(monkeypatch, "gpu:0", "gpu:1")
    monkeypatch.setenv("MASKRCNN_GPUS", "2")
    prepare_tensorflow(threads=1, local_rank=1)
    assert chosen == ["gpu:1"]
    with pytest.raises(InvalidInput, match="process 2 of this node has no GPU of its own"):
        prepare_tensorflow(threads=1, local_rank=2)


@pytest.mark.parametrize(("given", "expected"), [(None, "gpu_private"), ("global", "global")])
def test_gpu_launches_kernels_from_its_own_threads_unless_the_variable_is_set(
    monkeypatch: pytest.MonkeyPatch, given: str | None, expected: str
) -> None:
    see(monkeypatch, "gpu:0")
    environment = {} if given is None else {"TF_GPU_THREAD_MODE": given}
    monkeypatch.setattr(os, "environ", environment)
    prepare_tensorflow(threads=1)
    assert environment["TF_GPU_THREAD_MODE"] == expected


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_user_who_hides_the_gpus_runs_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch, chosen: list[Any], hidden: str
) -> None:
    see(monkeypatch)
    monkeypatch.setenv("MASKRCNN_GPUS", "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    prepare_tensorflow(threads=1)
    assert chosen == []


@pytest.mark.parametrize("tf32", [False, True])
def test_tf32_is_switched_on_and_off(monkeypatch: pytest.MonkeyPatch, tf32: bool) -> None:
    see(monkeypatch)
    prepare_tensorflow(threads=1, tf32=tf32)
    assert tf.config.experimental.tensor_float_32_execution_enabled() is tf32
    prepare_tensorflow(threads=1)
    assert tf.config.experimental.tensor_float_32_execution_enabled()


@pytest.mark.parametrize(
    ("capability", "tf32", "dtype", "expected"),
    [
        ((8, 0), True, "float32", "float32 (products in TF32)"),
        ((9, 0), True, "float32", "float32 (products in TF32)"),
        ((7, 5), True, "float32", "float32"),
        ((8, 0), False, "float32", "float32"),
        ((8, 0), True, "mixed_float16", "mixed_float16"),
    ],
)
def test_first_line_names_tf32_where_float32_products_are_in_it(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], tf32: bool, dtype: str, expected: str
) -> None:
    details = {"device_name": "GPU of a test", "compute_capability": capability}
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda _kind: ["gpu:0"])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda _device: details)
    monkeypatch.setattr(tf.config.experimental, "tensor_float_32_execution_enabled", lambda: tf32)
    assert f"1 process with 2 threads, {expected}; maskrcnn" in describe_runtime(dtype, processes=1, threads=2)


def test_device_is_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda _kind: ["gpu:0"])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda _device: {"device_name": "GPU of a test"})
    assert device_name() == "GPU of a test"
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda _kind: [])
    assert device_name() == cpu_name()
