"""Place of an experiment's results in object storage, found in the cluster with a user's kubeconfig."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maskrcnn_operator.api.base import KIND, PLURAL
from maskrcnn_operator.api.pod_stores import size_problem
from maskrcnn_operator.api.text import one_line
from maskrcnn_operator.cluster.client import Client
from maskrcnn_operator.cluster.connection import NO_CONFIGURATION, connect, load_access
from maskrcnn_operator.cluster.errors import ApiError
from maskrcnn_operator.cluster.parse import UNKNOWN_WORKSPACE, read_experiment
from maskrcnn_operator.cluster.resources import EXPERIMENTS, Object
from maskrcnn_trainer.errors import InvalidInput, TryAgain
from maskrcnn_trainer.spec.object_stores import local_stores, stores_to_json
from maskrcnn_trainer.spec.store_config import read_store_config

_NOT_SERVED = "could not find the requested resource"
"""Part of the message of a 404 for a kind that the API server doesn't have."""
_MOST_OF_A_MESSAGE = 1000
_GIVE_THE_URL = "give the URL of the workspace in place of the name"


async def experiment_object(
    name: str, namespace: str | None, *, kubeconfig: Path | None = None, context: str | None = None
) -> tuple[str, Object]:
    """Return the namespace and the object of an experiment.

    Args:
        name: of the experiment.
        namespace: None for that of the kubeconfig's context.
        kubeconfig: file; None for the files in KUBECONFIG, or for the pod's service account.
        context: of the kubeconfig; None for the current one.

    Raises:
        InvalidInput: no kubeconfig is found, the API server refuses, or the experiment doesn't exist.
        TryAgain: the API server is unavailable.
    """
    try:
        access = await load_access(kubeconfig, context)
        chosen = namespace or access.namespace
        client = Client(connect(access.configuration))
        try:
            return chosen, await client.get(EXPERIMENTS, chosen, name)
        finally:
            await client.close()
    except ApiError as error:
        where = f"namespace {namespace}" if namespace else "the namespace of the kubeconfig"
        raise _as_task_error(error, name, where) from None


def results_of(item: Mapping[str, Any], store_config: Path | None = None) -> tuple[str, str]:
    """Return the URL of an experiment's workspace, and its stores as the value of MASKRCNN_OBJECT_STORES.

    Secrets of the stores are left out, so that a store is reached with the caller's own credentials.

    Args:
        item: the experiment, as the API server has it.
        store_config: file of ``--store-config``; its entries replace those of the experiment with the same prefix.

    Raises:
        InvalidInput: the experiment is invalid, its results are on a volume, or the file is invalid.
    """
    name = item["metadata"]["name"]
    # results of another release may be in the status, and aren't needed here
    experiment, problems = read_experiment({key: value for key, value in item.items() if key != "status"})
    if experiment is None or experiment.spec.workspace == UNKNOWN_WORKSPACE:
        problem = one_line(str(problems[0]), _MOST_OF_A_MESSAGE)
        raise InvalidInput(f"{KIND} {name} is invalid: {problem}; correct it, or {_GIVE_THE_URL}")
    workspace = experiment.spec.workspace
    if workspace.url is None:
        raise InvalidInput(
            f"{KIND} {name} has its results on a volume (claim {workspace.claim_name}), not in object storage: "
            f"copy them from a pod that mounts the claim"
        )
    own = [store.model_copy(update={"secret_ref": None}) for store in experiment.spec.object_stores]
    stores = local_stores(own, read_store_config(store_config) if store_config is not None else ())
    if too_large := size_problem(stores):
        raise InvalidInput(f"spec.objectStores of {KIND} {name}: {too_large}")
    return workspace.url, stores_to_json(stores)


def _as_task_error(error: ApiError, name: str, where: str) -> InvalidInput | TryAgain:
    """Return the error for a user of the command line."""
    if error.reason == NO_CONFIGURATION:
        return InvalidInput(f"NAME {name}: {error.message}; give --kubeconfig, or {_GIVE_THE_URL}")
    if error.status == 404 and _NOT_SERVED in error.message:
        return InvalidInput(f"NAME {name}: the cluster doesn't serve {PLURAL}; give --context, or {_GIVE_THE_URL}")
    if error.status == 404:
        return InvalidInput(
            f"NAME {name}: {KIND} {name} doesn't exist in {where}; give its namespace with -n, or, if it was deleted, "
            f"{_GIVE_THE_URL}"
        )
    if 400 <= error.status < 500 and error.status != 429:
        refusal = one_line(error.message, _MOST_OF_A_MESSAGE)
        return InvalidInput(f"NAME {name}: the API server refuses: {refusal}; or {_GIVE_THE_URL}")
    return TryAgain(f"NAME {name}: the API server is unavailable: {one_line(str(error), _MOST_OF_A_MESSAGE)}")
