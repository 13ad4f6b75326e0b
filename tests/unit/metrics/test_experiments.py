"""Series of experiments: their values, their number, and their end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition, parser

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.manifest import read_object
from maskrcnn_operator.api.status import (
    Condition,
    ExperimentStatus,
    Metric,
    Progress,
    StepState,
    StepStatus,
    UnpublishedStep,
)
from maskrcnn_operator.metrics.experiments import SERIES, ExperimentCollector

MANIFEST = yaml.safe_load((Path(__file__).parents[1] / "core" / "nine_steps.yaml").read_text())
CREATED = datetime(2026, 11, 22, 12, tzinfo=UTC)
BASE = read_object({**MANIFEST, "metadata": {"name": "nuclei", "namespace": "lab", "uid": "1", "generation": 1}})

TRAINING = ExperimentStatus(
    restarts=2,
    current_step="train",
    steps=(
        StepStatus(name="convert-train", state=StepState.SUCCEEDED, reason="Completed"),
        StepStatus(name="train", state=StepState.RUNNING, reason="Training", attempt=2),
        StepStatus(name="evaluate", reason="WaitingForSteps"),
    ),
    progress=Progress(
        step="train", iteration=50_400, total_iterations=120_000, percentage=42,
        unpublished=(UnpublishedStep(step="train", attempt=2, since=CREATED),),
        metrics=(
            Metric(name="loss", value="0.61"), Metric(name="images_per_second", value="112.4"),
            Metric(name="AP", value="0.3"), Metric(name="mask_AP", value="0.28"), Metric(name="AP50", value="0.5"),
        ),
    ),
)  # fmt: skip


def experiment(
    name: str = "nuclei",
    state: str = "Running",
    status: ExperimentStatus = TRAINING,
    *,
    minutes: int = 0,
    uid: str = "",
) -> MaskRCNNExperiment:
    ready = Condition(type="Ready", status="False", reason=state, last_transition_time=CREATED)
    metadata = BASE.metadata.model_copy(
        update={"name": name, "uid": uid or name, "creation_timestamp": CREATED + timedelta(minutes=minutes)}
    )
    return BASE.model_copy(update={"metadata": metadata, "status": status.model_copy(update={"conditions": (ready,)})})


class Cache:
    def __init__(self, *experiments: MaskRCNNExperiment) -> None:
        self.kept = list(experiments)

    def experiments(self) -> list[MaskRCNNExperiment]:
        return self.kept


def samples(collector: ExperimentCollector) -> dict[tuple[str, ...], float]:
    """Return values by name and labels; fail if a series is exported twice."""
    found: dict[tuple[str, ...], float] = {}
    for family in collector.collect():
        for sample in family.samples:
            key = (sample.name, *sample.labels.values())
            assert key not in found
            found[key] = sample.value
    return found


def of_experiments(collector: ExperimentCollector) -> dict[tuple[str, ...], float]:
    return {key: value for key, value in samples(collector).items() if key[0].startswith("maskrcnn_experiment_")}


def unpublished(*waits: UnpublishedStep) -> float | None:
    """Return the value of the series at noon, for the checkpoints that wait; None if it is absent."""
    status = TRAINING.model_copy(
        update={
            "progress": Progress(step="train", unpublished=waits),
            "steps": (*TRAINING.steps, StepStatus(name="retrain", state=StepState.RUNNING, attempt=1)),
        }
    )
    cache = Cache(experiment(status=status))
    found = samples(ExperimentCollector(cache, lambda: True, 10, now=lambda: CREATED))
    return found.get(("maskrcnn_experiment_unpublished_seconds", "lab", "nuclei"))


def wait_of(seconds: float, step: str = "train", attempt: int = 2) -> UnpublishedStep:
    return UnpublishedStep(step=step, attempt=attempt, since=CREATED - timedelta(seconds=seconds))


def test_wait_of_a_checkpoint_grows_without_another_report() -> None:
    assert unpublished(wait_of(750)) == 750


def test_wait_from_a_clock_that_is_ahead_is_none() -> None:
    assert unpublished(wait_of(-5)) == 0


@pytest.mark.parametrize("seconds", [(750, 3000), (3000, 750)])
def test_longest_wait_of_all_running_steps_counts(seconds: tuple[int, int]) -> None:
    assert unpublished(wait_of(seconds[0]), wait_of(seconds[1], "retrain", 1)) == 3000


@pytest.mark.parametrize(("step", "attempt"), [("train", 1), ("convert-train", 0), ("gone", 1)])
def test_wait_of_an_attempt_that_does_not_run_has_no_series(step: str, attempt: int) -> None:
    assert unpublished(wait_of(750, step, attempt)) is None


def test_running_training_has_nine_series() -> None:
    collector = ExperimentCollector(Cache(experiment()), lambda: True, 10, now=lambda: CREATED + timedelta(seconds=150))
    assert samples(collector) == {
        ("maskrcnn_experiments", "lab", "Running"): 1,
        ("maskrcnn_experiments_without_series",): 0,
        ("maskrcnn_experiment_state", "lab", "nuclei", "Running", "train", "Training"): 1,
        ("maskrcnn_experiment_progress_ratio", "lab", "nuclei"): 0.42,
        ("maskrcnn_experiment_unpublished_seconds", "lab", "nuclei"): 150,
        ("maskrcnn_experiment_restarts", "lab", "nuclei"): 2,
        ("maskrcnn_experiment_loss", "lab", "nuclei"): 0.61,
        ("maskrcnn_experiment_images_per_second", "lab", "nuclei"): 112.4,
        ("maskrcnn_experiment_box_average_precision_ratio", "lab", "nuclei"): 0.3,
        ("maskrcnn_experiment_mask_average_precision_ratio", "lab", "nuclei"): 0.28,
        ("maskrcnn_experiment_created_timestamp_seconds", "lab", "nuclei"): CREATED.timestamp(),
    }
    assert len(SERIES) == 9


def test_no_series_has_a_label_for_a_pod_an_attempt_or_a_message() -> None:
    labels = {label for series in SERIES for label in ("namespace", "experiment", *series.labels)}
    assert labels == {"namespace", "experiment", "state", "step", "reason"}


def test_missing_values_have_no_series() -> None:
    found = of_experiments(ExperimentCollector(Cache(experiment(status=ExperimentStatus())), lambda: True, 10))
    assert {key[0] for key in found} == {
        "maskrcnn_experiment_state", "maskrcnn_experiment_restarts", "maskrcnn_experiment_created_timestamp_seconds",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ({"train": ("Succeeded", "Completed"), "evaluate": ("Succeeded", "UpToDate")}, None),
        ({"train": ("Failed", "OutOfMemory"), "evaluate": ("Pending", "UpstreamFailed")}, ("train", "OutOfMemory")),
        ({"train": ("Pending", "JobRefused"), "evaluate": ("Pending", "WaitingForSteps")}, ("train", "JobRefused")),
        ({"train": ("Failed", "Error"), "other": ("Pending", "BackOff")}, ("other", "BackOff")),
        ({"train": ("Pending", "BackOff"), "other": ("Queued", "Queued")}, ("other", "Queued")),
        # an undocumented reason isn't a label value: a trainer image could create any number of series with it
        ({"train": ("Failed", "MyOwnReason42")}, ("train", "Error")),
    ],
)
def test_state_has_the_step_responsible_for_it(
    steps: dict[str, tuple[str, str]], expected: tuple[str, str] | None
) -> None:
    status = ExperimentStatus(
        steps=tuple(
            StepStatus(name=name, state=StepState(state), reason=reason) for name, (state, reason) in steps.items()
        )
    )
    found = of_experiments(ExperimentCollector(Cache(experiment(status=status)), lambda: True, 10))
    assert [key[4:] for key in found if key[0] == "maskrcnn_experiment_state"] == [expected or ("", "")]


def test_finished_evaluation_takes_precedence_over_metrics_of_the_training() -> None:
    status = TRAINING.model_copy(update={"metrics": (Metric(name="AP", value="0.377"),)})
    found = samples(ExperimentCollector(Cache(experiment(status=status)), lambda: True, 10))
    assert found["maskrcnn_experiment_box_average_precision_ratio", "lab", "nuclei"] == 0.377
    assert found["maskrcnn_experiment_mask_average_precision_ratio", "lab", "nuclei"] == 0.28


def test_undocumented_state_is_exported_as_error() -> None:
    found = samples(ExperimentCollector(Cache(experiment(state="x" * 100_000)), lambda: True, 10))
    assert found["maskrcnn_experiments", "lab", "Error"] == 1
    assert not any("x" * 100 in label for key in found for label in key)


def test_experiment_without_a_status_is_pending() -> None:
    fresh = experiment().with_status(ExperimentStatus())
    found = samples(ExperimentCollector(Cache(fresh), lambda: True, 10))
    assert found["maskrcnn_experiment_state", "lab", "nuclei", "Pending", "", ""] == 1
    assert found["maskrcnn_experiments", "lab", "Pending"] == 1


@pytest.mark.parametrize("value", ["", "none", "1.2.3"])
def test_metric_that_is_not_a_number_has_no_series(value: str) -> None:
    progress = Progress(step="train", metrics=(Metric(name="loss", value=value),))
    found = of_experiments(
        ExperimentCollector(Cache(experiment(status=ExperimentStatus(progress=progress))), lambda: True, 10)
    )
    assert "maskrcnn_experiment_loss" not in {key[0] for key in found}


def test_series_of_a_deleted_experiment_disappear() -> None:
    cache = Cache(experiment("a"), experiment("b"))
    collector = ExperimentCollector(cache, lambda: True, 10)
    assert {key[2] for key in of_experiments(collector)} == {"a", "b"}
    del cache.kept[0]
    assert {key[2] for key in of_experiments(collector)} == {"b"}


def test_only_the_leader_exports() -> None:
    leader = [False]
    collector = ExperimentCollector(Cache(experiment()), lambda: leader[0], 10)
    assert samples(collector) == {}
    leader[0] = True
    assert samples(collector)


def test_limit_prefers_unfinished_then_failed_then_new_experiments() -> None:
    cache = Cache(
        experiment("old-running", minutes=0),
        experiment("new-done", "Succeeded", minutes=90),
        experiment("failed", "Failed", minutes=80),
        experiment("new-running", minutes=70),
        experiment("suspended", "Suspended", minutes=10),
    )
    for limit, kept in (
        (0, set()),
        (2, {"new-running", "suspended"}),
        (4, {"new-running", "suspended", "old-running", "failed"}),
        (5, {"new-running", "suspended", "old-running", "new-done", "failed"}),
    ):
        collector = ExperimentCollector(cache, lambda: True, limit)
        assert {key[2] for key in of_experiments(collector)} == kept
        found = samples(collector)
        assert found["maskrcnn_experiments_without_series",] == 5 - len(kept)
        assert found["maskrcnn_experiments", "lab", "Running"] == 2
        assert len(of_experiments(collector)) <= len(SERIES) * limit


def test_experiments_without_series_are_counted_by_namespace() -> None:
    elsewhere = experiment("b", "Failed")
    moved = elsewhere.model_copy(
        update={"metadata": elsewhere.metadata.model_copy(update={"namespace": "field", "uid": "b2"})}
    )
    cache = Cache(experiment("a", "Failed"), elsewhere, moved, experiment("c"))
    assert samples(ExperimentCollector(cache, lambda: True, 0)) == {
        ("maskrcnn_experiments", "field", "Failed"): 1,
        ("maskrcnn_experiments", "lab", "Failed"): 2,
        ("maskrcnn_experiments", "lab", "Running"): 1,
        ("maskrcnn_experiments_without_series",): 4,
    }


def test_recreated_experiment_has_one_set_of_series() -> None:
    cache = Cache(experiment(uid="new", minutes=5, state="Pending"), experiment(uid="old", state="Failed"))
    found = samples(ExperimentCollector(cache, lambda: True, 10))
    assert found["maskrcnn_experiment_state", "lab", "nuclei", "Pending", "train", "Training"] == 1
    assert found["maskrcnn_experiments", "lab", "Pending"] == 1


def test_both_text_formats_are_valid() -> None:
    registry = CollectorRegistry()
    registry.register(ExperimentCollector(Cache(experiment(), experiment("b", "Failed")), lambda: True, 10))
    families: list[Any] = list(parser.text_string_to_metric_families(exposition.generate_latest(registry).decode()))
    assert {family.name for family in families} >= {series.name for series in SERIES}
    line = (
        b'maskrcnn_experiment_state{experiment="b",namespace="lab",reason="Training",state="Failed",step="train"} 1.0'
    )
    assert line in generate_latest(registry)
