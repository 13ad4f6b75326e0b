"""Identity of an object, read from its metadata: uid, version, and the experiment that it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from maskrcnn_operator.cluster.resources import EXPERIMENT_LABEL, EXPERIMENTS, Resource


class Key(NamedTuple):
    """Namespace and name of an experiment, which may be deleted while its Jobs and pods still exist."""

    namespace: str
    name: str


def uid_of(item: object) -> str | None:
    """Return an object's uid; None if it has none."""
    metadata = item.get("metadata") if isinstance(item, Mapping) else None
    try:
        return identifier(metadata, "uid") if isinstance(metadata, Mapping) else None
    except (KeyError, ValueError):
        return None


def experiment_key(resource: Resource, metadata: Mapping[str, Any]) -> Key | None:
    """Return the key of an experiment, or of the experiment that an object has as its label; None without the label.

    Raises:
        KeyError: the metadata has no name or no namespace.
        ValueError: name, namespace, or label isn't valid in Kubernetes.
    """
    if resource is EXPERIMENTS:
        return Key(identifier(metadata, "namespace"), identifier(metadata, "name"))
    labels = metadata.get("labels") or {}
    if not labels.get(EXPERIMENT_LABEL):
        return None
    return Key(identifier(metadata, "namespace"), identifier(labels, EXPERIMENT_LABEL))


def identifier(values: Mapping[str, Any], name: str) -> str:
    """Return the value of ``name`` in metadata or labels.

    Raises:
        KeyError: it is absent.
        ValueError: it isn't a printable string of 1 to 253 characters.
    """
    value = values[name]
    if not isinstance(value, str) or not 0 < len(value) <= 253 or not value.isprintable():
        raise ValueError(f"{name} isn't a string of 1 to 253 printable characters")
    return value


def version_number(metadata: Mapping[str, Any]) -> int:
    """Return the resourceVersion.

    Raises:
        KeyError: it is absent.
        ValueError: it isn't a whole number.
    """
    return _whole_number(metadata["resourceVersion"], "metadata.resourceVersion")


def generation_number(metadata: Mapping[str, Any]) -> int:
    """Return the generation; 1 if it is absent.

    Raises:
        ValueError: it isn't a whole number.
    """
    return _whole_number(str(metadata.get("generation") or 1), "metadata.generation")


def _whole_number(text: object, name: str) -> int:
    # 64 bits have 20 digits
    if not isinstance(text, str) or len(text) > 20 or not (text.isascii() and text.isdecimal()):
        raise ValueError(f"{name} isn't a whole number")
    return int(text)
