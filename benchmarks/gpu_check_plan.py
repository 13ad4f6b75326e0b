"""Runs of the GPU check in their order, with time limits and sizes, and the arguments of a stage.

Nothing here imports TensorFlow: ``gpu_check.py all`` must hold no GPU while its stages run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any


class InvalidArgument(ValueError):
    """Argument of the command line that cannot be used."""


@dataclass(frozen=True)
class Options:
    """Arguments of a stage, given as ``key=value``; each stage reads some of them.

    Attributes:
        height: of the padded image in pixels, a multiple of 64 of at least 128.
        width: as ``height``.
        batch: images of a step.
        batches: batch sizes of an inference, separated by commas.
        steps: number of timed steps.
        warm: number of steps before them.
        dtype: Keras policy: float32, mixed_float16, or mixed_bfloat16.
        xla: compile with XLA.
        tf32: let a GPU round the factors of float32 products to TF32, TensorFlow's default.
        freeze_bn: batch norms use stored statistics.
        freeze_blocks: the first two blocks of the backbone are not trained, the default of ``maskrcnn train``.
        deterministic: let TensorFlow choose deterministic kernels.
        nlayers: depth of the ResNet.
        classes: number of classes with the background.
        instances: largest number of objects of an image.
        rois: RoIs of an image that a step samples for the box head.
        proposals: proposals of an image in a training step and in inference.
        objects: draw a data set with this number of objects in each image; 0: use the data set that is given.
        workers: images that the input pipeline reads at once.
        seconds: duration of a measurement by time.
        images: training images of the data set that the stage ``data`` writes; a quarter of it for validation.
        gpus: processes of ``maskrcnn train``; 0: one for each GPU.
        data: directory with ``train/train-*``, ``val/val-*``, and ``instances_val.json``.
        records: pattern of the training records, instead of those in ``data``.
        val_records: pattern of the validation records, likewise.
        val_json: validation annotations, likewise.
        coco: directory with ``images`` and ``instances_train.json``, from which ``data`` converts; empty: draw images.
        out: directory or file that the stage writes.
        reference: file of another device's ``parity`` to compare with.
    """

    height: int = 832
    width: int = 1344
    batch: int = 4
    batches: str = "1,6,24"
    steps: int = 24
    warm: int = 8
    dtype: str = "float32"
    xla: bool = False
    tf32: bool = True
    freeze_bn: bool = True
    freeze_blocks: bool = True
    deterministic: bool = False
    nlayers: int = 50
    classes: int = 91
    instances: int = 200
    rois: int = 512
    proposals: int = 1000
    objects: int = 0
    workers: int = 16
    seconds: int = 8
    images: int = 64
    gpus: int = 0
    data: str = ""
    records: str = ""
    val_records: str = ""
    val_json: str = ""
    coco: str = ""
    out: str = ""
    reference: str = ""

    @property
    def batch_sizes(self) -> list[int]:
        """``batches`` as numbers."""
        return [_number("batches", size) for size in self.batches.split(",")]


BOOLS = {"0": False, "1": True, "false": False, "true": True}
DTYPES = ("float32", "mixed_float16", "mixed_bfloat16")
MAY_BE_ZERO = ("warm", "objects", "gpus")


def parse_options(arguments: Iterable[str]) -> Options:
    """Return the options of a stage; of equal keys the last one counts.

    Args:
        arguments: ``key=value`` each.

    Raises:
        InvalidArgument: an argument has no such form, its key is unknown, or its value is of another type or range.
    """
    types = {field.name: type(field.default) for field in fields(Options)}
    values: dict[str, Any] = {}
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if not equals:
            raise InvalidArgument(f"{argument!r}: expected key=value, such as batch=4")
        if key not in types:
            raise InvalidArgument(f"{argument!r}: unknown key; known are {', '.join(sorted(types))}")
        if types[key] is bool:
            if text not in BOOLS:
                raise InvalidArgument(f"{argument!r}: expected 0 or 1")
            values[key] = BOOLS[text]
        else:
            values[key] = _number(key, text) if types[key] is int else text
    options = Options(**values)
    if options.dtype not in DTYPES:
        raise InvalidArgument(f"dtype={options.dtype}: expected one of {', '.join(DTYPES)}")
    _ = options.batch_sizes
    return options


def _number(key: str, text: str) -> int:
    least = 0 if key in MAY_BE_ZERO else 1
    if not (text.isascii() and text.isdecimal() and int(text) >= least):
        raise InvalidArgument(f"{key}={text}: expected a whole number of at least {least}")
    return int(text)


@dataclass(frozen=True)
class Run:
    """One process of ``gpu_check.py all``.

    Attributes:
        name: in the results; unique.
        stage: to run.
        limit: seconds after which the process is ended.
        options: ``key=value`` arguments.
        small: arguments that replace those of ``options`` in a rehearsal.
        on_cpu: whether GPUs are hidden from the process.
    """

    name: str
    stage: str
    limit: float
    options: tuple[str, ...] = ()
    small: tuple[str, ...] = ()
    on_cpu: bool = False


AMP = "dtype=mixed_float16"
PARITY = ("height=256", "width=320", "batch=2", "steps=10", "tf32=0", "freeze_blocks=0")
PARITY_SMALL = ("height=128", "width=192", "batch=1", "steps=3")
EIGHT = ("batch=8", "steps=16")

XLA_SMALL = ("width=128", "nlayers=10", "rois=16", "proposals=20", "steps=1", "warm=0")
"""XLA's backward convolutions on a CPU take half a minute a step at the other sizes of a rehearsal."""

