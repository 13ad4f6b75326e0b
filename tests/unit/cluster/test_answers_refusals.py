"""Classification of error responses: which are temporary, and which reject an object for its content."""

from __future__ import annotations

import pytest

from maskrcnn_operator.cluster.answers import LONGEST_RETRY_SECONDS, retry_seconds
from maskrcnn_operator.cluster.errors import (
    ApiError,
    api_error,
    is_denied_to_this_account,
    is_refused_by_a_policy,
    is_refused_for_its_content,
    says_that_the_name_is_taken,
)

USER = 'User "system:serviceaccount:maskrcnn-system:maskrcnn-operator"'

DENIED = [
    f'jobs.batch is forbidden: {USER} cannot create resource "jobs" in API group "batch" in the namespace "a"',
    f'jobs.batch "x-1" is forbidden: {USER} cannot delete resource "jobs" in API group "batch" in the namespace "a": '
    'RBAC: clusterrole.rbac.authorization.k8s.io "maskrcnn-operator" not found',
    f'maskrcnnexperiments.maskrcnn.dev is forbidden: {USER} cannot list resource "maskrcnnexperiments" in API group '
    '"maskrcnn.dev" at the cluster scope',
    'forbidden: User "system:anonymous" cannot get path "/apis"',
    'RBAC: role.rbac.authorization.k8s.io "maskrcnn" not found',
]
POLICIES = [
    'jobs.batch "x-1" is forbidden: exceeded quota: jobs, requested: count/jobs.batch=1, used: count/jobs.batch=5, '
    "limited: count/jobs.batch=5",
    'pods "x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true',
    'admission webhook "images.example" denied the request: images of registry "a" only',
    'admission webhook "w.example" denied the request: x is forbidden: User "tenant" cannot create resource "jobs"',
    "jobs.batch \"x\" is forbidden: ValidatingAdmissionPolicy 'gpus' with binding 'b' denied request: no more GPUs",
    'jobs.batch "x" is forbidden: unable to create new content in namespace a because it is being terminated',
    "",
]


@pytest.mark.parametrize("message", DENIED)
def test_authorizers_answer_denies_the_account(message: str) -> None:
    error = api_error(403, "Forbidden", message)
    assert is_denied_to_this_account(error)
    assert not is_refused_by_a_policy(error)


@pytest.mark.parametrize("message", POLICIES)
def test_answer_of_admission_refuses_the_object(message: str) -> None:
    error = api_error(403, "Forbidden", message)
    assert is_refused_by_a_policy(error)
    assert not is_denied_to_this_account(error)


def test_expired_token_denies_the_account() -> None:
    assert is_denied_to_this_account(api_error(401, "Unauthorized", "Unauthorized"))


@pytest.mark.parametrize("status", [0, 400, 404, 409, 422, 429, 500, 503])
def test_other_messages_are_not_denials(status: int) -> None:
    error = api_error(status, "", DENIED[0])
    assert not is_denied_to_this_account(error)
    assert not is_refused_by_a_policy(error)


@pytest.mark.parametrize(
    ("status", "message", "refused"),
    [
        (400, "cannot be handled", True),
        (413, "Request entity too large: limit is 3145728", True),
        (422, "spec.template: Required value", True),
        (500, "etcdserver: request is too large", True),
        (500, "rpc error: desc = trying to send message larger than max (2504763 vs. 2097152)", True),
        (500, "failed to create typed patch object (/x; maskrcnn.dev/v1alpha1): .status.new: field not declared", True),
        (500, "etcdserver: leader changed", False),
        (503, "etcdserver: request is too large", False),
        (403, "exceeded quota", False),
        (409, "the object has been modified", False),
        (429, "limit is 5 a second", False),
        (0, "", False),
    ],
)
def test_statuses_that_refuse_the_content(status: int, message: str, refused: bool) -> None:
    assert is_refused_for_its_content(api_error(status, "", message)) is refused


@pytest.mark.parametrize(
    ("status", "reason", "taken"),
    [(409, "AlreadyExists", True), (409, "Conflict", False), (404, "AlreadyExists", False)],
)
def test_name_is_taken_by_its_reason_only(status: int, reason: str, taken: bool) -> None:
    assert says_that_the_name_is_taken(api_error(status, reason, "")) is taken


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        (3, 3.0),
        (0, 0.0),
        (1e9, LONGEST_RETRY_SECONDS),
        (float("inf"), LONGEST_RETRY_SECONDS),
        (10**400, LONGEST_RETRY_SECONDS),
        (-1, None),
        (float("nan"), None),
        (True, None),
        ("3", 3.0),
        ("soon", None),
        ("9" * 400, LONGEST_RETRY_SECONDS),
        (None, None),
        ([3], None),
    ],
)
def test_wait_is_a_bounded_number(asked: object, seconds: float | None) -> None:
    assert retry_seconds(asked) == seconds


def test_error_names_status_and_reason() -> None:
    assert str(ApiError(503, "ServiceUnavailable", "no")) == "503 ServiceUnavailable: no"
