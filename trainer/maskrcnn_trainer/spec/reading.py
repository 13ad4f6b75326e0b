"""Reader of spec files: YAML of the spec, a MaskRCNNExperiment manifest, or a prototxt, recognized by content."""

from __future__ import annotations

import codecs
import io
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.files import decoding_fault, read_regular
from maskrcnn_trainer.shared.resource import KIND
from maskrcnn_trainer.shared.text import shown
from maskrcnn_trainer.shared.yaml_reading import UNREADABLE_VALUES, AliasesTooLarge, TooDeep, load_documents
from maskrcnn_trainer.spec.experiment import ExperimentSpec
from maskrcnn_trainer.spec.notes import notes
from maskrcnn_trainer.spec.parsing import Spelling, parse_spec
from maskrcnn_trainer.spec.prototxt import parse_prototxt
from maskrcnn_trainer.spec.recognition import looks_like_prototxt
from maskrcnn_trainer.spelling import use_names

LOG = logging.getLogger(__name__)

_MAX_DEPTH = 100
"""Levels of mappings and lists in YAML; a manifest has about 15, and PyYAML recurses at each."""


def load_yaml(text: str) -> list[Any]:
    """Return the documents of a YAML text, empty ones left out; see :func:`load_documents`.

    Raises:
        yaml.YAMLError: invalid YAML, a duplicate key in a mapping, or more than ``_MAX_DEPTH`` levels.
    """
    return load_documents(text, most_levels=_MAX_DEPTH)


@dataclass(frozen=True)
class SpecText:
    """Spec read from a text.

    Attributes:
        spec: the checked spec.
        form: format of the text.
        spelling: spelling of its fields in the text.
        filled: for a prototxt: the absent fields, in dotted snake_case, with the value used for each.
        warnings: sentences for the log about how the text was read.
    """

    spec: ExperimentSpec
    form: Literal["yaml", "manifest", "prototxt"]
    spelling: Spelling
    filled: tuple[tuple[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()


def read_spec(text: str, source: str = "the experiment spec") -> SpecText:
    """Return the spec in the text of a file.

    Args:
        text: YAML of the spec, a manifest with one MaskRCNNExperiment (other documents are ignored), or a prototxt of
            TAO Toolkit.
        source: name of the text in messages.

    Raises:
        SpecError: a field is invalid.
        InvalidInput: the text is none of the three.
    """
    try:
        documents = load_yaml(text)
    except (yaml.YAMLError, *UNREADABLE_VALUES) as error:
        if looks_like_prototxt(text):
            return _from_prototxt(text, source)
        if isinstance(error, AliasesTooLarge) and error.problem_mark is not None:
            raise InvalidInput(f"{source}: line {error.problem_mark.line + 1}: {error.problem}") from None
        if isinstance(error, TooDeep) and error.problem_mark is not None:
            raise InvalidInput(
                f"{source}: line {error.problem_mark.line + 1}: mappings or lists are nested more than {_MAX_DEPTH} "
                "levels deep; a closing bracket is probably missing before this line"
            ) from None
        raise InvalidInput(f"{source} is neither YAML nor a prototxt spec: {_one_line(error)}") from None
    if len(documents) != 1 or not isinstance(documents[0], dict) or _is_resource(documents[0]):
        if any(isinstance(document, dict) and _is_resource(document) for document in documents):
            return _from_manifest(documents, source)
        if looks_like_prototxt(text):
            return _from_prototxt(text, source)
        found = "is empty" if not documents else "has several documents" if len(documents) > 1 else "is not a mapping"
        raise InvalidInput(f"{source} {found}; it must be YAML of an experiment spec, a {KIND} manifest, or a prototxt")
    if _holds_text_lists(documents[0]):
        return _from_prototxt(text, source)
    return SpecText(parse_spec(documents[0], source=source), "yaml", Spelling(documents[0]))


def _holds_text_lists(document: dict[Any, Any]) -> bool:
    """Return whether a text that YAML reads as a mapping is a short prototxt, where image_size is a string."""
    data = document.get("data_config")
    return isinstance(data, dict) and isinstance(data.get("image_size"), str)


def _from_prototxt(text: str, source: str) -> SpecText:
    parsed = parse_prototxt(text, source)
    return SpecText(parsed.spec, "prototxt", parsed.spelling, parsed.filled, parsed.warnings)


def _is_resource(document: dict[Any, Any]) -> bool:
    return "kind" in document or "apiVersion" in document


def _from_manifest(documents: list[Any], source: str) -> SpecText:
    resources = [item for item in documents if isinstance(item, dict) and item.get("kind") == KIND]
    if len(resources) != 1:
        kinds = [item.get("kind") if isinstance(item, dict) else None for item in documents]
        raise InvalidInput(f"{source} must have exactly one {KIND}; its documents are of kind {shown(kinds)}")
    body = resources[0].get("spec")
    experiment = body.get("experiment") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(experiment, dict):
        raise InvalidInput(f"{source}: spec.experiment of the {KIND} is missing or not a mapping of fields")
    steps = body.get("steps")
    changed = [
        str(step.get("name"))
        for step in (steps if isinstance(steps, list) else [])
        if isinstance(step, dict) and step.get("experiment")
    ]
    warnings = (f"experiment fields of the steps {', '.join(changed)} are not applied",) if changed else ()
    prefix = "spec.experiment."
    spec = parse_spec(experiment, source=source, prefix=prefix, camel_only=True)
    return SpecText(spec, "manifest", Spelling(experiment, prefix=prefix), (), warnings)


def _one_line(error: Exception) -> str:
    # the message already names the file, which the parser doesn't know
    return " ".join(str(error).replace('in "<unicode string>", ', "at ").split())


def read_text(path: str | os.PathLike[str], what: str = "the experiment spec") -> str:
    """Return the text of a spec file or a manifest.

    Args:
        path: the file.
        what: description of the file in messages, before its path.

    Raises:
        InvalidInput: it cannot be read, or isn't UTF-8 text.
    """
    try:
        content = read_regular(Path(path))
    except OSError as error:
        raise InvalidInput(f"{what} {os.fspath(path)} cannot be read: {error.strerror}") from None
    try:
        text = content.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{what} {os.fspath(path)} {decoding_fault(error)}") from None
    return io.StringIO(text, newline=None).read()


def load_spec(path: str | os.PathLike[str], *, quiet: bool = False, trains: bool = True) -> ExperimentSpec:
    """Return the spec in a file of any supported format; log notes about it as warnings.

    After the call, messages of this process spell fields as the file does (:mod:`maskrcnn_trainer.spelling`).

    Args:
        path: of the file.
        quiet: whether nothing is logged.
        trains: whether the task is a training, see :func:`notes`.

    Raises:
        SpecError: a field is invalid.
        InvalidInput: the file cannot be read or isn't a spec.
    """
    read = read_spec(read_text(path), os.fspath(path))
    use_names(read.spelling.names())
    if quiet:
        return read.spec
    for warning in (*read.warnings, *notes(read.spec, trains=trains)):
        LOG.warning("%s: %s", os.fspath(path), read.spelling.text(warning))
    for field, value in read.filled:
        LOG.info("%s: %s is absent, using %s", os.fspath(path), field, value)
    return read.spec
