"""Stage of the GPU check that trains and detects with the same weights and input on two devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from gpu_check_data import batches_of, records_of, spec_of
from gpu_check_network import build, device, prepare, values_of
from gpu_check_parity import loss_differences, matched_share
from gpu_check_plan import InvalidArgument, Options
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.model.predict import InferenceSettings, predict
from maskrcnn_trainer.training.step import LOSSES, TrainStep

COMPARED = (*LOSSES, "total_loss", "foreground_rois")


def parity(options: Options, say: Callable[..., None]) -> None:
    """Train ``steps`` steps on one batch and detect in it; write the results, or compare them with ``reference``."""
    if bool(options.out) == bool(options.reference):
        raise InvalidArgument("parity needs out=FILE on the CPU, or reference=FILE with its results")
    prepare(options)
    stored: dict[str, dict[str, NDArray[Any]]] = {}
    if options.reference:
        stored = read(options.reference)
        spec = spec_of(options, records_of(options))
        batch = {name: tf.constant(values) for name, values in stored["batch"].items()}
    else:
        spec = spec_of(options, records_of(options))
        batch = next(batches_of(spec))
    network, step = build(options, spec)
    for name, variable in network.named_variables.items():
        if options.reference:
            variable.assign(stored["weights"][name])
        else:
            stored.setdefault("weights", {})[name] = variable.numpy()
    found = detections(network, batch["images"], InferenceSettings.from_spec(spec, network.architecture))
    losses = trained(step, batch, options.steps)
    known = {"device": device(), "dtype": options.dtype, "tf32": options.tf32, "steps": options.steps}
    if options.reference:
        differences = loss_differences(losses, stored["losses"])
        say(
            relative_differences=differences,
            largest_at_first_step=max(values[0] for values in differences.values()),
            largest=max(max(values) for values in differences.values()),
            detections_matched=round(matched_share(found, stored["found"]), 4),
            **known,
        )
        return
    stored |= {"batch": {name: values.numpy() for name, values in batch.items()}, "losses": losses, "found": found}
    write(options.out, stored)
    say(losses={name: [round(float(value), 6) for value in values] for name, values in losses.items()}, **known)


def detections(network: MaskRCNN, images: tf.Tensor, chosen: InferenceSettings) -> dict[str, NDArray[Any]]:
    """Return boxes, classes, and scores by name."""
    found = tf.function(lambda batch: predict(network, batch, chosen), autograph=False)(images)
    return {"boxes": found.boxes.numpy(), "classes": found.classes.numpy(), "scores": found.scores.numpy()}


def trained(step: TrainStep, batch: dict[str, tf.Tensor], count: int) -> dict[str, NDArray[Any]]:
    """Train on the same batch; return the values of each step by name, float64 [count]."""
    values = [values_of(step(batch), *COMPARED) for _ in range(count)]
    return {name: np.array([one[name] for one in values]) for name in COMPARED}


def write(path: str, stored: dict[str, dict[str, NDArray[Any]]]) -> None:
    """Write arrays by group and name to a file."""
    flat = {f"{group}|{name}": values for group, named in stored.items() for name, values in named.items()}
    with open(path, "wb") as file:  # noqa: PTH123 - np.savez appends .npz to a path
        np.savez(file, **flat)


def read(path: str) -> dict[str, dict[str, NDArray[Any]]]:
    """Return the arrays of a file of ``write``."""
    stored: dict[str, dict[str, NDArray[Any]]] = {}
    with np.load(path) as file:
        for name in file.files:
            group, _, rest = name.partition("|")
            stored.setdefault(group, {})[rest] = file[name]
    return stored
