"""Object stores of a manifest as pods use them."""

from __future__ import annotations

from typing import Any

from maskrcnn_operator.api.pod_stores import MOST_STORES_BYTES, secret_directories, size_problem, stores_of_pods
from maskrcnn_trainer.spec.object_stores import ObjectStore, ObjectStoreSpec, stores_from_json, stores_to_json


def stores(*entries: dict[str, Any]) -> tuple[ObjectStore, ...]:
    return tuple(ObjectStore.model_validate(entry) for entry in entries)


TWO_SECRETS = stores(
    {"prefix": "s3://a", "secretRef": {"name": "first"}, "region": "eu-west-1"},
    {"prefix": "s3://b"},
    {"prefix": "gs://c", "secretRef": {"name": "second"}},
    {"prefix": "s3://d", "secretRef": {"name": "first"}},
)


def test_each_secret_has_one_directory() -> None:
    assert secret_directories(TWO_SECRETS) == {
        "first": "/var/run/secrets/maskrcnn-stores/0",
        "second": "/var/run/secrets/maskrcnn-stores/1",
    }


def test_directory_takes_the_place_of_a_secret() -> None:
    found = stores_from_json(stores_to_json(stores_of_pods(TWO_SECRETS)))
    directories = [store.secret_dir for store in found]
    first, second = secret_directories(TWO_SECRETS).values()
    assert directories == [first, None, second, first]
    assert all(store.secret_ref is None for store in found)
    assert found[0].region == "eu-west-1"


def test_endpoint_of_a_pod_gets_the_identity_of_its_service_account() -> None:
    assert not any(store.from_manifest for store in stores_of_pods(TWO_SECRETS))


def test_largest_stores_have_no_problem() -> None:
    empty = stores_to_json((ObjectStoreSpec(prefix="s3://a", endpoint=""),))
    longest = "x" * (MOST_STORES_BYTES - len(empty))
    largest = ObjectStoreSpec.model_construct(prefix="s3://a", endpoint=longest)
    assert size_problem((largest,)) is None
    one_more = ObjectStoreSpec.model_construct(prefix="s3://a", endpoint=f"{longest}x")
    found = size_problem((one_more,))
    assert found is not None
    assert found.startswith(f"has {MOST_STORES_BYTES + 1} bytes as JSON: at most {MOST_STORES_BYTES}")
