"""Models for inference.py: ResNet-50, 91 classes, whole and pruned, as ``.tlt``, ONNX and INT8 ONNX.

Weights are random, since the time depends on shapes only; each filter has a random scale, so that pruning finds filters
to remove. Scores are far below any useful threshold, so a tiny threshold is needed to draw detections.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import yaml
from numpy.typing import NDArray

from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.export.calibration.collect import collect_ranges
from maskrcnn_trainer.export.graph import check_graph, export_graph
from maskrcnn_trainer.export.quantize import calibrated_tensors, quantized
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.model.restore import network_of
from maskrcnn_trainer.model_files.model_file import ModelFile, write_model_file
from maskrcnn_trainer.pruning.retain import PruneSettings
from maskrcnn_trainer.pruning.task import prune_model
from maskrcnn_trainer.spec import parse_spec
from maskrcnn_trainer.task.log_setup import setup_logging

CLASSES = 91
SPREAD = 0.5
CALIBRATED_ON = 4


def experiment(size: int) -> dict[str, Any]:
    """Return the spec, with the inference settings of the sample specification except for the sizes."""
    return {
        "totalSteps": 1,
        "initLearningRate": 0.01,
        "evalBatchSize": 4,
        "dataConfig": {"imageSize": [size, size], "numClasses": CLASSES},
        "maskrcnnConfig": {"nlayers": 50, "arch": "resnet", "freezeBn": False, "freezeBlocks": []},
    }


def random_model(fields: dict[str, Any]) -> ModelFile:
    """Return a ResNet-50 with filters of different scales."""
    from maskrcnn_trainer.model.architecture import Architecture

    network = MaskRCNN(Architecture.from_spec(parse_spec(fields)), freeze_bn=True, seed=1)
    generator = np.random.default_rng(1)
    variables = {}
    for name, variable in network.named_variables.items():
        values = variable.numpy()
        if name.endswith("kernel") and values.ndim == 4:
            values = values * np.exp(generator.normal(-0.5 * SPREAD**2, SPREAD, values.shape[-1]))
        variables[name] = values.astype(np.float32)
    ids = tuple(range(1, CLASSES))
    return ModelFile(
        architecture=network.architecture.to_json(),
        experiment=fields,
        class_map=ClassMap(ids, tuple(f"thing {one}" for one in ids), CLASSES).to_json(),
        step=0,
        variables=variables,
    )


def write_exports(folder: Path, name: str, model: ModelFile, images: NDArray[Any], threads: int) -> None:
    """Write ``<name>.onnx`` and ``<name>-int8.onnx``."""
    graph = check_graph(
        export_graph(network_of(model), parse_spec(dict(model.experiment)), ClassMap.from_json(model.class_map))
    )
    (folder / f"{name}.onnx").write_bytes(graph.SerializeToString())
    batches = (np.ascontiguousarray(image[None].transpose(0, 3, 1, 2)) for image in images)
    ranges = collect_ranges(graph, calibrated_tensors(graph), batches, images=len(images), threads=threads)
    (folder / f"{name}-int8.onnx").write_bytes(check_graph(quantized(graph, ranges)).SerializeToString())


def main() -> None:
    """Write the models and print the ratio of pruning."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True, help="normalized images, float32 [n, H, W, 3] as .npy")
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--threshold", type=float, default=0.5, help="threshold of pruning")
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    setup_logging()
    images = np.load(arguments.images)[:CALIBRATED_ON]
    fields = experiment(arguments.size)
    (arguments.folder / "spec.yaml").write_text(yaml.safe_dump(fields))
    whole = random_model(fields)
    pruning = prune_model(whole, PruneSettings(threshold=arguments.threshold))
    # The pruned model isn't retrained: that affects accuracy, not speed.
    models = {"whole": whole, "pruned": replace(pruning.model, retrain_required=False)}
    for name, model in models.items():
        write_model_file(arguments.folder / f"{name}.tlt", model)
        write_exports(arguments.folder, name, model, images, arguments.threads)
    print(
        f"pruned: {pruning.ratio:.3f} of the parameters, {pruning.after.flops / pruning.before.flops:.3f} of the FLOPs"
    )


if __name__ == "__main__":
    main()
