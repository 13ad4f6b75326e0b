"""The inference task: from a directory of images to annotated images and labels.

TensorFlow isn't loaded for an exported model: ``data.padded_image`` prepares the network's input, with results that
differ from TensorFlow's in the last bits at most.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2

from maskrcnn_trainer.detector import Detector, open_detector
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.evaluation.drawing import drawn_name
from maskrcnn_trainer.inference.class_names import category_names, read_class_map
from maskrcnn_trainer.inference.labels import prediction_dataset
from maskrcnn_trainer.inference.pipeline import InferenceResult, Output, run_inference
from maskrcnn_trainer.inference.sources import SourceImage, find_images
from maskrcnn_trainer.inference.stages import shares
from maskrcnn_trainer.results.contents import joined_names, remove_ours
from maskrcnn_trainer.results.leftovers import remove_leftovers
from maskrcnn_trainer.results.ownership import ownership_guard
from maskrcnn_trainer.spec import load_spec
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.spec.task_table import IMAGES_DIR, LABELS_DIR, PREDICTIONS_FILE
from maskrcnn_trainer.task.cpus import task_threads
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.failures import explained_failures
from maskrcnn_trainer.task.files import make_directory, write_json_atomically
from maskrcnn_trainer.task.progress_bar import ReportedProgress
from maskrcnn_trainer.task.reporter import Reporter, task_report
from maskrcnn_trainer.task.stopping import StopRequest

log = logging.getLogger(__name__)

OUTPUTS = (IMAGES_DIR, LABELS_DIR, PREDICTIONS_FILE)


def inference_task(
    *,
    image_dir: Path,
    model_path: Path,
    spec_path: str,
    results_dir: Path,
    threshold: float,
    class_map: Path | None,
    include_mask: bool,
    exif: bool,
    key: str | None,
    environment: TaskEnvironment,
    token: str | None,
) -> None:
    """Run ``maskrcnn inference``: write annotated images, labels, and ``predictions.json``, and report the speed."""
    guard = ownership_guard(results_dir, token)
    threads = task_threads()
    cv2.setNumThreads(1)  # images are drawn in several threads already
    with (
        StopRequest() as stop,
        task_report(
            TaskName.INFERENCE,
            results_dir,
            environment,
            started="Starting Mask R-CNN inference.",
            threads=threads,
            before_write=guard,
        ) as reporter,
        explained_failures(),
        contextlib.ExitStack() as cleanup,
    ):
        spec = load_spec(spec_path, trains=False)
        outputs = [results_dir / name for name in OUTPUTS]
        sources = find_images(image_dir, exclude=outputs)
        lines = read_class_map(class_map) if class_map else []
        batch_size = min(spec.eval_batch_size, len(sources))
        detector = open_detector(model_path, spec, key=key, threads=threads, batch_size=batch_size)
        reporter.accepted()
        remove_leftovers(results_dir)
        _clear(results_dir, guard)
        cleanup.callback(_clear, results_dir, guard)
        output = Output(
            images=make_directory(results_dir / IMAGES_DIR),
            labels=make_directory(results_dir / LABELS_DIR),
            names=category_names(detector.class_map, lines),
            threshold=threshold,
            include_mask=include_mask,
            exif=exif,
            guard=guard,
        )
        _warn_of_undrawn_names(output.names)
        result = _detected(sources, detector, output, reporter, threads=threads, check_stop=stop.check)
        if not result.images:
            raise InvalidInput(
                f"--image_dir {image_dir}: none of its {len(sources)} images could be read; see the warnings above",
                reason="InvalidData",
            )
        guard()
        write_json_atomically(results_dir / PREDICTIONS_FILE, prediction_dataset(result.images, output.names))
        cleanup.pop_all()
        reporter.succeeded(
            "Inference finished successfully.",
            metrics=metrics_of(result),
            artifacts={name.removesuffix(".json"): results_dir / name for name in OUTPUTS},
            model_path=model_path,
        )


def _detected(
    sources: Sequence[SourceImage],
    detector: Detector,
    output: Output,
    reporter: Reporter,
    *,
    threads: int,
    check_stop: Callable[[], None],
) -> InferenceResult:
    """Run inference on all images; report the progress, and log the speed."""
    with ReportedProgress(reporter, "Inference", "images") as progress:

        def show(done: int, unreadable: int) -> None:
            fields = {"unreadable": unreadable} if unreadable else {}
            progress.at("Inference", done, len(sources), **fields)

        show(0, 0)
        result = run_inference(sources, detector, output, threads=threads, check_stop=check_stop, progress=show)
    _log_result(result)
    return result


def metrics_of(result: InferenceResult) -> dict[str, float]:
    """Return the reported metrics of an inference; shares are fractions of the work of all threads."""
    return {
        "images": len(result.images),
        "unreadable_images": len(result.unreadable),
        "detections": result.detections,
        "seconds": round(result.seconds, 3),
        "images_per_second": round(result.images_per_second, 4),
        "steady_images_per_second": round(result.steady_images_per_second, 4),
        "network_busy": round(result.stage_seconds["network"] / max(result.seconds, 1e-9), 4),
    } | {f"{name}_share": round(share, 4) for name, share in shares(result.stage_seconds).items()}


def _log_result(result: InferenceResult) -> None:
    log.info(
        "%d images in %.1f s: %.2f images/s, %.2f after the first batch; %d detections",
        len(result.images),
        result.seconds,
        result.images_per_second,
        result.steady_images_per_second,
        result.detections,
    )
    log.info(
        "The network was busy %.0f%% of that time. Share of the work of all threads: %s",
        100 * result.stage_seconds["network"] / max(result.seconds, 1e-9),
        ", ".join(f"{name} {share:.1%}" for name, share in shares(result.stage_seconds).items()),
    )
    if result.unreadable:
        log.warning(
            "%d of %d images could not be read and were skipped",
            len(result.unreadable),
            len(result.unreadable) + len(result.images),
        )


def _warn_of_undrawn_names(names: Mapping[int, str]) -> None:
    undrawn = [name for one, name in names.items() if drawn_name(name, one) == f"class {one}" != name]
    if undrawn:
        log.warning(
            "%s: the font can't render these class names; pictures show their numbers, label files the names",
            ", ".join(undrawn),
        )


def _clear(results_dir: Path, guard: Callable[[], None]) -> None:
    """Delete results of an earlier attempt (``command.run`` checks that this is allowed), or of this one if it fails.

    Files that inference didn't write are kept.
    """
    if any((results_dir / name).exists() for name in OUTPUTS):
        guard()
    (results_dir / PREDICTIONS_FILE).unlink(missing_ok=True)
    for name in (IMAGES_DIR, LABELS_DIR):
        left = remove_ours(results_dir, name)
        if left:
            log.warning("%s: kept %s, which inference didn't write", results_dir / name, joined_names(left))
