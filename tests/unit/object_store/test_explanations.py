"""Sentences for the error codes that the providers document."""

from __future__ import annotations

import re

import pytest

from maskrcnn_trainer.object_store.explanations import (
    Meaning,
    Operation,
    Reached,
    is_throttled,
    meaning_of,
    reason_of_refusal,
    sentence,
)
from maskrcnn_trainer.object_store.failures import EXPIRED, ISSUER, NAME, OTHER, Failure, FailureKind

S3 = Reached("s3", "b", endpoint="https://store.test:9000", region="us-east-1")
REACHED = {"s3": S3, "gs": Reached("gs", "b"), "az": Reached("az", "b", account="acc")}
REGION = r"region in objectStores \(now us-east-1\)"


@pytest.mark.parametrize(
    ("scheme", "status", "code", "right"),
    [
        # S3, "Error responses"
        ("s3", 403, "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
        ("s3", 403, "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
        ("s3", 403, "AccessDenied", "s3:ListBucket"),
        ("s3", 403, "RequestTimeTooSkewed", "NTP"),
        ("s3", 400, "ExpiredToken", "renew"),
        ("s3", 404, "NoSuchBucket", "bucket's name"),
        ("s3", 301, "PermanentRedirect", REGION),
        ("s3", 301, "", REGION),
        ("s3", 400, "AuthorizationHeaderMalformed", REGION),
        ("s3", 403, "", "s3:ListBucket"),
        ("s3", 403, "SomethingNew", "s3:ListBucket"),
        ("s3", 501, "NotImplemented", "doesn't have this kind of request; use another store"),
        # Cloud Storage, "HTTP response codes" of the XML API
        ("gs", 401, "AuthenticationRequired", "GOOGLE_SERVICE_ACCOUNT_KEY"),
        ("gs", 403, "SignatureDoesNotMatch", "GOOGLE_SERVICE_ACCOUNT_KEY"),
        ("gs", 403, "AccessDenied", "storage.objects.get"),
        ("gs", 403, "RequestTimeTooSkewed", "NTP"),
        ("gs", 404, "NoSuchBucket", "bucket's name"),
        ("gs", 400, "UserProjectMissing", "owner pays"),
        # Azure, "Blob Storage error codes" and "Common REST API error codes"
        ("az", 403, "AuthenticationFailed", "AZURE_STORAGE_ACCOUNT_KEY.*clock"),
        ("az", 401, "InvalidAuthenticationInfo", "renew"),
        ("az", 401, "NoAuthenticationInformation", "AZURE_STORAGE_ACCOUNT_KEY"),
        ("az", 403, "AuthorizationPermissionMismatch", "Storage Blob Data Reader"),
        ("az", 403, "AuthorizationFailure", "Storage Blob Data Reader"),
        ("az", 404, "ContainerNotFound", "container's name"),
        ("az", 409, "PublicAccessNotPermitted", "AZURE_STORAGE_ACCOUNT_KEY"),
    ],
)
def test_refusal_names_url_and_what_would_be_right(scheme: str, status: int, code: str, right: str) -> None:
    failure = Failure(FailureKind.ANSWER, status, code)
    text = sentence(failure, Operation.READ, f"{scheme}://b/k", REACHED[scheme])
    assert meaning_of(failure, Operation.READ, scheme) is Meaning.REFUSED
    assert text.startswith(f"{scheme}://b/k: reading failed (HTTP {', '.join(filter(None, (str(status), code)))}): ")
    assert re.search(right, text)
    assert "{" not in text


@pytest.mark.parametrize(
    ("scheme", "code", "operation", "right"),
    [
        ("s3", "AccessDenied", Operation.WRITE, "s3:PutObject"),
        ("s3", "AccessDenied", Operation.DELETE, "s3:DeleteObject"),
        ("gs", "AccessDenied", Operation.WRITE, "storage.objects.create"),
        ("gs", "", Operation.DELETE, "storage.objects.delete"),
        ("gs", "", Operation.SIGN, "signBlob"),
        ("az", "AuthorizationPermissionMismatch", Operation.WRITE, "Storage Blob Data Contributor"),
        ("az", "AuthorizationFailure", Operation.DELETE, "permission d"),
        ("az", "", Operation.SIGN, "Storage Blob Delegator"),
    ],
)
def test_refused_change_names_the_permission_that_it_needs(
    scheme: str, code: str, operation: Operation, right: str
) -> None:
    text = sentence(Failure(FailureKind.ANSWER, 403, code), operation, f"{scheme}://b/k", REACHED[scheme])
    assert f"{operation.value} failed" in text
    assert right in text


@pytest.mark.parametrize(
    ("scheme", "status", "code"),
    [("s3", 404, "NoSuchUpload"), ("s3", 400, "InvalidPart"), ("az", 400, "InvalidBlockList")],
)
def test_parts_that_are_complete_or_gone_are_sent_again(scheme: str, status: int, code: str) -> None:
    assert meaning_of(Failure(FailureKind.ANSWER, status, code), Operation.WRITE, scheme) is Meaning.PASSING


@pytest.mark.parametrize("scheme", REACHED)
def test_write_without_a_place_for_it_is_refused(scheme: str) -> None:
    failure = Failure(FailureKind.ANSWER, 404)
    assert meaning_of(failure, Operation.WRITE, scheme) is Meaning.REFUSED
    assert "there is no such" in sentence(failure, Operation.WRITE, f"{scheme}://b/k", REACHED[scheme])


@pytest.mark.parametrize("scheme", REACHED)
def test_identity_that_cannot_sign_lasts(scheme: str) -> None:
    failure = Failure(FailureKind.UNSIGNABLE)
    assert meaning_of(failure, Operation.SIGN, scheme) is Meaning.LASTING
    assert "can't sign links; use" in sentence(failure, Operation.SIGN, f"{scheme}://b/k", REACHED[scheme])


@pytest.mark.parametrize(
    ("scheme", "status", "code"),
    [("s3", 503, "SlowDown"), ("s3", 429, ""), ("gs", 429, "RateLimitExceeded"), ("az", 503, "ServerBusy")],
)
def test_throttling_passes(scheme: str, status: int, code: str) -> None:
    failure = Failure(FailureKind.ANSWER, status, code)
    assert meaning_of(failure, Operation.READ, scheme) is Meaning.PASSING
    assert is_throttled(failure)
    assert "rate of requests" in sentence(failure, Operation.READ, "s3://b/k", REACHED[scheme])


@pytest.mark.parametrize(("status", "code"), [(500, "InternalError"), (502, ""), (400, "RequestTimeout"), (408, "")])
def test_failure_of_the_store_passes(status: int, code: str) -> None:
    failure = Failure(FailureKind.ANSWER, status, code)
    assert meaning_of(failure, Operation.LIST, "s3") is Meaning.PASSING
    assert not is_throttled(failure)


@pytest.mark.parametrize(
    ("status", "code", "operation", "meaning"),
    [
        (404, "NoSuchKey", Operation.READ, Meaning.ABSENT),
        (404, "", Operation.HEAD, Meaning.ABSENT),
        (404, "", Operation.LIST, Meaning.REFUSED),
        # an endpoint that begins with the bucket takes the bucket's name for a key
        (404, "NoSuchKey", Operation.LIST, Meaning.REFUSED),
        # a gateway that answers so to an unknown key
        (404, "InvalidAccessKeyId", Operation.HEAD, Meaning.REFUSED),
        (412, "PreconditionFailed", Operation.READ, Meaning.CHANGED),
        (416, "InvalidRange", Operation.READ, Meaning.CHANGED),
        (403, "InvalidObjectState", Operation.READ, Meaning.LASTING),
        (409, "BlobArchived", Operation.READ, Meaning.LASTING),
    ],
)
def test_answer_about_the_object_is_distinguished(
    status: int, code: str, operation: Operation, meaning: Meaning
) -> None:
    assert meaning_of(Failure(FailureKind.ANSWER, status, code), operation, "s3") is meaning


@pytest.mark.parametrize(
    ("failure", "right"),
    [
        (Failure(FailureKind.CERTIFICATE, detail=ISSUER), "https://store.test:9000 can't be trusted.*caBundle"),
        (Failure(FailureKind.CERTIFICATE, detail=NAME), "another name.*endpoint"),
        (Failure(FailureKind.CERTIFICATE, detail=EXPIRED), "expired.*clock"),
        (Failure(FailureKind.CERTIFICATE, detail=OTHER), "caBundle"),
        (Failure(FailureKind.CA_BUNDLE), "caBundle.*PEM"),
        (Failure(FailureKind.NOT_TLS), "https://store.test:9000 doesn't answer with TLS.*allowHttp"),
        (Failure(FailureKind.UNKNOWN_HOST), "name of https://store.test:9000 is unknown.*endpoint"),
        (Failure(FailureKind.UNREACHABLE), "no connection to https://store.test:9000"),
        (Failure(FailureKind.TIMEOUT), "https://store.test:9000 didn't answer in time"),
        (Failure(FailureKind.PROXY, 407), "HTTPS_PROXY"),
        (Failure(FailureKind.BAD_ANSWER), "endpoint"),
        (Failure(FailureKind.SECRET, detail="it has no AWS_ACCESS_KEY_ID"), "it has no AWS_ACCESS_KEY_ID"),
        (Failure(FailureKind.UNLISTABLE, detail="a//b\n"), r"'a//b\\n'.*rename"),
        (Failure(FailureKind.HELPER, detail="-9"), "exit code -9"),
        (Failure(FailureKind.HELPER), "stopped answering"),
        (Failure(FailureKind.OTHER), "the request failed"),
        (Failure(FailureKind.INTERRUPTED), "broke off"),
    ],
)
def test_each_kind_of_failure_has_a_sentence(failure: Failure, right: str) -> None:
    text = sentence(failure, Operation.LIST, "s3://b", S3)
    assert re.search(right, text)
    assert text.startswith("s3://b: listing failed")
    assert "\n" not in text
    assert "{" not in text


def test_ambient_identity_is_named_by_its_variables() -> None:
    text = sentence(Failure(FailureKind.CREDENTIALS), Operation.HEAD, "s3://b/k", Reached("s3", "b", ambient=True))
    assert "AWS_* variables of the environment, or the service account" in text
    assert "profiles in ~/.aws aren't read" in text


def test_account_is_named_by_its_host() -> None:
    text = sentence(Failure(FailureKind.UNKNOWN_HOST), Operation.LIST, "az://b", REACHED["az"])
    assert "the name of https://acc.blob.core.windows.net is unknown; correct " in text
    assert "or the account" in text


def test_key_with_control_characters_is_shown_escaped() -> None:
    assert "\\x1b" in sentence(Failure(FailureKind.ANSWER, 404), Operation.READ, "s3://b/\x1b[31m", S3)


@pytest.mark.parametrize(
    ("scheme", "status", "code", "operation", "reason"),
    [
        ("s3", 403, "AccessDenied", Operation.READ, "StorePermissionDenied"),
        ("s3", 403, "", Operation.HEAD, "StorePermissionDenied"),
        ("s3", 403, "AccessDenied", Operation.WRITE, "StorePermissionDenied"),
        ("gs", 403, "AccessDenied", Operation.LIST, "StorePermissionDenied"),
        ("az", 403, "AuthorizationPermissionMismatch", Operation.WRITE, "StorePermissionDenied"),
        ("s3", 404, "NoSuchBucket", Operation.READ, "BucketNotFound"),
        ("s3", 404, "", Operation.WRITE, "BucketNotFound"),
        ("gs", 404, "NoSuchBucket", Operation.WRITE, "BucketNotFound"),
        ("az", 404, "ContainerNotFound", Operation.READ, "BucketNotFound"),
        ("s3", 403, "InvalidAccessKeyId", Operation.READ, "StoreRefused"),
        ("s3", 301, "PermanentRedirect", Operation.WRITE, "StoreRefused"),
        ("az", 403, "AuthenticationFailed", Operation.WRITE, "StoreRefused"),
    ],
)
def test_refusal_has_the_reason_of_its_cause(
    scheme: str, status: int, code: str, operation: Operation, reason: str
) -> None:
    assert reason_of_refusal(Failure(FailureKind.ANSWER, status, code), operation, scheme) == reason


@pytest.mark.parametrize("kind", [FailureKind.CREDENTIALS, FailureKind.CERTIFICATE, FailureKind.SECRET])
def test_refusal_without_an_answer_is_no_lack_of_a_permission_and_of_a_bucket(kind: FailureKind) -> None:
    assert reason_of_refusal(Failure(kind), Operation.WRITE, "s3") == "StoreRefused"
