"""Reading a spec file: YAML of the spec, a whole MaskRCNNExperiment manifest, or a prototxt, told apart by content."""

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
        yaml.YAMLError: invalid YAML, a key that stands twice in a mapping, or more than ``_MAX_DEPTH`` levels.
    """
    return load_documents(text, most_levels=_MAX_DEPTH)


@dataclass(frozen=True)
class SpecText:
    """A spec read from a text.

    Attributes:
        spec: the checked spec.
        form: how it was written.
        spelling: how its fields were written.
        filled: from a prototxt: the fields it leaves out, in snake_case and dotted, with the value taken for each.
        warnings: what the reader of the log should know about the reading itself.
    """

    spec: ExperimentSpec
    form: Literal["yaml", "manifest", "prototxt"]
    spelling: Spelling
    filled: tuple[tuple[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()


def read_spec(text: str, source: str = "the experiment spec") -> SpecText:
    """A spec from the text of a file.

    Args:
        text: YAML of the spec, a manifest with one MaskRCNNExperiment (other documents are passed over), or a
            prototxt of the original toolkit.
        source: what messages call it.

    Raises:
        SpecError: a field is wrong.
        InvalidInput: it is none of the three.
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
                "deep; a closing bracket is probably missing before it"
            ) from None
        raise InvalidInput(f"{source} is neither YAML nor a prototxt spec: {_one_line(error)}") from None
    if len(documents) != 1 or not isinstance(documents[0], dict) or _is_resource(documents[0]):
        if any(isinstance(document, dict) and _is_resource(document) for document in documents):
            return _from_manifest(documents, source)
        if looks_like_prototxt(text):
            return _from_prototxt(text, source)
        found = "is empty" if not documents else "holds several documents" if len(documents) > 1 else "is not a mapping"
        raise InvalidInput(f"{source} {found}; it must be the YAML of an experiment, a {KIND} manifest or a prototxt")
    if _holds_text_lists(documents[0]):
        return _from_prototxt(text, source)
    return SpecText(parse_spec(documents[0], source=source), "yaml", Spelling(documents[0]))


def _holds_text_lists(document: dict[Any, Any]) -> bool:
    """Whether what YAML reads as a mapping is a short prototxt: only there is an image size a text."""
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
        raise InvalidInput(f"{source} must hold one {KIND}; its documents are of kind {shown(kinds)}")
    body = resources[0].get("spec")
    experiment = body.get("experiment") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(experiment, dict):
        raise InvalidInput(f"{source}: the {KIND} has no spec.experiment, which must be a mapping of fields")
    steps = body.get("steps")
    changed = [
        str(step.get("name"))
        for step in (steps if isinstance(steps, list) else [])
        if isinstance(step, dict) and step.get("experiment")
    ]
    warnings = (f"what the steps {', '.join(changed)} change of the experiment is not applied",) if changed else ()
    prefix = "spec.experiment."
    spec = parse_spec(experiment, source=source, prefix=prefix, camel_only=True)
    return SpecText(spec, "manifest", Spelling(experiment, prefix=prefix), (), warnings)


def _one_line(error: Exception) -> str:
    # the message names the file already; the parser only knows that it was given a text
    return " ".join(str(error).replace('in "<unicode string>", ', "at ").split())


def read_text(path: str | os.PathLike[str], what: str = "the experiment spec") -> str:
    """Return the text of a spec file or a manifest.

    Args:
        what: what messages call the file, before its path.

    Raises:
        InvalidInput: it cannot be read, or is no UTF-8 text.
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


def load_spec(path: str | os.PathLike[str], *, quiet: bool = False) -> ExperimentSpec:
    """Return the spec in a file, whichever way it is written; log notes about it as warnings unless ``quiet``.

    From here on, messages of this process name fields as the file does (:mod:`maskrcnn_trainer.spelling`).

    Raises:
        SpecError: a field is wrong.
        InvalidInput: the file cannot be read or is no spec.
    """
    read = read_spec(read_text(path), os.fspath(path))
    use_names(read.spelling.names())
    if quiet:
        return read.spec
    for warning in (*read.warnings, *notes(read.spec)):
        LOG.warning("%s: %s", os.fspath(path), read.spelling.text(warning))
    for field, value in read.filled:
        LOG.info("%s: %s is absent, taken as %s", os.fspath(path), field, value)
    return read.spec
