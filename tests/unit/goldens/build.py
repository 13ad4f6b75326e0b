"""Golden files: the output of the operator and the trainer for many experiments, byte by byte.

    python -m tests.unit.goldens.build                  # write the files (make goldens)
    python -m tests.unit.goldens.build --show random-07 # print the Jobs of one experiment

Jobs and messages of the examples are stored as they are, those of other experiments as hashes. Times, versions, host
names and directories of this machine are masked. ``--show`` serves to compare two commits.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from maskrcnn_operator.api.crd import custom_resource_definition
from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.manifest import read_manifest
from maskrcnn_operator.api.status import StepState, StepStatus
from maskrcnn_operator.core.desired import DesiredState, resolve
from maskrcnn_operator.core.plan import ReconcileContext, Settings, StartRun
from maskrcnn_operator.core.starting import next_attempt
from maskrcnn_operator.jobs.config import JobConfig, run_name
from maskrcnn_operator.jobs.manifests import job_manifest, service_manifest
from maskrcnn_trainer.errors import InvalidInput, TryAgain
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.reporter import Reporter

FOLDER = Path(__file__).parent
FINGERPRINTS = "fingerprints.json"
ROOT = FOLDER.parents[2]
UID = "6f1c2d34-0000-4000-8000-000000000001"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CONFIG = JobConfig(
    default_image="trainer:1",
    report_url="https://reports.example.com:8443",
    report_ca="CERTIFICATE",
    owner_id="lab",
)
SETTINGS = Settings(default_image="trainer:1", queueing=True, run_name=run_name)
MASKS = (
    (r'"(date|time|startTime|completionTime)":( ?)"[^"]*"', r'"\1":\2"MASKED"'),
    (r'"versions": \{[^}]*\}', '"versions": "MASKED"'),
    (r'"threads": \d+', '"threads": "MASKED"'),
)


def examples() -> dict[str, MaskRCNNExperiment]:
    """Return the experiments of examples/, by folder and file."""
    files = sorted((ROOT / "examples").glob("*/*.yaml"))
    return {f"{file.parent.name}-{file.stem}": experiment for file in files for experiment in _experiments(file)}


def others() -> dict[str, MaskRCNNExperiment]:
    """Return the random experiments, and the manifests that the API server accepts."""
    accepted = sorted((ROOT / "tests" / "apiserver" / "manifests" / "accepted").glob("*.yaml"))
    found = {f"accepted-{file.stem}": experiment for file in accepted for experiment in _experiments(file)}
    return found | {experiment.name: experiment for experiment in _experiments(FOLDER / "manifests.yaml")}


def _experiments(file: Path) -> Iterator[MaskRCNNExperiment]:
    for text in re.split(r"(?m)^---$", file.read_text()):
        experiment = read_manifest(text)
        metadata = experiment.metadata.model_copy(update={"namespace": "lab", "uid": UID})
        yield experiment.model_copy(update={"metadata": metadata})


def fingerprints(experiment: MaskRCNNExperiment) -> dict[str, Mapping[str, str]]:
    """Return the fingerprints of every step, by version of the algorithm."""
    return {name: dict(found.by_version) for name, found in _desired(experiment).prints.items()}


def objects(experiment: MaskRCNNExperiment) -> dict[str, dict[str, Any]]:
    """Return Job and Service of every step's first attempt, after all earlier steps have succeeded."""
    found = {}
    for step in experiment.spec.steps:
        start = _start(experiment, step.name)
        found[step.name] = {"job": job_manifest(experiment, start, CONFIG)}
        service = service_manifest(experiment, step.name)
        if service is not None:
            found[step.name]["service"] = service
    return found


def _start(experiment: MaskRCNNExperiment, name: str) -> StartRun:
    succeeded = {
        step.name: StepStatus(
            name=step.name, state=StepState.SUCCEEDED, attempt=1, model_path=f"/workspace/{step.name}/model.tlt"
        )
        for step in experiment.spec.steps
    }
    steps = succeeded | {name: StepStatus(name=name)}
    context = ReconcileContext(experiment, (), _desired(experiment), NOW, SETTINGS, lingering={}, refused={})
    _, start = next_attempt(name, steps, context)
    assert start is not None
    return start


def _desired(experiment: MaskRCNNExperiment) -> DesiredState:
    desired = resolve(experiment)
    assert not desired.problems, (experiment.name, desired.problems)
    return desired


def definition() -> Any:
    """Return the CustomResourceDefinition without its descriptions."""
    return _without_descriptions(custom_resource_definition())


