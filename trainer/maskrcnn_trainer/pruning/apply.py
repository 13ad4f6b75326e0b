"""Choosing the filters of a model to remove, and removing them."""

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
"""Indices of the filters kept, ascending, by number of the group; a group that is absent keeps all its filters."""


def choose_filters(variables: Mapping[str, NDArray[Any]], connected: Connectivity, settings: PruneSettings) -> Retained:
    """Choose the filters to keep.

    Args:
        variables: of the model, by name (``conv1/kernel``).
        connected: its groups of layers.
        settings: of the command line.

    Raises:
        InvalidInput: the model does not have an excluded layer, no filter of a group would be kept, or a kernel has
            values that aren't finite.
    """
    check_excluded(settings.excluded_layers, connected.layers)
    excluded = set(settings.excluded_layers)
    for name in sorted(excluded - {member for group in connected.groups for member in group.members}):
        log.warning(
            "--excluded-layers %s has no effect: the layer has no filters; name the convolution or dense layer before "
            "it",
            name,
        )
    return {
        number: retained_of_group({name: variables[f"{name}/kernel"] for name in group.members}, settings)
        for number, group in enumerate(connected.groups)
        if group.whole is None and not excluded & set(group.members)
    }


def positions(retained: NDArray[Any], part: Slice, filters: int) -> NDArray[np.int64]:
    """Return the indices of the kept channels on a variable's axis, int64, ascending.

    Args:
        retained: int64, indices of the kept channels.
        part: position of the channels on the axis.
        filters: number of channels before pruning.
    """
    outer = np.arange(part.outer)[:, None, None] * filters
    found: NDArray[np.int64] = ((outer + retained[None, :, None]) * part.inner + np.arange(part.inner)).reshape(-1)
    return found


def apply(model: ModelFile, connected: Connectivity, retained: Retained) -> ModelFile:
    """Return ``model`` without the removed filters, in all weights that produce or read them.

    Momentum and the state of the training are left out, since the pruned model starts a new training.

    Args:
        model: the model to prune.
        connected: its groups of layers.
        retained: from :func:`choose`.
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
    """Return the number of all parameters, including moving statistics."""
    return sum(value.size for value in variables.values())
