"""Loading a file's values into a network; the kind of the file is recognized by its content."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.training.pretrained.class_layers import class_layers_by_name
from maskrcnn_trainer.training.pretrained.fit import is_of_a_backbone, refuse_half_a_backbone
from maskrcnn_trainer.training.pretrained.report import LoadReport
from maskrcnn_trainer.training.pretrained.source import Source
from maskrcnn_trainer.training.pretrained.start import Start, open_start
from maskrcnn_trainer.weights.class_rows import CLASS_LAYERS

log = logging.getLogger(__name__)

_HEADS = "class-predict|box-predict|mask_fcn_logits"


def load_checkpoint(
    start: Start | str | Path,
    network: MaskRCNN,
    *,
    skip: str | None = None,
    key: str | None = None,
    class_map: ClassMap | None = None,
    class_mapping: Mapping[str, str] | None = None,
) -> LoadReport:
    """Load the values of a file into a network, by variable name.

    The result is logged, with a warning about variables that keep random values.

    Args:
        start: the opened file, or its path (see `start.open_start`).
        network: its variables are assigned.
        skip: regular expression, searched in each variable's name (``fc6/kernel``) and its path in the network
            (``box_head/fc6/kernel``); variables that match are not loaded.
        key: encryption key of a model file.
        class_map: of the data, for the rows of the class layers; None to take these layers as they are.
        class_mapping: ``classMapping``.

    Raises:
        InvalidInput: the file is missing, damaged, encrypted, or of an unknown kind, the expression is invalid, the
            backbone has another depth or family or a variable another shape and ``skip`` does not match it, or no
            variable of the network is in the file.
    """
    pattern = _compile(skip)
    opened = start if isinstance(start, Start) else open_start(Path(start), key=key)
    source = opened.source_for(network.architecture)
    if class_map is not None:
        source = _with_class_rows(opened, source, network, class_map, mapping=class_mapping or {}, skip=pattern)
    report = assign(network, source, pattern, opened.path)
    log.info("checkpoint: %s", report.table(shutil.get_terminal_size((100, 24)).columns))
    random = report.left_random(network.network_path)
    for note in (*report.notes, *([random] if random else [])):
        log.warning("checkpoint: %s", note)
    return report


def _with_class_rows(
    start: Start,
    source: Source,
    network: MaskRCNN,
    class_map: ClassMap,
    *,
    mapping: Mapping[str, str],
    skip: re.Pattern[str] | None,
) -> Source:
    """Return a source whose class layers are those for the classes of the data.

    The layers of a model file of this trainer, and those of a detector without known names, are taken as they are if
    they have as many classes.
    """
    if start.architecture is None or not any(name.startswith(CLASS_LAYERS) for name in source.values):
        if mapping:
            log.warning("checkpoint: classMapping has no effect: %s has no class layers", start.path)
        return source
    initial = {name: variable.numpy() for name, variable in network.named_variables.items() if _has_classes(name)}
    skipped = all(_match(skip, name, network.network_path(name)) for name in initial)
    as_many = start.architecture.num_classes == class_map.num_classes
    if as_many and not mapping and (start.style is None or start.class_names is None):
        if start.style is not None and not skipped:
            log.warning(
                "checkpoint: class layers: the names of the file's classes are unknown, so its rows are taken as those "
                "of the data's classes, in their order: give checkpointClassNames"
            )
        return source
    layers = class_layers_by_name(source.values, initial, start.class_names, class_map.names, mapping)
    if not skipped:
        log.info("checkpoint: class layers: %s", layers.sentence)
    return replace(source, values={**source.values, **layers.values})


def _has_classes(name: str) -> bool:
    return name.partition("/")[0] in CLASS_LAYERS


def assign(network: MaskRCNN, source: Source, skip: re.Pattern[str] | None, path: str) -> LoadReport:
    """Assign a source's values to a network's variables; an error leaves all variables unchanged.

    Args:
        network: its variables are assigned.
        source: values by variable name.
        skip: expression for variables that are not loaded, see `load_checkpoint`.
        path: of the file, for messages.

    Raises:
        InvalidInput: a value isn't finite or has another shape, the backbone does not match, or no variable of the
            network is in the source.
    """
    fitting: list[tuple[str, NDArray[Any]]] = []
    skipped: dict[str, str] = {}
    not_found: dict[str, str] = {}
    mismatched: dict[str, str] = {}
    variables = network.named_variables
    for name, variable in variables.items():
        value = source.values.get(name)
        if value is not None and tuple(value.shape) != tuple(variable.shape):
            mismatched[name] = f"{tuple(value.shape)} in the file, {tuple(variable.shape)} in the network"
        matched = _match(skip, name, network.network_path(name))
        if matched is not None:
            what = "the name" if matched == name else f"the path {matched.partition('/')[0]}/..."
            skipped[name] = f"skipCheckpointVariables matches {what}"
        elif value is None:
            not_found[name] = "not in the file"
        elif name not in mismatched:
            if not np.all(np.isfinite(value)):
                raise InvalidInput(f"checkpoint: {path}: {name} holds values that are not finite")
            fitting.append((name, value))
    backbone = {name for name in variables if network.network_path(name).startswith("backbone/")}
    begun = any(name in backbone for name, _ in fitting)
    refuse_half_a_backbone(
        path,
        source.values,
        network.architecture,
        absent=[name for name in not_found if name in backbone and begun],
        extra=[
            name
            for name in source.values
            if name not in variables and is_of_a_backbone(name) and _match(skip, name, f"backbone/{name}") is None
        ],
    )
    _refuse_mismatches({name: text for name, text in mismatched.items() if name not in skipped}, path)
    if not fitting and not skipped:
        listed = ", ".join(list(source.values)[:5]) or "nothing"
        raise InvalidInput(
            f"checkpoint: {path} ({source.kind}) has no variable of this network: found {listed}, "
            f"expected {', '.join(list(variables)[:3])}, ..."
        )
    if not fitting:
        log.warning("skipCheckpointVariables matches all usable variables of checkpoint %s, so none is loaded", path)
    for name, value in fitting:
        variables[name].assign(np.asarray(value, np.float32))
    unused = {
        **{name: "no such variable in this network" for name in source.values if name not in variables},
        **source.unused,
    }
    return LoadReport(path, source.kind, tuple(name for name, _ in fitting), skipped, not_found, unused, source.notes)


def _compile(skip: str | None) -> re.Pattern[str] | None:
    if not skip:
        return None
    try:
        return re.compile(skip)
    except re.error as error:
        raise InvalidInput(f"skipCheckpointVariables: {skip!r} is not a regular expression: {error}") from error


def _match(skip: re.Pattern[str] | None, name: str, network_path: str) -> str | None:
    if skip is None:
        return None
    return next((text for text in (name, network_path) if skip.search(text)), None)


def _refuse_mismatches(wrong: Mapping[str, str], path: str) -> None:
    if not wrong:
        return
    listed = "; ".join(f"{name}: {text}" for name, text in list(wrong.items())[:6])
    more = f"; and {len(wrong) - 6} more" if len(wrong) > 6 else ""
    heads = all(re.search(_HEADS, name) for name in wrong)
    advice = (
        f'for other classes, set skipCheckpointVariables to "{_HEADS}"'
        if heads
        else "change the network to match, or leave these out with skipCheckpointVariables"
    )
    raise InvalidInput(f"checkpoint: {path} has other shapes than this network ({listed}{more}): {advice}")
