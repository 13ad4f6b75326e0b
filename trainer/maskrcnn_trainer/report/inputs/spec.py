"""Spec of a step: the file that a local run keeps next to its log, or the one in an unencrypted model."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maskrcnn_trainer.errors import TaskError
from maskrcnn_trainer.report.inputs.files import MIB, Unreadable, one_sentence, read_bytes, shown_path
from maskrcnn_trainer.results.ours import LOGS
from maskrcnn_trainer.shared.files import open_regular
from maskrcnn_trainer.spec import ExperimentSpec, parse_spec, read_spec
from maskrcnn_trainer.task.files import DAMAGED_ZIP, stored_member

LARGEST_SPEC, LARGEST_DESCRIPTION = MIB, 16 * MIB
_DESCRIPTION = "model.json"
_ATTEMPT = re.compile(r"attempt-(?P<number>[0-9]{1,9})\.spec\.yaml")


@dataclass(frozen=True)
class ModelDescription:
    """Part of a model file's ``model.json``.

    Attributes:
        experiment: the spec of its training, unchecked.
        state: state of its training, unchecked; has the digest and the number of the training records.
    """

    experiment: Mapping[str, Any]
    state: Mapping[str, Any] = field(default_factory=dict)


def spec_of_attempt(directory: Path) -> ExperimentSpec | None:
    """Return the spec of the newest attempt in a results directory of a local run; None if it has none.

    Raises:
        Unreadable: the file can't be read or isn't a valid spec.
    """
    try:
        names = [path.name for path in (directory / LOGS).iterdir()]
    except OSError:
        return None
    attempts = {int(match["number"]): match[0] for name in names if (match := _ATTEMPT.fullmatch(name))}
    if not attempts:
        return None
    file = directory / LOGS / attempts[max(attempts)]
    name = f"{directory.name}/{LOGS}/{file.name}"
    try:
        return read_spec(read_bytes(file, LARGEST_SPEC, name=name).decode(), name).spec
    except UnicodeDecodeError:
        raise Unreadable(f"The spec {name} isn't UTF-8 text.") from None
    except TaskError as error:
        raise Unreadable(f"The spec isn't valid: {one_sentence(error)}") from None


def description_of_model(file: Path) -> ModelDescription:
    """Return the description in a model file, without reading its weights.

    Raises:
        Unreadable: it is absent, encrypted, damaged, or another kind of file.
    """
    try:
        with open_regular(file) as stream, zipfile.ZipFile(stream) as archive:
            if archive.getinfo(_DESCRIPTION).file_size > LARGEST_DESCRIPTION:
                raise Unreadable(f"{shown_path(file)}: its {_DESCRIPTION} is too large.")
            content = json.loads(stored_member(archive, _DESCRIPTION))
    except (OSError, *DAMAGED_ZIP):
        raise Unreadable(f"{shown_path(file)} has no spec that can be read without its key.") from None
    experiment, state = (content.get(key) if isinstance(content, dict) else None for key in ("experiment", "state"))
    if not isinstance(experiment, dict):
        raise Unreadable(f"{shown_path(file)}: its {_DESCRIPTION} has no spec.")
    return ModelDescription(experiment, state if isinstance(state, dict) else {})


def spec_in(description: ModelDescription, source: Path) -> ExperimentSpec:
    """Return the spec in a model's description.

    Raises:
        Unreadable: it isn't valid for this release.
    """
    try:
        return parse_spec(description.experiment, source=shown_path(source))
    except TaskError as error:
        raise Unreadable(f"The spec in a model isn't valid: {one_sentence(error)}") from None
