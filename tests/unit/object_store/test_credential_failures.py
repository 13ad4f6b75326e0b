"""Sentences about sources of an identity, and the failures of them that pass."""

from __future__ import annotations

import pytest

from maskrcnn_trainer.object_store.credential_failures import (
    answer_shown,
    explained_credentials,
    is_source_unavailable,
)
from maskrcnn_trainer.object_store.failures import (
    LOGIN,
    METADATA,
    POD_IDENTITY,
    UNUSABLE,
    WEB_IDENTITY,
    Failure,
    FailureKind,
)

CREDENTIALS = FailureKind.CREDENTIALS
AGENT = "http://169.254.170.23"


def explained(failure: Failure, scheme: str = "s3", *, ambient: bool = True, in_pod: bool = True) -> str:
    passing = is_source_unavailable(failure)
    what, remedy = explained_credentials(failure, scheme, passing=passing, ambient=ambient, in_pod=in_pod)
    return f"{what}; {remedy}"


@pytest.mark.parametrize("status", [408, 410, 425, 429, 500, 503])
def test_answer_of_a_source_that_fails_for_a_while_passes(status: int) -> None:
    assert is_source_unavailable(Failure(CREDENTIALS, status))


@pytest.mark.parametrize("status", [0, 400, 401, 403, 404, 409, 412])
def test_other_answer_of_a_source_is_final(status: int) -> None:
    assert not is_source_unavailable(Failure(CREDENTIALS, status))


@pytest.mark.parametrize(
    ("cause", "passes"),
    [
        (FailureKind.UNREACHABLE, True),
        (FailureKind.UNKNOWN_HOST, True),
        (FailureKind.TIMEOUT, True),
        (FailureKind.INTERRUPTED, True),
        (FailureKind.PROXY, True),
        (FailureKind.OTHER, True),
        (FailureKind.CERTIFICATE, False),
        (FailureKind.NOT_TLS, False),
        (FailureKind.BAD_ANSWER, False),
    ],
)
def test_cause_decides_about_a_source_without_an_answer(cause: FailureKind, passes: bool) -> None:
    assert is_source_unavailable(Failure(CREDENTIALS, cause=cause)) is passes


def test_proxy_that_needs_a_password_is_final() -> None:
    failure = Failure(CREDENTIALS, 407, address=AGENT, cause=FailureKind.PROXY)
    assert not is_source_unavailable(failure)
    assert explained(failure).endswith("through the proxy (HTTP 407); correct HTTPS_PROXY, HTTP_PROXY, or NO_PROXY")


def test_answer_is_shown_by_status_and_code() -> None:
    assert answer_shown(Failure(CREDENTIALS, 403, "AccessDenied")) == " (HTTP 403, AccessDenied)"
    assert answer_shown(Failure(CREDENTIALS)) == ""


@pytest.mark.parametrize("cause", [FailureKind.UNREACHABLE, FailureKind.TIMEOUT])
@pytest.mark.parametrize("detail", [POD_IDENTITY, WEB_IDENTITY, LOGIN])
def test_source_that_cannot_be_reached_from_a_pod_is_named_with_the_policy(detail: str, cause: FailureKind) -> None:
    failure = Failure(CREDENTIALS, detail=detail, address=AGENT, cause=cause)
    assert explained(failure) == (
        f"{AGENT}, which gives the identity, can't be reached; allow the way to it (networkPolicy.objectStores), and "
        "name it in NO_PROXY if a proxy is set"
    )


def test_policy_of_a_cluster_is_not_named_on_another_machine() -> None:
    failure = Failure(CREDENTIALS, detail=WEB_IDENTITY, address=AGENT, cause=FailureKind.TIMEOUT)
    assert explained(failure, in_pod=False).endswith("can't be reached; allow the way to it")


@pytest.mark.parametrize(("scheme", "named"), [("s3", True), ("az", True), ("gs", False)])
def test_service_account_is_named_where_the_metadata_are_those_of_a_node(scheme: str, named: bool) -> None:
    failure = Failure(CREDENTIALS, detail=METADATA, address=AGENT, cause=FailureKind.TIMEOUT)
    assert ("podOverrides.serviceAccountName" in explained(failure, scheme)) is named


@pytest.mark.parametrize("failure", [Failure(CREDENTIALS), Failure(CREDENTIALS, 404, detail=METADATA)])
def test_profiles_are_not_named_in_a_pod(failure: Failure) -> None:
    assert "~/.aws" not in explained(failure)
    assert "~/.aws" in explained(failure, in_pod=False)


def test_refusal_of_an_identity_of_a_secret_names_its_keys() -> None:
    failure = Failure(CREDENTIALS, 401, "AADSTS7000215", LOGIN, "https://login.test")
    assert explained(failure, "az", ambient=False) == (
        "https://login.test, which gives the identity, refused the request (HTTP 401, AADSTS7000215); correct {keys}"
    )


def test_variables_that_cannot_be_used_are_named() -> None:
    assert explained(Failure(CREDENTIALS, detail=UNUSABLE)) == "no usable identity was found; correct {keys}"
