"""Reader of the file of ``--store-config``: a YAML list of object stores for one machine.

.. code-block:: yaml

    - prefix: s3://BUCKET
      endpoint: https://HOST:9000
      secretDir: DIR      # a file for each key of the Secret
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.files import decoding_fault, open_regular
from maskrcnn_trainer.shared.resource import KIND
from maskrcnn_trainer.shared.text import shown
from maskrcnn_trainer.shared.yaml_reading import UNREADABLE_VALUES, load_documents
from maskrcnn_trainer.spec.errors import Problem, SpecError, dotted
from maskrcnn_trainer.spec.object_stores import MOST_STORES, LocalStore, ObjectStore, StoreFields, store_problems
from maskrcnn_trainer.spec.parsing import nearest_name, what_is_right
from maskrcnn_trainer.spec.reading import load_yaml, read_text

MOST_CONFIG_BYTES = 4 * 2**20
"""Maximum size of the file: 32 stores with a caBundle each need half of it."""

_FLAG = "--store-config"
_MOST_LEVELS = 10
_Store = TypeVar("_Store", bound=StoreFields)
_FIELDS = tuple(str(field.alias) for field in LocalStore.model_fields.values())


def read_store_config(path: str | os.PathLike[str]) -> tuple[LocalStore, ...]:
    """Return the stores of a file.

    Args:
        path: the file; a relative ``secretDir`` in it is relative to the file's directory.

    Raises:
        InvalidInput: the file can't be read, is too large, or isn't a valid list; all problems are named.
    """
    where = f"{_FLAG} {os.fspath(path)}"
    try:
        with open_regular(Path(path)) as stream:
            content = stream.read(MOST_CONFIG_BYTES + 1)
    except OSError as error:
        raise InvalidInput(f"{where} cannot be read: {error.strerror}") from None
    if len(content) > MOST_CONFIG_BYTES:
        raise InvalidInput(f"{where} is larger than {MOST_CONFIG_BYTES} bytes; it must be a list of object stores")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{where} {decoding_fault(error)}") from None
    directory = Path(path).parent
    return tuple(_with_directory(store, directory) for store in parse_store_config(text, where))


def parse_store_config(text: str, source: str = _FLAG) -> tuple[LocalStore, ...]:
    """Return the stores in the text of a file, with ``secretDir`` as written.

    Raises:
        InvalidInput: the text isn't a list of stores; all problems are named, with fields such as ``[0].endpoint``.
    """
    return _stores_in(_entries(text, source), LocalStore, source)


def stores_of_manifest(path: str | os.PathLike[str]) -> tuple[ObjectStore, ...]:
    """Return ``spec.objectStores`` of a manifest; none for a spec file of another format.

    Args:
        path: a file that :func:`maskrcnn_trainer.spec.reading.load_spec` reads.

    Raises:
        InvalidInput: an entry is invalid; all problems are named, with fields such as ``[0].endpoint``.
    """
    try:
        documents = load_yaml(read_text(path))
    except (yaml.YAMLError, *UNREADABLE_VALUES):  # a prototxt
        return ()
    resources = [one for one in documents if isinstance(one, dict) and one.get("kind") == KIND]
    body = resources[0].get("spec") if len(resources) == 1 else None
    entries = body.get("objectStores") if isinstance(body, dict) else None
    source = f"{os.fspath(path)}: spec.objectStores"
    if entries is not None and not isinstance(entries, list):
        raise InvalidInput(f"{source} isn't a list of object stores: '- prefix: s3://BUCKET' and so on")
    return _stores_in(entries or [], ObjectStore, source)


def _stores_in(entries: Sequence[Any], kind: type[_Store], source: str) -> tuple[_Store, ...]:
    stores: list[_Store] = []
    problems: list[Problem] = []
    for index, entry in enumerate(entries):
        try:
            # types are strict: a list or mapping in place of a text is an error
            stores.append(kind.model_validate(entry, by_alias=True, by_name=False))
        except ValidationError as error:
            problems += [_problem(index, details) for details in error.errors(include_url=False)]
    if not problems:
        problems += store_problems(stores)
    if problems:
        raise SpecError(problems, source)
    return tuple(stores)


def _entries(text: str, source: str) -> list[Any]:
    try:
        documents = load_documents(text, most_levels=_MOST_LEVELS)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise InvalidInput(f"{source}: {line}invalid YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError, *UNREADABLE_VALUES):
        raise InvalidInput(f"{source} isn't YAML; it must be a list of object stores") from None
    if len(documents) != 1 or not isinstance(documents[0], list):
        found = "is empty" if not documents else "has several documents" if len(documents) > 1 else "isn't a list"
        raise InvalidInput(f"{source} {found}; it must be a list of object stores: '- prefix: s3://BUCKET' and so on")
    if len(documents[0]) > MOST_STORES:
        raise InvalidInput(f"{source} has {len(documents[0])} object stores; at most {MOST_STORES} are possible")
    return documents[0]


def _problem(index: int, details: ErrorDetails) -> Problem:
    path = (index, *details["loc"])
    if details["type"] == "missing":
        message = "is required"
    elif details["type"] == "extra_forbidden":
        message = _unknown(str(details["loc"][-1]))
    else:
        message = f"{shown(details['input'])} {what_is_right(details)}"
    return Problem(path, None, message, dotted(path, str))


def _unknown(name: str) -> str:
    if name == "secretRef":
        return "a Secret can't be read on this machine; give secretDir, a directory with a file for each of its keys"
    near = nearest_name(name, _FIELDS)
    return f"unknown field; did you mean {near}?" if near else f"unknown field; known are {', '.join(_FIELDS)}"


def _with_directory(store: LocalStore, directory: Path) -> LocalStore:
    if store.secret_dir is None:
        return store
    return store.model_copy(update={"secret_dir": str(directory / store.secret_dir)})
