"""Build of a TensorRT engine from an exported graph, which needs TensorRT and a GPU.

This uses TensorRT's Python API (docs.nvidia.com/deeplearning/tensorrt), releases 8.6 to 11. The package is imported
only if an engine is requested.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from maskrcnn_trainer.detector.outputs import INPUT
from maskrcnn_trainer.errors import InvalidInput, TaskError


@dataclass(frozen=True)
class EngineSettings:
    """Settings of an engine's build.

    Attributes:
        data_type: numeric precision of the graph: fp32, fp16, or int8.
        image_size: (height, width) of the input.
        batches: smallest, optimal, and largest batch size.
        workspace: limit of scratch memory on the GPU in bytes.
        strict: keep every layer in the graph's type (for releases without strongly typed networks).
    """

    data_type: str
    image_size: tuple[int, int]
    batches: tuple[int, int, int] = (1, 1, 1)
    workspace: int = 1 << 31
    strict: bool = False


def load_tensorrt() -> Any:
    """Import and return the package ``tensorrt``.

    Raises:
        InvalidInput: the package isn't installed.
    """
    try:
        import tensorrt
    except ImportError as error:
        raise InvalidInput(
            f"--engine_file: the package tensorrt is not installed ({error}); an image has it if built with the "
            "argument TENSORRT. Export without this flag, and build the engine from the .onnx on a machine with "
            "TensorRT and a GPU",
            reason="MissingPackage",
        ) from error
    return tensorrt


def check_tensorrt() -> None:
    """Check before the export that an engine can be built on this machine.

    Raises:
        InvalidInput: TensorRT isn't installed, or finds no GPU.
    """
    tensorrt = load_tensorrt()
    _builder(tensorrt, tensorrt.Logger(tensorrt.Logger.WARNING))


def build_engine(tensorrt: Any, model: bytes, settings: EngineSettings) -> bytes:
    """Return a serialized engine, which runs only on the GPU model of this machine.

    Args:
        tensorrt: the package.
        model: an exported ONNX model; for int8 the one with explicit quantization, which every release reads.
        settings: settings of the build.

    Raises:
        InvalidInput: there is no GPU, or this release cannot read the graph.
        TaskError: the build failed.
    """
    logger = tensorrt.Logger(tensorrt.Logger.WARNING)
    if hasattr(tensorrt, "init_libnvinfer_plugins"):
        tensorrt.init_libnvinfer_plugins(logger, "")
    builder = _builder(tensorrt, logger)
    flags, typed = _network_flags(tensorrt)
    network = builder.create_network(flags)
    read_graph(tensorrt, network, logger, model)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, settings.workspace)
    if not typed:
        _set_precision(tensorrt, config, settings)
    profile = builder.create_optimization_profile()
    profile.set_shape(INPUT, *((count, 3, *settings.image_size) for count in settings.batches))
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise TaskError("TensorRT could not build the engine; see its messages above", reason="EngineBuildFailed")
    return bytes(plan)


def read_graph(tensorrt: Any, network: Any, logger: Any, model: bytes) -> None:
    """Read a model into ``network`` with TensorRT's ONNX parser.

    Raises:
        InvalidInput: the parser cannot read the graph; the error contains its first message.
    """
    parser = tensorrt.OnnxParser(network, logger)
    if parser.parse(model):
        return
    messages = [str(parser.get_error(number)) for number in range(parser.num_errors)]
    version = getattr(tensorrt, "__version__", "")
    raise InvalidInput(
        f"--engine_file: TensorRT {version} cannot read the graph: {' '.join(messages[0].split()) if messages else ''}",
        reason="EngineBuildFailed",
    )


def _builder(tensorrt: Any, logger: Any) -> Any:
    try:
        return tensorrt.Builder(logger)
    except (TypeError, RuntimeError) as error:  # the binding raises these for a null pointer
        raise InvalidInput(
            f"--engine_file: TensorRT finds no usable GPU ({error}). Export without this flag, and build the engine "
            "from the .onnx on a machine with a GPU",
            reason="MissingDevice",
        ) from error


def _network_flags(tensorrt: Any) -> tuple[int, bool]:
    """Return the flags of the network, and whether its tensors keep the graph's types.

    Strongly typed networks are used if the release has them: boxes stay float32 while layers are float16.
    """
    known = tensorrt.NetworkDefinitionCreationFlag
    if hasattr(known, "STRONGLY_TYPED"):
        return 1 << int(known.STRONGLY_TYPED), True
    if hasattr(known, "EXPLICIT_BATCH"):
        return 1 << int(known.EXPLICIT_BATCH), False
    return 0, True


def _set_precision(tensorrt: Any, config: Any, settings: EngineSettings) -> None:
    flags = {"fp32": (), "fp16": ("FP16",), "int8": ("INT8",)}[settings.data_type]
    for name in (*flags, *(("OBEY_PRECISION_CONSTRAINTS",) if settings.strict else ())):
        config.set_flag(getattr(tensorrt.BuilderFlag, name))
