"""Reading of a task's results directory: termination message, result, and artifacts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from maskrcnn_operator.api.status import Artifact
from maskrcnn_operator.core.result import TaskResult, parse_result
from maskrcnn_operator.local.paths import LocalWorkspace
from maskrcnn_operator.local.process import Files
from maskrcnn_trainer.errors import EXIT_OK
from maskrcnn_trainer.shared.messages import RESULT_FILE


def ended_result(
    files: Files, code: int, *, fingerprints: Sequence[str], workspace: LocalWorkspace
) -> TaskResult | None:
    """Return the result of an attempt that has ended, or None if there is none.

    Args:
        files: of the attempt.
        code: exit code of its launch.
        fingerprints: of the step.
        workspace: maps the manifest's paths to this machine.
    """
    reported = reported_result(
        files.termination_log, attempt=files.attempt, fingerprints=fingerprints, workspace=workspace
    )
    if code != EXIT_OK:
        return reported
    if not files.published:
        return finished_result(files.directory, fingerprints, workspace) or reported
    # launch has published the artifacts, which needn't be in the working directory
    recorded = _recorded_result(files.directory, fingerprints, workspace)
    return replace(recorded, up_to_date=reported.up_to_date) if recorded and reported else recorded or reported


def reported_result(
    file: Path, *, attempt: int, fingerprints: Sequence[str], workspace: LocalWorkspace
) -> TaskResult | None:
    """Return the termination message of an attempt, or None if it wrote none, or if that of an older one is there."""
    result = _read(file, workspace)
    if result is None or result.attempt != attempt or result.fingerprint not in fingerprints:
        return None
    return result


def finished_result(directory: Path, fingerprints: Sequence[str], workspace: LocalWorkspace) -> TaskResult | None:
    """Return the result of a finished step.

    Returns:
        None unless the result has one of the fingerprints and the files of each artifact have the recorded size.
    """
    result = _recorded_result(directory, fingerprints, workspace)
    if result is None:
        return None
    return result if all(_is_complete(artifact, workspace) for artifact in result.artifacts.values()) else None


def _recorded_result(directory: Path, fingerprints: Sequence[str], workspace: LocalWorkspace) -> TaskResult | None:
    result = _read(directory / RESULT_FILE, workspace)
    if result is None or result.exit_code != EXIT_OK or set(fingerprints).isdisjoint(result.fingerprints):
        return None
    return result


def _read(file: Path, workspace: LocalWorkspace) -> TaskResult | None:
    try:
        # reading a named pipe would block
        result = parse_result(file.read_bytes()) if file.is_file() else None
    except OSError:
        return None
    if result is None:
        return None
    return replace(
        result,
        message=workspace.in_manifest_form(result.message),
        model_path=workspace.to_manifest(result.model_path) if result.model_path else None,
        report_path=workspace.to_manifest(result.report_path) if result.report_path else None,
        artifacts={
            name: replace(artifact, path=workspace.to_manifest(artifact.path))
            for name, artifact in result.artifacts.items()
        },
    )


def _is_complete(artifact: Artifact, workspace: LocalWorkspace) -> bool:
    """Return whether an artifact's files (one, those in a directory, or those of a pattern) have the recorded size."""
    path = Path(workspace.to_local(artifact.path))
    try:
        if path.is_dir():
            files = [file for file in path.rglob("*") if file.is_file()]
        elif path.is_file():
            files = [path]
        else:
            files = list(path.parent.glob(path.name))
            if not files:
                return False
        return artifact.size_bytes is None or sum(file.stat().st_size for file in files) == artifact.size_bytes
    except (OSError, ValueError):  # deleted in the meantime, or an invalid pattern
        return False
