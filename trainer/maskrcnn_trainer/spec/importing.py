"""``maskrcnn spec import``: convert a spec of TAO Toolkit to a MaskRCNNExperiment manifest."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.object_url import is_url, local_path
from maskrcnn_trainer.shared.resource import API_VERSION, EXPERIMENT_NAME_LENGTH, KIND, WORKSPACE_MOUNT
from maskrcnn_trainer.spec.base import SpecModel
from maskrcnn_trainer.spec.experiment import ExperimentSpec
from maskrcnn_trainer.spec.notes import notes
from maskrcnn_trainer.spec.partial import nested_model
from maskrcnn_trainer.spec.prototxt import OURS
from maskrcnn_trainer.spec.reading import SpecText, read_spec, read_text

_CLAIM = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


@dataclass(frozen=True)
class Imported:
    """A spec converted to a manifest.

    Attributes:
        name: name of the experiment.
        manifest: YAML of the MaskRCNNExperiment.
        spec: the spec in the manifest.
        report: sentences for the user: values filled in, warnings, notes.
    """

    name: str
    manifest: str
    spec: ExperimentSpec
    report: tuple[str, ...]


def experiment_name(path: str | os.PathLike[str]) -> str:
    """Return an experiment name made from a file name: a DNS label that starts with a letter, at most 32 characters."""
    label = re.sub(r"[^a-z0-9]+", "-", Path(path).stem.lower()).strip("-")
    if not label[:1].isalpha():
        label = f"experiment-{label}"
    return label[:EXPERIMENT_NAME_LENGTH].rstrip("-")


class _Dumper(yaml.SafeDumper):
    """YAML dumper that quotes strings which another YAML reader might take for something else."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = None if re.fullmatch(r"[A-Za-z/][\w./-]+", value) else '"'  # kubectl reads a single n or y as a boolean
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def _scalar(value: Any) -> str:
    dumped: str = yaml.dump(
        value, Dumper=_Dumper, default_flow_style=True, width=math.inf, allow_unicode=True, sort_keys=False
    )
    return dumped.removesuffix("\n").removesuffix("\n...")


def _lines(spec: SpecModel, filled: Mapping[str, Any], indent: int, at: str = "") -> list[str]:
    """Return part of the spec, one field per line; fields missing from the file are marked."""
    lines = []
    plain = spec.model_dump(mode="json", by_alias=True)
    for name, field in type(spec).model_fields.items():
        value = getattr(spec, name)
        unset = name in OURS and value == field.get_default(call_default_factory=True)
        if value is None or unset:
            continue
        if isinstance(value, SpecModel) and nested_model(field) is not None:
            inner = _lines(value, filled, indent + 2, f"{at}{name}.")
            lines += [f"{' ' * indent}{field.alias}:{'' if inner else ' {}'}", *inner]
            continue
        mark = "  # filled in" if f"{at}{name}" in filled else ""
        lines.append(f"{' ' * indent}{field.alias}: {_scalar(plain[str(field.alias)])}{mark}")
    return lines


def manifest_of(read: SpecText, name: str, claim: str, source: str) -> str:
    """Return a manifest that trains and evaluates with a spec.

    Args:
        read: the spec.
        name: name of the experiment.
        claim: the PersistentVolumeClaim that is mounted at /workspace.
        source: origin of the spec, for the comment at the top.
    """
    experiment = "\n".join(_lines(read.spec, dict(read.filled), 4))
    remark = "" if not read.filled else " Fields marked as filled in are absent there."
    return f"""\
# Imported from {json.dumps(source)}.{remark}
apiVersion: {API_VERSION}
kind: {KIND}
metadata:
  name: {_scalar(name)}
spec:
  workspace:
    persistentVolumeClaim:
      claimName: {_scalar(claim)}
  experiment:
{experiment}
  steps:
  - name: train
    train: {{}}
    gpusPerNode: 1
  - name: evaluate
    evaluate: {{}}
    gpusPerNode: 1
"""


def _outside(spec: ExperimentSpec) -> list[str]:
    """Return messages for paths that are missing, or outside /workspace and so not visible to a pod."""
    paths = {
        "checkpoint": spec.checkpoint,
        "checkpointConfig": spec.checkpoint_config,
        "prunedModelPath": spec.pruned_model_path,
        "dataConfig.trainingFilePattern": spec.data_config.training_file_pattern,
        "dataConfig.validationFilePattern": spec.data_config.validation_file_pattern,
        "dataConfig.valJsonFile": spec.data_config.val_json_file,
    }
    missing = [name for name, path in paths.items() if path is None and name.startswith("dataConfig.")]
    found = [f"{name} is missing; training and evaluation need it" for name in missing]
    for name, value in paths.items():
        for given in (value or "").split(","):
            path = local_path(given.strip()) or given.strip()
            if path and not is_url(path) and not path.startswith(f"{WORKSPACE_MOUNT}/"):
                found.append(f"{name}: {path} is not below {WORKSPACE_MOUNT}, where the claim is mounted")
    return found


def import_text(text: str, *, source: str, claim: str = "maskrcnn") -> Imported:
    """Return a manifest made from the text of a spec (a prototxt, or YAML of the spec).

    Args:
        text: the spec.
        source: its file name, from which the experiment's name is made.
        claim: the PersistentVolumeClaim that holds the workspace.

    Raises:
        SpecError: a field is invalid.
        InvalidInput: the text isn't a spec or is a manifest already, or the name of the claim is invalid.
    """
    if len(claim) > 253 or not _CLAIM.fullmatch(claim):
        raise InvalidInput(
            f"--claim {claim!r} is not a valid PersistentVolumeClaim name; use lowercase letters, digits, -, and ."
        )
    read = read_spec(text, source)
    if read.form == "manifest":
        raise InvalidInput(f"{source} is already a {KIND} manifest; give a prototxt, or YAML of the spec")
    name = experiment_name(source)
    filled = [f"filled in: {field} = {_scalar(_plain(value))}" for field, value in read.filled]
    advice = (read.spelling.text(line) for line in (*read.warnings, *notes(read.spec), *_outside(read.spec)))
    report = (*filled, *advice)
    return Imported(name, manifest_of(read, name, claim, Path(source).name), read.spec, report)


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def import_spec(path: str | os.PathLike[str], *, claim: str = "maskrcnn") -> Imported:
    """Return a manifest made from a spec file; see :func:`import_text`."""
    return import_text(read_text(path), source=os.fspath(path), claim=claim)
