"""Pods that read inputs by URL: stores, Secrets, and the cache."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from maskrcnn_operator.jobs.config import JobConfig
from maskrcnn_operator.jobs.defaults import JobDefaults, PodIds
from maskrcnn_trainer.spec.object_stores import stores_from_json

from .conftest import Change, Make
from .test_manifests import container, pod, the_job

GOLDEN = Path(__file__).with_name("golden-inputs") / "convert-train.yaml"
STORES: list[dict[str, Any]] = [
    {"prefix": "s3://data", "endpoint": "https://store.example.com:9000", "secretRef": {"name": "store-keys"}},
    {"prefix": "s3://data/open"},
    {"prefix": "gs://more", "secretRef": {"name": "other-keys"}},
    {"prefix": "s3://last", "secretRef": {"name": "store-keys"}},
]


def inputs(stores: list[dict[str, Any]] = STORES, cache: dict[str, Any] | None = None) -> Change:
    def change(spec: dict[str, Any]) -> None:
        spec["steps"][0]["datasetConvert"]["imageDir"] = "s3://data/raw"
        spec.update(objectStores=stores, **({"cache": cache} if cache is not None else {}))

    return change


def volumes(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {volume.pop("name"): volume for volume in map(dict, pod(job)["volumes"])}


def mounts(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {mount.pop("name"): mount for mount in map(dict, container(job)["volumeMounts"])}


def environment(job: dict[str, Any]) -> dict[str, str]:
    return {variable["name"]: variable.get("value", "") for variable in container(job)["env"]}


def test_job_with_inputs_by_url(make: Make) -> None:
    """Compare with the golden file; MASKRCNN_WRITE_GOLDEN=1 writes it again."""
    job = the_job(make(inputs(cache={"sizeLimit": "50Gi"})), "convert-train")
    if os.environ.get("MASKRCNN_WRITE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(yaml.safe_dump(job, sort_keys=False, width=120))
    assert yaml.safe_load(GOLDEN.read_text()) == job


def test_each_secret_is_a_volume_that_only_the_group_of_the_pod_reads(make: Make) -> None:
    job = the_job(make(inputs()), "convert-train")
    found = {name: volume["secret"] for name, volume in volumes(job).items() if "secret" in volume}
    assert found == {
        "maskrcnn-store-0": {"secretName": "store-keys", "defaultMode": 0o440},
        "maskrcnn-store-1": {"secretName": "other-keys", "defaultMode": 0o440},
    }
    assert pod(job)["securityContext"]["fsGroup"] == 1000


def test_secret_is_readable_where_the_platform_sets_no_group(make: Make) -> None:
    defaults = JobDefaults(security_context=PodIds(run_as_user=None, run_as_group=None, fs_group=None))
    job = the_job(make(inputs()), "convert-train", JobConfig(default_image="i", defaults=defaults))
    assert volumes(job)["maskrcnn-store-0"]["secret"]["defaultMode"] == 0o444


def test_secret_is_mounted_read_only_as_a_whole_so_that_the_kubelet_replaces_its_files(make: Make) -> None:
    found = mounts(the_job(make(inputs()), "convert-train"))
    assert found["maskrcnn-store-1"] == {"mountPath": "/var/run/secrets/maskrcnn-stores/1", "readOnly": True}


def test_task_gets_each_store_with_the_directory_of_its_secret(make: Make) -> None:
    job = the_job(make(inputs()), "convert-train")
    stores = stores_from_json(environment(job)["MASKRCNN_OBJECT_STORES"])
    paths = {name: mount["mountPath"] for name, mount in mounts(job).items()}
    first, second = paths["maskrcnn-store-0"], paths["maskrcnn-store-1"]
    assert [store.secret_dir for store in stores] == [first, None, second, first]
    assert not any(store.from_manifest for store in stores)


def test_no_variable_names_a_secret(make: Make) -> None:
    job = the_job(make(inputs()), "convert-train")
    assert "store-keys" not in json.dumps(container(job)["env"])
    assert "envFrom" not in container(job)


def test_kubelet_expands_nothing_in_the_stores(make: Make) -> None:
    job = the_job(make(inputs([{"prefix": "s3://data/$(HOME)/$$"}])), "convert-train")
    value = environment(job)["MASKRCNN_OBJECT_STORES"]
    assert value == '[{"prefix":"s3://data/$$(HOME)/$$$$"}]'


@pytest.mark.parametrize(
    ("cache", "volume", "limit"),
    [
        (None, {"emptyDir": {}}, None),
        ({"sizeLimit": "1.5Gi"}, {"emptyDir": {"sizeLimit": "1.5Gi"}}, "1610612736"),
        (
            {"persistentVolumeClaim": {"claimName": "copies"}},
            {"persistentVolumeClaim": {"claimName": "copies"}},
            None,
        ),
    ],
    ids=["none", "limit", "claim"],
)
def test_cache_is_a_volume_and_its_limit_a_variable(
    make: Make, cache: dict[str, Any] | None, volume: dict[str, Any], limit: str | None
) -> None:
    job = the_job(make(inputs(cache=cache)), "convert-train")
    assert volumes(job)["maskrcnn-cache"] == volume
    found = environment(job)
    assert mounts(job)["maskrcnn-cache"] == {"mountPath": found["MASKRCNN_CACHE"]}
    assert found.get("MASKRCNN_CACHE_LIMIT") == limit


def test_url_without_stores_is_reached_with_the_identity_of_the_service_account(make: Make) -> None:
    job = the_job(make(inputs([])), "convert-train")
    assert environment(job)["MASKRCNN_OBJECT_STORES"] == "[]"
    assert "maskrcnn-cache" in volumes(job)
    assert not any("secret" in volume for volume in volumes(job).values())


def test_step_without_urls_has_the_pod_of_an_experiment_without_urls(make: Make) -> None:
    def samples_by_url(spec: dict[str, Any]) -> None:
        spec["cache"] = {"sizeLimit": "1Gi"}
        spec["steps"][7]["inference"]["imageDir"] = "s3://data/samples"

    assert pod(the_job(make(samples_by_url))) == pod(the_job(make()))


def test_all_pods_of_an_experiment_with_stores_get_them(make: Make) -> None:
    job = the_job(make(inputs()), "train")
    assert "MASKRCNN_OBJECT_STORES" in environment(job)
    assert {"maskrcnn-store-0", "maskrcnn-store-1", "maskrcnn-cache"} <= set(volumes(job))


def test_volumes_of_the_user_stay(make: Make) -> None:
    own = {
        "volumes": [{"name": "own", "emptyDir": {}}],
        "volumeMounts": [{"name": "own", "mountPath": "/own"}],
        "serviceAccountName": "reader",
        "labels": {"azure.workload.identity/use": "true"},
    }
    job = the_job(make(inputs(), lambda spec: spec.update(podOverrides=own)), "convert-train")
    assert list(volumes(job))[-1] == "own"
    assert pod(job)["serviceAccountName"] == "reader"
    assert job["spec"]["template"]["metadata"]["labels"]["azure.workload.identity/use"] == "true"
