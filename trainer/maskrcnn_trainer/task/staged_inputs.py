"""Inputs by URL that were staged for a task: copies on this machine, and what its result records of them.

The process that stages writes a file, which MASKRCNN_STAGED_INPUTS names for the processes that it starts. A task opens
the copies; whatever it reports has the URLs as the user wrote them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maskrcnn_trainer.shared.object_url import local_path
from maskrcnn_trainer.shared.variables import STAGED_INPUTS_VARIABLE
from maskrcnn_trainer.spec.errors import Path as SpecPath
from maskrcnn_trainer.spec.experiment import ExperimentSpec
from maskrcnn_trainer.spec.url_fields import SPEC_URLS, InputKind
from maskrcnn_trainer.spelling import use_urls


@dataclass(frozen=True)
class StagedInputs:
    """Copies of inputs.

    Attributes:
        paths: of the copies, by the URL, the path below the workspace, or the pattern, as the user wrote it.
        urls: URL, or path below the workspace, of the place that a directory is a copy of, by the directory's absolute
            path.
        summaries: what ``result.json`` has of each of them.
        list_file: content of ``inputs.json.gz``; empty if no task reads any of them.
    """

    paths: Mapping[str, str] = field(default_factory=dict)
    urls: Mapping[str, str] = field(default_factory=dict)
    summaries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    list_file: str = ""


class _Current:
    inputs = StagedInputs()


def staged_inputs() -> StagedInputs:
    """Return the staged inputs of this process."""
    return _Current.inputs


def use_staged_inputs(inputs: StagedInputs) -> None:
    """Set the staged inputs of this process."""
    _Current.inputs = inputs
    use_urls(inputs.urls)


def hand_on_staged_inputs(inputs: StagedInputs, file: Path) -> None:
    """Set the staged inputs of this process and of those that it starts, by way of a file."""
    file.write_text(json.dumps(vars(inputs)), encoding="utf-8")
    os.environ[STAGED_INPUTS_VARIABLE] = str(file)
    use_staged_inputs(inputs)


def use_inputs_of_parent() -> None:
    """Set the staged inputs that another process has handed on to this one."""
    file = os.environ.get(STAGED_INPUTS_VARIABLE)
    use_staged_inputs(StagedInputs(**json.loads(Path(file).read_text(encoding="utf-8"))) if file else StagedInputs())


def staged_path(written: str) -> str:
    """Return the path of an input on this machine: of its copy, or of the file of a ``file:`` URL, else unchanged."""
    return _Current.inputs.paths.get(written) or local_path(written) or written


def staged_paths(written: str) -> str:
    """Return comma-separated patterns with those in object storage replaced by paths on this machine."""
    return re.sub(r"[^,\s][^,]*[^,\s]|[^,\s]", lambda pattern: staged_path(pattern[0]), written)


def staged_file(url: str) -> Path | None:
    """Return the copy of an object that any of the staged inputs has; None if none has it."""
    if url in _Current.inputs.paths:
        return Path(_Current.inputs.paths[url])
    for directory, above in _Current.inputs.urls.items():
        if url.startswith(f"{above}/") and os.path.lexists(found := Path(directory, url[len(above) + 1 :])):
            return found
    return None


def with_staged_paths(spec: ExperimentSpec, *fields: SpecPath) -> ExperimentSpec:
    """Return a spec whose inputs in object storage are paths on this machine, as far as they are staged.

    Args:
        spec: of a task.
        fields: those that the task reads, among those of ``SPEC_URLS``.
    """
    changes: dict[str, Any] = {}
    data: dict[str, Any] = {}
    for path in fields:
        *part, name = map(str, path)
        written = getattr(spec.data_config if part else spec, name)
        if not isinstance(written, str):
            continue
        here = staged_paths(written) if SPEC_URLS[path] is InputKind.PATTERNS else staged_path(written)
        if here != written:
            (data if part else changes)[name] = here
    if data:
        changes["data_config"] = spec.data_config.model_copy(update=data)
    return spec.model_copy(update=changes) if changes else spec
