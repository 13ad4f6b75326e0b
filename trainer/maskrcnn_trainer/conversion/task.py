"""The dataset_convert task: from COCO images and annotations to TFRecords."""

from __future__ import annotations

from pathlib import Path

from maskrcnn_trainer.conversion.dataset import ConversionSummary, convert_dataset
from maskrcnn_trainer.conversion.interruption import stopping_on_sigterm
from maskrcnn_trainer.results.facts import ConversionFacts
from maskrcnn_trainer.results.leftovers import remove_leftovers
from maskrcnn_trainer.results.ownership import ownership_guard
from maskrcnn_trainer.shared.messages import RECORDS_ARTIFACT
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.task.cpus import task_threads
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.progress_bar import ReportedProgress
from maskrcnn_trainer.task.reporter import task_report


def convert_task(
    *,
    image_dir: str,
    annotations_file: str,
    output_dir: Path,
    results_dir: Path,
    tag: str | None,
    num_shards: int,
    include_mask: bool,
    skip_bad_images: bool,
    crowd_as_objects: bool,
    environment: TaskEnvironment,
    token: str | None,
) -> None:
    """Run the task: write the records and the warnings file, and report them.

    Args:
        image_dir: joined with each ``file_name``.
        annotations_file: COCO instances JSON.
        output_dir: directory of the records.
        results_dir: directory of the reports, which may be another one.
        tag: prefix of the files; None for the name of the annotation file without its extension.
        num_shards: number of files, 1 to 99,999.
        include_mask: whether masks are written.
        skip_bad_images: whether images that cannot be used are left out.
        crowd_as_objects: whether ``iscrowd`` 1 is written as 0.
        environment: of the task.
        token: ownership token of ``results_dir``; None if it is not checked.

    Raises:
        SystemExit: the task failed; the exit code states whether it may be retried.
    """
    guard = ownership_guard(results_dir, token)
    processes = task_threads()
    with (
        stopping_on_sigterm(),
        task_report(
            TaskName.DATASET_CONVERT,
            results_dir,
            environment,
            started="Starting tfrecords conversion.",
            threads=processes,
            before_write=guard,
        ) as reporter,
    ):

        def before_publish() -> None:
            guard()
            reporter.accepted()
            for directory in {results_dir, output_dir}:
                remove_leftovers(directory)

        with ReportedProgress(reporter, "Converting", "images") as progress:
            summary = convert_dataset(
                image_dir,
                annotations_file,
                output_dir,
                tag=tag,
                num_shards=num_shards,
                include_mask=include_mask,
                skip_bad_images=skip_bad_images,
                crowd_as_objects=crowd_as_objects,
                processes=processes,
                progress=progress.at,
                before_publish=before_publish,
            )
        reporter.succeeded(
            "Conversion finished successfully.",
            metrics=metrics_of(summary),
            artifacts=artifacts_of(summary),
            facts=ConversionFacts(summary.images, summary.classes).to_json(),
        )


def metrics_of(summary: ConversionSummary) -> dict[str, float]:
    """Return the metrics of a conversion under the names that are reported."""
    return {
        "images": summary.images,
        "skipped_images": summary.skipped_images,
        "objects": summary.objects,
        "skipped_objects": summary.skipped,
        "warned_images": summary.warned_images,
        "seconds": round(summary.seconds, 3),
    }


def artifacts_of(summary: ConversionSummary) -> dict[str, str]:
    """Return the paths of a conversion's results under the names that are reported."""
    artifacts = {RECORDS_ARTIFACT: summary.pattern}
    if summary.warnings_file is not None:
        artifacts["warnings"] = summary.warnings_file
    return artifacts