def _without_descriptions(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_descriptions(item) for item in value]
    if not isinstance(value, dict):
        return value
    texts = {"description"} if isinstance(value.get("description"), str) else set()
    return {name: _without_descriptions(item) for name, item in value.items() if name not in texts}


def messages(experiment: MaskRCNNExperiment) -> dict[str, dict[str, str]]:
    """Return status.json, result.json and the termination message of every step, for one success and two failures."""
    found: dict[str, dict[str, str]] = {}
    for step in experiment.spec.steps:
        start = _start(experiment, step.name)
        task = step.task_name.command
        for name, error in (
            ("succeeded", None),
            ("refused", InvalidInput("dataConfig.numClasses: 2 is too few", reason="InvalidSpec")),
            ("again", TryAgain("the server is busy")),
        ):
            for file, text in _written(task, start, error).items():
                found.setdefault(f"{step.name} {name}", {})[file] = text
    return found


def _written(task: str, start: StartRun, error: Exception | None) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        model = folder / "model.tlt"
        model.write_bytes(b"model")
        environment = TaskEnvironment(
            fingerprint=start.fingerprint,
            older_fingerprints=start.older_fingerprints,
            attempt=start.attempt,
            experiment_uid=UID,
            termination_log=str(folder / "termination.log"),
        )
        reporter = Reporter(task, folder / "results", environment, threads=2)
        reporter.started("begins")
        reporter.running(
            "runs", epoch=1, max_epoch=3, step=10, total_steps=30, eta=61.0, time_per_epoch=20.0,
            kpi={"AP": 0.25, "loss": float("nan")}, graphical={"loss": 1.5}, checkpoint_step=10,
        )  # fmt: skip
        if error is None:
            reporter.succeeded("done", metrics={"AP": 0.5}, artifacts={"model": model}, model_path=model)
        else:
            reporter.failed(error)
        files = {
            "status.json": folder / "results" / "status.json",
            "result.json": folder / "results" / "result.json",
            "termination message": folder / "termination.log",
        }
        return {name: _masked(path.read_text(), folder) for name, path in files.items() if path.exists()}


def _masked(text: str, folder: Path) -> str:
    text = text.replace(str(folder), "/workspace")
    for pattern, replacement in MASKS:
        text = re.sub(pattern, replacement, text)
    return text


def build() -> dict[str, str]:
    """Return the text of every golden file, by name."""
    shown, hashed = examples(), others()
    every = shown | hashed
    return {
        FINGERPRINTS: _json({name: fingerprints(experiment) for name, experiment in every.items()}),
        **{f"jobs/{name}.json": _json(objects(experiment)) for name, experiment in shown.items()},
        "jobs/others.json": _json({name: _digest(objects(experiment)) for name, experiment in hashed.items()}),
        **{f"messages/{name}.json": _json(messages(experiment)) for name, experiment in shown.items()},
        "messages/others.json": _json({name: _digest(messages(experiment)) for name, experiment in hashed.items()}),
        "definition.json": _json({"sha256": _digest(definition())}),
    }


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def _digest(value: Any) -> str:
    # not sorted: the order of keys is part of the output
    return hashlib.sha256(_json(value).encode()).hexdigest()


def main() -> None:
    """Write the golden files, or print the objects of one experiment."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--show", metavar="EXPERIMENT", help="print this experiment's objects and write nothing")
    shown = parser.parse_args().show
    if shown:
        sys.stdout.write(_json(objects((examples() | others())[shown])))
        return
    written = build()
    _only_added(json.loads(written[FINGERPRINTS]))
    for name, text in written.items():
        file = FOLDER / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)


def _only_added(fingerprints: Mapping[str, Any]) -> None:
    file = FOLDER / FINGERPRINTS
    known = _flat(json.loads(file.read_text())) if file.exists() else {}
    now = _flat(fingerprints)
    changed = sorted(key for key in known if now.get(key) != known[key])
    if changed:
        names = ", ".join(" ".join(key) for key in changed)
        sys.exit(
            f"changed fingerprints of {names}: every user's models would be trained again; add a new version of the "
            "algorithm instead"
        )


def _flat(fingerprints: Mapping[str, Any]) -> dict[tuple[str, str, str], str]:
    """Return each fingerprint by experiment, step, and version."""
    return {
        (experiment, step, version): fingerprint
        for experiment, steps in fingerprints.items()
        for step, versions in steps.items()
        for version, fingerprint in versions.items()
    }


if __name__ == "__main__":
    main()
