"""Variables by which the tasks of a local run read inputs by URL: the stores, and the cache of this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from maskrcnn_operator.api.experiment import ExperimentBody
from maskrcnn_operator.api.pod_stores import size_problem
from maskrcnn_operator.api.quantity import bytes_of
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.variables import CACHE_LIMIT_VARIABLE, CACHE_VARIABLE, OBJECT_STORES_VARIABLE
from maskrcnn_trainer.spec.object_stores import local_stores, stores_to_json
from maskrcnn_trainer.spec.store_config import read_store_config


def input_variables(
    spec: ExperimentBody, environment: Mapping[str, str], *, store_config: Path | None, cache: Path | None
) -> dict[str, str]:
    """Return the variables of inputs by URL for every task of an experiment.

    Args:
        spec: of the experiment; its ``cache.sizeLimit`` is the limit unless ``environment`` has one.
        environment: of this process.
        store_config: file of ``--store-config``, or None.
        cache: directory of ``--cache``; None for that of ``environment``, or else the tasks' own default.

    Raises:
        InvalidInput: the file is invalid, a Secret has no entry in it, or the stores are too large.
    """
    local = read_store_config(store_config) if store_config is not None else ()
    stores = local_stores(spec.object_stores, local)
    if problem := size_problem(stores):
        files = "spec.objectStores" if store_config is None else f"--store-config {store_config} with spec.objectStores"
        raise InvalidInput(f"{files}: {problem}")
    directory = str(cache.absolute()) if cache is not None else environment.get(CACHE_VARIABLE)
    limit = environment.get(CACHE_LIMIT_VARIABLE)
    if not limit and spec.cache is not None and spec.cache.size_limit is not None:
        limit = str(bytes_of(spec.cache.size_limit))
    return {
        **({OBJECT_STORES_VARIABLE: stores_to_json(stores)} if stores else {}),
        **({CACHE_VARIABLE: directory} if directory else {}),
        **({CACHE_LIMIT_VARIABLE: limit} if limit else {}),
    }
