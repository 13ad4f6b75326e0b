from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from maskrcnn_operator.api.manifest import read_manifest
from maskrcnn_operator.api.status import Artifact, ExperimentStatus, Metric, Progress, StepState, StepStatus
from maskrcnn_operator.core.plan import Event
from maskrcnn_operator.local.display import LiveDisplay, PlainDisplay, final_tables, progress_text
from maskrcnn_operator.local.retrieval import Retrieval

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PROGRESS = Progress(
    step="train",
    iteration=300,
    total_iterations=1000,
    percentage=30,
    eta="0:12:30",
    metrics=(Metric(name="loss", value="0.6123456"), Metric(name="ARm", value="0.1")),
)
STATUS = ExperimentStatus(
    steps=(
        StepStatus(name="train", state=StepState.RUNNING, reason="Training", attempt=2),
        StepStatus(name="evaluate", state=StepState.PENDING, reason="WaitingForSteps"),
    )
)


def test_progress_is_one_line() -> None:
    assert progress_text(PROGRESS) == "300/1000 (30%), 0:12:30 left, loss 0.6123"
    assert progress_text(Progress(step="train")) == "running, no progress yet"
    assert progress_text(Progress(step="train", iteration=2)) == "2 done"


def test_plain_lines_come_at_most_every_ten_seconds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    display = PlainDisplay()
    for seconds in range(25):
        progress = PROGRESS.model_copy(update={"iteration": 300 + seconds})
        display.update(STATUS, {"train": progress}, NOW + timedelta(seconds=seconds))
    display.update(STATUS, {"train": progress}, NOW + timedelta(seconds=99))
    display.update(STATUS, {"train": progress}, NOW + timedelta(seconds=199))
    display.show(Event("Warning", "StepFailed", "step train: Error"))
    assert [record.getMessage()[:17] for record in caplog.records] == [
        "train: 300/1000 (",
        "train: 310/1000 (",
        "train: 320/1000 (",
        "train: 324/1000 (",
        "step train: Error",
    ]


def test_live_table_shows_state_and_progress_of_each_step() -> None:
    output = io.StringIO()
    display = LiveDisplay(Console(file=output, force_terminal=True, width=120), "experiment shapes")
    display.update(STATUS, {"train": PROGRESS}, NOW)
    display.close()
    shown = output.getvalue()
    for text in ("experiment shapes", "Running (Training), attempt 2", "300/1000, 0:12:30 left", "loss 0.6123"):
        assert text in shown


EXPERIMENT = read_manifest((Path(__file__).parent.parent / "core" / "nine_steps.yaml").read_text())


def _shown(status: ExperimentStatus, retrieval: Retrieval | None = None) -> list[str]:
    output = io.StringIO()
    console = Console(file=output, width=100)
    for table in final_tables(EXPERIMENT, status, {}, retrieval=retrieval):
        console.print(table)
    return [line.rstrip() for line in output.getvalue().splitlines()]


def _measured(name: str, **metrics: float) -> StepStatus:
    values = tuple(Metric(name=key, value=str(value)) for key, value in metrics.items())
    return StepStatus(name=name, state=StepState.SUCCEEDED, metrics=values)


def test_final_table_has_a_row_for_each_model_and_fits_100_columns() -> None:
    rest = {f"mask_AR_{kind}": 0.123456 for kind in ("small", "medium", "large", "max1", "max10", "max100")}
    names = tuple(step.name for step in EXPERIMENT.spec.steps if step.task_name.value in ("train", "evaluate"))
    steps = [_measured(name, AP=0.54321, AP50=1, mask_AP=-1, mask_AP50=0.5, **rest) for name in names]
    lines = _shown(ExperimentStatus(steps=tuple(steps)))
    assert all(len(line) <= 100 and "…" not in line for line in lines)
    models = lines[lines.index("models") :]
    assert models[2].split() == ["step", "AP", "AP50", "mask_AP", "mask_AP50"]
    assert [line.split() for line in models[4 : 4 + len(names)]] == [
        [name, "0.5432", "1.0000", "-", "0.5000"] for name in names
    ]


def test_final_table_shows_integers_with_all_digits_and_sizes_in_mib() -> None:
    convert, prune = (
        next(step.name for step in EXPERIMENT.spec.steps if step.task_name.value == task)
        for task in ("datasetConvert", "prune")
    )
    artifacts = {"model": Artifact(path="/workspace/a/model.tlt", size_bytes=408_000_000)}
    steps = (
        _measured(convert, images=600, objects=19675),
        _measured(prune, pruning_ratio=0.71234, size=389200000, flops=97260000000.0).model_copy(
            update={"artifacts": artifacts}
        ),
    )
    text = " ".join(" ".join(_shown(ExperimentStatus(steps=steps))).split())
    assert "images 600, objects 19,675" in text
    assert "pruning_ratio 0.7123, size 371.2 MiB, flops 97,260,000,000" in text
    assert "389.1 MiB /workspace/a/model.tlt" in text


def test_artifact_outside_the_workspace_has_no_name_to_load() -> None:
    artifacts = {"model": Artifact(path="/etc/passwd", size_bytes=5)}
    step = StepStatus(name="train", state=StepState.SUCCEEDED, artifacts=artifacts)
    lines = _shown(ExperimentStatus(steps=(step,)), Retrieval("s3://bucket/prefix"))
    assert [line.split() for line in lines if "model" in line] == [["train", "model", "5", "B", "-"]]


def test_artifact_is_shown_as_it_is_written() -> None:
    artifacts = {"[red]model": Artifact(path="/workspace/a/[bold]m", size_bytes=5)}
    step = StepStatus(name="train", state=StepState.SUCCEEDED, artifacts=artifacts)
    text = "".join(_shown(ExperimentStatus(steps=(step,))))
    assert "[red]model" in text
    assert "a/[bold]m" in text


def test_long_texts_are_wrapped_at_100_columns() -> None:
    path = "/workspace/" + "/".join(["a-long-name-of-a-directory"] * 8)
    artifacts = {"model": Artifact(path=path, size_bytes=5)}
    step = StepStatus(name="train", state=StepState.SUCCEEDED, artifacts=artifacts, message="word " * 60)
    lines = _shown(ExperimentStatus(steps=(step,)))
    assert all(len(line) <= 100 and "…" not in line for line in lines)
    assert path in "".join("".join(lines).split())
