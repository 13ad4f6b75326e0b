"""A model with filters taken out of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.model_files.model_file import ModelFile
from maskrcnn_trainer.pruning.groups import Connectivity, Slice
from maskrcnn_trainer.pruning.retain import PruneSettings, check_excluded, retained_of_group

log = logging.getLogger(__name__)

Retained = Mapping[int, NDArray[Any]]
"""The filters that stay, rising, by number of the group; a group that is absent stays whole."""


def choose(variables: Mapping[str, NDArray[Any]], connected: Connectivity, settings: PruneSettings) -> Retained:
    """The filters that stay under ``settings``.

    Raises:
        InvalidInput: an excluded layer that is not there, a group of which nothing would be left.
    """
    check_excluded(settings.excluded_layers, connected.layers)
    excluded = set(settings.excluded_layers)
    for name in sorted(excluded - {member for group in connected.groups for member in group.members}):
        log.warning("--excluded-layers %s keeps nothing: the layer has no filters; name the one that makes them", name)
    return {
        number: retained_of_group({name: variables[f"{name}/kernel"] for name in group.members}, settings)
        for number, group in enumerate(connected.groups)
        if group.whole is None and not excluded & set(group.members)
    }


def positions(retained: NDArray[Any], part: Slice, filters: int) -> NDArray[np.int64]:
    """Where the retained of ``filters`` channels stand on a variable's axis, int64, rising (see `Slice`)."""
    outer = np.arange(part.outer)[:, None, None] * filters
    found: NDArray[np.int64] = ((outer + retained[None, :, None]) * part.inner + np.arange(part.inner)).reshape(-1)
    return found


def apply(model: ModelFile, connected: Connectivity, retained: Retained) -> ModelFile:
    """``model`` with the other filters gone from every weight that makes or reads them.

    Momentum and the state of the training are left out: the pruned model starts a training of its own.
    """
    variables = dict(model.variables)
    for name, parts in connected.slices.items():
        for part in parts:
            if part.group in retained:
                kept = positions(retained[part.group], part, connected.groups[part.group].filters)
                variables[name] = np.take(variables[name], kept, axis=part.axis)
    widths = {
        name: len(kept)
        for number, kept in retained.items()
        if len(kept) < connected.groups[number].filters
        for name in connected.groups[number].members
    }
    before = dict(model.architecture.get("filters", {}))
    return replace(
        model,
        architecture={**model.architecture, "filters": dict(sorted({**before, **widths}.items()))},
        variables=variables,
        optimizer={},
        state={},
        retrain_required=True,
    )


def parameter_count(variables: Mapping[str, NDArray[Any]]) -> int:
    """All parameters, moving statistics too."""
    return sum(value.size for value in variables.values())
