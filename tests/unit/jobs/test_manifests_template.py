"""Template hash from the spec to the Job and its pods, and back into the run."""

from __future__ import annotations

from typing import Any

import pytest

from maskrcnn_operator.core.template import template_hashes
from maskrcnn_operator.jobs.names import ANNOTATION_TEMPLATE
from maskrcnn_operator.jobs.observe import observe
from maskrcnn_operator.jobs.parse import job_view, pod_view

from .conftest import Make, at, job_object, pod_object
from .test_manifests import the_job


def with_template(item: dict[str, Any], template: object) -> dict[str, Any]:
    item["metadata"]["annotations"][ANNOTATION_TEMPLATE] = template
    return item


def test_job_and_pods_carry_the_hash_of_their_step(make: Make) -> None:
    experiment = make()
    job, template = the_job(experiment), template_hashes(experiment)["train"]
    assert job["metadata"]["annotations"][ANNOTATION_TEMPLATE] == template
    assert job["spec"]["template"]["metadata"]["annotations"][ANNOTATION_TEMPLATE] == template


def test_run_has_the_hash_of_its_job(make: Make) -> None:
    job = job_view(with_template(job_object(), "of-the-job-v1"))
    pod = pod_view(with_template(pod_object(), "of-the-pod-v1"))
    [run] = observe(make(), [job], [pod], at(10)).runs
    assert run.template == "of-the-job-v1"


def test_run_whose_job_is_gone_has_the_hash_of_its_pods(make: Make) -> None:
    """A user who has edited the experiment may delete the Job: the next attempt uses the new spec."""
    [run] = observe(make(), [], [pod_view(with_template(pod_object(), "of-the-pod-v1"))], at(10)).runs
    assert run.template == "of-the-pod-v1"


@pytest.mark.parametrize("template", [None, 7, ["a-v1"], {}])
def test_hash_that_is_not_a_string_counts_as_absent(make: Make, template: object) -> None:
    job = job_view(with_template(job_object(), template))
    [run] = observe(make(), [job], [], at(10)).runs
    assert run.template == ""


def test_job_of_an_earlier_release_has_no_hash(make: Make) -> None:
    [run] = observe(make(), [job_view(job_object())], [], at(10)).runs
    assert run.template == ""
