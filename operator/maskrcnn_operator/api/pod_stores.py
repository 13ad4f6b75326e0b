"""Object stores as the pods of an experiment use them: each Secret is a directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from maskrcnn_trainer.spec.object_stores import ObjectStore, ObjectStoreSpec, stores_to_json

STORES_DIRECTORY = "/var/run/secrets/maskrcnn-stores"
"""Directory of the pods with a directory for each Secret."""
MOST_STORES_BYTES = 96 * 1024
"""Maximum size of the stores as JSON, in bytes.

Linux limits a variable to 128 KiB (``MAX_ARG_STRLEN``, execve(2)); 32 KiB are left for its name and for later fields.
"""


def secret_directories(stores: Sequence[ObjectStore]) -> Mapping[str, str]:
    """Return the directory of each Secret in the pods, by the name of the Secret, in the order of the stores."""
    names = dict.fromkeys(store.secret_ref.name for store in stores if store.secret_ref is not None)
    return {name: f"{STORES_DIRECTORY}/{number}" for number, name in enumerate(names)}


def stores_of_pods(stores: Sequence[ObjectStore]) -> tuple[ObjectStoreSpec, ...]:
    """Return the stores of a manifest with directories in place of Secrets."""
    directories = secret_directories(stores)
    return tuple(
        ObjectStoreSpec(
            **store.model_dump(exclude_unset=True, exclude={"secret_ref"}),
            secret_dir=directories[store.secret_ref.name] if store.secret_ref is not None else None,
        )
        for store in stores
    )


def size_problem(stores: Sequence[ObjectStoreSpec]) -> str | None:
    """Return a sentence about stores that are too large for a variable of a process; None if they aren't."""
    size = len(stores_to_json(stores))
    if size <= MOST_STORES_BYTES:
        return None
    return f"has {size} bytes as JSON: at most {MOST_STORES_BYTES}; shorten the text of caBundle"