RUNS = (
    Run("data", "data", 300, on_cpu=True),
    Run("smoke", "smoke", 120),
    Run("parity-cpu", "parity", 300, PARITY, PARITY_SMALL, on_cpu=True),
    Run("parity-gpu", "parity", 180, PARITY, PARITY_SMALL),
    Run("parity-amp", "parity", 180, (*PARITY, AMP), PARITY_SMALL),
    Run("pipeline", "pipeline", 90),
    Run("train-fp32", "train", 240),
    Run("train-amp", "train", 240, (AMP,)),
    Run("train-amp-xla", "train", 600, (AMP, "xla=1"), XLA_SMALL),
    Run("inference-fp32", "inference", 240),
    Run("inference-amp", "inference", 240, (AMP,)),
    Run("inference-amp-xla", "inference", 600, (AMP, "xla=1")),
    Run("roi-align", "roi_align", 180),
    Run("nms", "nms", 180),
    Run("kernels", "kernels", 240, (AMP,)),
    Run("kernels-inference", "kernels_inference", 240, (AMP,)),
    Run("commands", "commands", 900, ("steps=40", "freeze_bn=0", "freeze_blocks=0")),
    Run("train-fp32-8", "train", 240, EIGHT),
    Run("train-amp-8", "train", 240, (AMP, *EIGHT)),
    Run("train-amp-xla-8", "train", 600, (AMP, "xla=1", *EIGHT), XLA_SMALL),
    Run("train-fp32-xla", "train", 600, ("xla=1",), XLA_SMALL),
    Run("train-crowded", "train", 240, (AMP, "objects=100", "images=16"), ("objects=40", "images=4")),
    Run("train-bn", "train", 240, (AMP, "freeze_bn=0")),
    Run("deterministic", "repeat", 300, ("deterministic=1", "steps=4")),
    Run("horovod", "horovod", 90),
)
"""All runs, most informative first. Limits allow for a slow GPU; XLA compiles a step of ResNet-50 for minutes."""

REHEARSAL = (
    "height=128",
    "width=192",
    "batch=1",
    "batches=1,2",
    "steps=2",
    "warm=1",
    "dtype=float32",
    "nlayers=18",
    "rois=64",
    "proposals=100",
    "seconds=1",
    "images=8",
    "gpus=1",
)
"""Sizes of a rehearsal on the CPU, whose float16 convolutions take minutes at any size."""


def chosen_runs(only: Collection[str]) -> list[Run]:
    """Return the runs with these names, all runs without names, in the order of RUNS.

    Raises:
        InvalidArgument: a name is unknown.
    """
    unknown = sorted(set(only) - {run.name for run in RUNS})
    if unknown:
        names = ", ".join(run.name for run in RUNS)
        raise InvalidArgument(f"--only {' '.join(unknown)}: unknown; the runs are {names}")
    return [run for run in RUNS if not only or run.name in only]


def arguments_of(run: Run, folder: Path, given: Sequence[str], *, rehearsal: bool) -> list[str]:
    """Return the ``key=value`` arguments of a run's process.

    Args:
        run: the run.
        folder: for data, and for the files of runs.
        given: by the user; they take precedence over all others, except for where a run writes.
        rehearsal: use the small sizes.
    """
    parity = folder / "parity.npz"
    files = {
        "data": [f"out={folder / 'data'}"],
        "parity-cpu": [f"out={parity}"],
        "parity-gpu": [f"reference={parity}"],
        "parity-amp": [f"reference={parity}"],
        "commands": [f"out={folder / 'commands'}"],
    }
    sizes = (*REHEARSAL, *run.options, *_sizes_only(run.options, REHEARSAL), *run.small) if rehearsal else run.options
    return [*sizes, *([] if run.stage == "data" else [f"data={folder / 'data'}"]), *given, *files.get(run.name, [])]


def _sizes_only(options: Sequence[str], small: Sequence[str]) -> list[str]:
    """Return the small sizes of the keys that ``options`` would set to a large one."""
    large = {option.partition("=")[0] for option in options}
    return [size for size in small if size.partition("=")[0] in large]


def same_as(run: Run, earlier: Sequence[Run], folder: Path, given: Sequence[str]) -> Run | None:
    """Return the earlier run that a rehearsal of ``run`` would repeat: small sizes make some runs equal."""

    def of(one: Run) -> tuple[str, Options]:
        return one.stage, parse_options(arguments_of(one, folder, given, rehearsal=True))

    return next((other for other in earlier if of(other) == of(run)), None)


def with_limit(run: Run, left: float) -> Run | None:
    """Return the run with at most ``left`` seconds; None if a third of its limit isn't left.

    A run that is cut in its middle costs the time and gives no number, so it isn't started.
    """
    return replace(run, limit=min(run.limit, left)) if left >= run.limit / 3 else None
