"""The evaluate task: COCO metrics of a model file of any kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from maskrcnn_trainer.detector import open_detector
from maskrcnn_trainer.evaluation.evaluator import write_evaluation
from maskrcnn_trainer.evaluation.report_process import make_report
from maskrcnn_trainer.evaluation.validation_data import open_validation
from maskrcnn_trainer.model_files.model_file import require_model
from maskrcnn_trainer.results.evaluated_images import write_evaluated_images
from maskrcnn_trainer.results.leftovers import remove_leftovers
from maskrcnn_trainer.results.ownership import ownership_guard
from maskrcnn_trainer.spec import ExperimentSpec, load_spec, require_paths
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.staging.task_inputs import VALIDATION_FIELDS
from maskrcnn_trainer.task.cpus import task_threads
from maskrcnn_trainer.task.device import device_name
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.failures import explained_failures
from maskrcnn_trainer.task.reporter import task_report
from maskrcnn_trainer.task.runtime import prepare_tensorflow
from maskrcnn_trainer.task.staged_inputs import with_staged_paths
from maskrcnn_trainer.task.stopping import StopRequest


def evaluate_task(
    *,
    spec_path: str,
    model_path: Path,
    results_dir: Path,
    key: str | None,
    environment: TaskEnvironment,
    token: str | None,
) -> None:
    """Run ``maskrcnn evaluate``: write ``images.json``, ``metrics.json``, and ``detections.json``, then the report.

    Args:
        spec_path: the experiment spec.
        model_path: a ``.tlt``, ``.onnx``, or ``.etlt`` file, or a TensorRT engine.
        results_dir: directory of the results.
        key: key of an encrypted model.
        environment: settings from environment variables.
        token: token of the run, which detects that another run has taken over ``results_dir``.
    """
    guard = ownership_guard(results_dir, token)
    threads = task_threads()
    with (
        StopRequest() as stop,
        task_report(
            TaskName.EVALUATE,
            results_dir,
            environment,
            started="Starting Mask R-CNN evaluation.",
            threads=threads,
            before_write=guard,
        ) as reporter,
        explained_failures(),
    ):
        spec = with_staged_paths(load_spec(spec_path, trains=False), *VALIDATION_FIELDS)
        require_paths(spec, TaskName.EVALUATE, source=str(spec_path))
        metrics, artifacts = _evaluate(
            spec, model_path, results_dir, key=key, threads=threads, check_stop=stop.check, guard=guard
        )
        reporter.succeeded(
            "Evaluation finished successfully.",
            metrics=metrics,
            artifacts=artifacts,
            model_path=model_path,
            device=device_name(),
            make_report=lambda: make_report(
                results_dir, Path(str(spec.data_config.val_json_file)), stop=stop, before_write=guard
            ),
        )


def _evaluate(
    spec: ExperimentSpec,
    model_path: Path,
    results_dir: Path,
    *,
    key: str | None,
    threads: int,
    check_stop: Callable[[], None],
    guard: Callable[[], None],
) -> tuple[Mapping[str, float], Mapping[str, Path]]:
    """Evaluate a model, and write the files; return the metrics and the artifacts.

    The network, the annotations, and the detections aren't needed any more after this.
    """
    data = open_validation(spec)
    require_model(model_path)
    check_stop()
    from maskrcnn_trainer.evaluation.validation import DetectorValidation  # loads TensorFlow

    prepare_tensorflow(threads=threads, deterministic=spec.deterministic, tf32=spec.tf32, seed=spec.seed)
    detector = open_detector(model_path, spec, key=key, threads=threads)
    data.check_model(detector.class_map, str(model_path))
    validation = DetectorValidation(spec, detector, data, threads=threads)
    result = validation.run(check_stop=check_stop, keep_results=True)
    if result is None:
        raise AssertionError("a single process has rank 0")
    remove_leftovers(results_dir)
    write_evaluated_images(results_dir, validation.evaluated_images(result), before_write=guard)
    metrics_file, detections_file = write_evaluation(
        results_dir, result, validation.names, step=detector.step, before_write=guard
    )
    return result.metrics, {"metrics": metrics_file, "detections": detections_file}
