"""Building an engine: the calls of TensorRT's API for each release, with a fake of TensorRT."""

from __future__ import annotations

import importlib.util
import sys
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from maskrcnn_trainer.errors import EXIT_INVALID, InvalidInput, TaskError
from maskrcnn_trainer.export.engine import EngineSettings, build_engine, check_tensorrt, load_tensorrt

SETTINGS = EngineSettings("fp16", (128, 192), batches=(1, 2, 4), workspace=1 << 20)


def _release(*network_flags: str) -> Any:
    """Return a fake of TensorRT's API, like that of a release with these network flags."""
    tensorrt = MagicMock()
    tensorrt.NetworkDefinitionCreationFlag = SimpleNamespace(**{name: n for n, name in enumerate(network_flags)})
    tensorrt.BuilderFlag = SimpleNamespace(FP16="fp16", INT8="int8", OBEY_PRECISION_CONSTRAINTS="obey")
    tensorrt.Builder.return_value.build_serialized_network.return_value = b"plan"
    return tensorrt


def test_a_release_with_strongly_typed_networks_keeps_the_types_of_the_graph() -> None:
    tensorrt = _release("EXPLICIT_BATCH", "STRONGLY_TYPED")
    assert build_engine(tensorrt, b"onnx", SETTINGS) == b"plan"
    builder = tensorrt.Builder.return_value
    builder.create_network.assert_called_once_with(1 << 1)
    config = builder.create_builder_config.return_value
    config.set_flag.assert_not_called()
    config.set_memory_pool_limit.assert_called_once_with(tensorrt.MemoryPoolType.WORKSPACE, 1 << 20)
    builder.create_optimization_profile.return_value.set_shape.assert_called_once_with(
        "Input", (1, 3, 128, 192), (2, 3, 128, 192), (4, 3, 128, 192)
    )


@pytest.mark.parametrize(
    ("data_type", "strict", "flags"), [("fp16", True, ["fp16", "obey"]), ("int8", False, ["int8"])]
)
def test_flags_identify_an_older_release(data_type: str, strict: bool, flags: list[str]) -> None:
    tensorrt = _release("EXPLICIT_BATCH")
    build_engine(tensorrt, b"onnx", EngineSettings(data_type, (128, 128), strict=strict))
    builder = tensorrt.Builder.return_value
    builder.create_network.assert_called_once_with(1 << 0)
    assert [call.args[0] for call in builder.create_builder_config.return_value.set_flag.call_args_list] == flags


def test_no_gpu_invalid_graph_and_failed_build_are_reported() -> None:
    tensorrt = _release("STRONGLY_TYPED")
    tensorrt.Builder.side_effect = TypeError("factory function returned nullptr")
    with pytest.raises(InvalidInput, match="finds no usable GPU") as caught:
        build_engine(tensorrt, b"onnx", SETTINGS)
    assert caught.value.exit_code == EXIT_INVALID

    tensorrt = _release("STRONGLY_TYPED")
    parser = tensorrt.OnnxParser.return_value
    parser.parse.return_value = False
    parser.num_errors = 1
    parser.get_error.return_value = "In node 7: no such\noperator"
    with pytest.raises(InvalidInput, match="In node 7: no such operator"):
        build_engine(tensorrt, b"onnx", SETTINGS)

    tensorrt = _release("STRONGLY_TYPED")
    tensorrt.Builder.return_value.build_serialized_network.return_value = None
    with pytest.raises(TaskError, match="could not build"):
        build_engine(tensorrt, b"onnx", SETTINGS)


def test_missing_package_error_names_where_to_build() -> None:
    if importlib.util.find_spec("tensorrt") is not None:
        pytest.skip("tensorrt is installed here")
    with pytest.raises(InvalidInput, match="build the engine from the .onnx on a machine with TensorRT and a GPU"):
        load_tensorrt()


def test_a_machine_without_a_gpu_is_known_before_the_export(monkeypatch: pytest.MonkeyPatch) -> None:
    tensorrt = _release("STRONGLY_TYPED")
    tensorrt.Builder.side_effect = TypeError("factory function returned nullptr")
    monkeypatch.setitem(sys.modules, "tensorrt", tensorrt)
    with pytest.raises(InvalidInput, match="finds no usable GPU"):
        check_tensorrt()
