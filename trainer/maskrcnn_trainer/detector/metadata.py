"""Description of an exported model: a JSON object in the metadata of an ONNX file, or in a file next to an engine."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.data.padded_image import MEAN, STD
from maskrcnn_trainer.errors import InvalidInput, content_of
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.spec import ExperimentSpec
from maskrcnn_trainer.spec.errors import shown

METADATA_KEY = "maskrcnn"
METADATA_VERSION = 1
EXPORTED_OPSET = 17
"""TensorRT 8.6 reads up to 17, TensorRT 10 reads 9 to 20 (their ONNX operator support tables)."""


@dataclass(frozen=True)
class ExportMetadata:
    """Properties of a model that its graph does not contain.

    Attributes:
        architecture: of the network.
        class_map: mapping between model ids and the categories of the data set.
        image_size: height and width of the input in pixels.
        data_type: ``fp32``, ``fp16``, or ``int8``.
        detections_per_image: D, detections of each image in the outputs.
        step: training steps of the weights; None if unknown.
        preprocessing: whether the graph normalizes its input, which then has RGB values in 0..255.
        mean: of RGB in 0..1, three numbers.
        std: standard deviation of RGB in 0..1, three numbers.
    """

    architecture: Architecture
    class_map: ClassMap
    image_size: tuple[int, int]
    data_type: str
    detections_per_image: int
    step: int | None = None
    preprocessing: bool = False
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = (STD, STD, STD)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, ready for ``json.dumps``."""
        return {
            "version": METADATA_VERSION,
            "architecture": self.architecture.to_json(),
            "classMap": self.class_map.to_json(),
            "imageSize": list(self.image_size),
            "normalisation": {"mean": list(self.mean), "std": list(self.std)},
            "preprocessing": self.preprocessing,
            "dataType": self.data_type,
            "detectionsPerImage": self.detections_per_image,
            "step": self.step,
        }

    @classmethod
    def from_json(cls, value: Any, source: str) -> ExportMetadata:
        """Create metadata from the result of :meth:`to_json`.

        Args:
            value: the object, or its JSON text.
            source: name of the model in messages.

        Raises:
            InvalidInput: ``value`` is invalid or of a newer format; the message names ``source``.
        """
        try:
            content: Mapping[str, Any] = json.loads(value) if isinstance(value, str | bytes) else value
            version = content["version"]
            if version != METADATA_VERSION:
                raise InvalidInput(
                    f"{source}: metadata format {version!r} is not supported; this release reads format "
                    f"{METADATA_VERSION}",
                    reason="InvalidModel",
                )
            height, width = content["imageSize"]
            normalization = {name: _three(content["normalisation"][name]) for name in ("mean", "std")}
            step = content["step"]
            if step is not None and int(step) < 0:
                raise ValueError(step)
            with content_of(source):
                architecture = Architecture.from_json(content["architecture"])
                class_map = ClassMap.from_json(content["classMap"]).require(architecture.num_classes)
            return cls(
                architecture=architecture,
                class_map=class_map,
                image_size=(int(height), int(width)),
                data_type=str(content["dataType"]),
                detections_per_image=int(content["detectionsPerImage"]),
                step=None if step is None else int(step),
                preprocessing=bool(content["preprocessing"]),
                **normalization,
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            what = f"no field {error}" if isinstance(error, KeyError) else "it, or a field of it, has the wrong form"
            raise InvalidInput(
                f"{source}: its metadata cannot be read ({what}); export the model again",
                reason="InvalidModel",
            ) from error

    def contradictions(self, spec: ExperimentSpec) -> list[str]:
        """Return a message for each field in which a spec differs from this model; fields are named as in YAML.

        Absent fields of the spec follow the model, so they contradict nothing.
        """
        found = self.architecture.contradictions(spec)
        config = spec.maskrcnn_config
        limit = (
            config.test_detections_per_image
            if "test_detections_per_image" in config.model_fields_set
            else self.detections_per_image
        )
        fixed = (
            ("dataConfig.imageSize", tuple(spec.data_config.image_size), self.image_size),
            ("maskrcnnConfig.testDetectionsPerImage", limit, self.detections_per_image),
        )
        found += [
            f"{field}: {shown(requested)} in the spec, but the model was exported with {shown(built)}"
            for field, requested, built in fixed
            if requested != built
        ]
        return found


def _three(values: Any) -> tuple[float, ...]:
    """Return a number for each of R, G, B.

    Raises:
        ValueError: the values aren't three finite numbers.
    """
    numbers = tuple(float(one) for one in values)
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise ValueError(values)
    return numbers


def metadata_path(engine: Path) -> Path:
    """Return the file that describes an engine, which is next to it: ``<engine>.json``."""
    return engine.with_name(f"{engine.name}.json")
