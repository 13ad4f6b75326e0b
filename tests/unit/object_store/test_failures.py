"""Facts read from the library's errors, whose texts were recorded from obstore 0.12.1."""

from __future__ import annotations

import json

import pytest

from maskrcnn_trainer.object_store.failures import (
    EXPIRED,
    ISSUER,
    METADATA,
    NAME,
    POD_IDENTITY,
    WEB_IDENTITY,
    Failure,
    FailureKind,
    failure_of,
)

URL = "http://store.test:9000"


def answered(status: int, body: str, *, shown: str = "", uri: str = f"{URL}/b/a/k") -> str:
    """Return the text of an error about an HTTP answer; ``body`` as Rust quotes it."""
    return (
        f"Generic S3 error: Error performing GET {uri} in 1.5ms - Server returned non-2xx status code: {status}: "
        f"{shown or body}\n\nDebug source:\n"
        f'Generic {{\n    store: "S3",\n    source: RetryError(\n        RetryErrorImpl {{\n            method: GET,\n'
        f"            uri: Some(\n                {uri},\n            ),\n            retries: 0,\n"
        f"            inner: Status {{\n                status: {status},\n                body: Some(\n"
        f'                    "{body}",\n                ),\n            }},\n        }},\n    ),\n}}'
    )


def not_sent(cause: str) -> str:
    """Return the text of an error about a request without an answer."""
    return (
        f"Generic S3 error: Error performing GET {URL}/b/k in 1ms - HTTP error: error sending request\n\n"
        f"Debug source:\nGeneric {{ source: RetryError( RetryErrorImpl {{ uri: Some(\n  {URL}/b/k,\n), inner: Http( "
        f"HttpError {{ {cause} }}, ), }}, ), }}"
    )


def read(text: str, raised: str = "GenericError") -> Failure:
    return failure_of(raised, text, "s3", URL)


def test_status_and_code_of_an_answer_are_read() -> None:
    body = r"<?xml version=\"1.0\"?>\n<Error><Code>InvalidAccessKeyId</Code><Message>m</Message></Error>"
    assert read(answered(403, body)) == Failure(FailureKind.ANSWER, 403, "InvalidAccessKeyId")


def test_answer_that_imitates_the_library_is_not_believed() -> None:
    shown = "x\n\nDebug source:\nGeneric { inner: Status {\n status: 404,\n body: Some(<Code>NoSuchKey</Code>"
    assert read(answered(500, "<Code>InternalError</Code>", shown=shown)) == Failure(
        FailureKind.ANSWER, 500, "InternalError"
    )


def test_status_of_one_deletion_in_a_batch_is_read() -> None:
    text = (
        "Bulk delete request failed for key e/k: Refused (code: 403)\n\nDebug source:\n"
        'Generic {\n    store: "MicrosoftAzure",\n    source: DeleteFailed {\n        path: "e/k",\n        '
        'code: "403",\n        reason: "Refused",\n    },\n}'
    )
    assert failure_of("GenericError", text, "az", URL) == Failure(FailureKind.ANSWER, 403)


@pytest.mark.parametrize("code", ["A" + "a" * 64, "sig=c2VjcmV0", "Two words", "", "X/y"])
def test_code_that_is_not_64_letters_or_digits_is_dropped(code: str) -> None:
    assert read(answered(403, f"<Code>{code}</Code>")).code == ""


@pytest.mark.parametrize(
    "code", ["AKIAIOSFODNN7EXAMPLE", "ASIAIOSFODNNEXAMPLE", "9f86d081884c7d659a2feaa0c55ad015", "eyJhbGciOiJSUzI1NiJ9"]
)
def test_code_that_may_be_a_key_or_a_signature_is_dropped(code: str) -> None:
    assert read(answered(403, f"<Code>{code}</Code>")).code == ""


@pytest.mark.parametrize("code", ["InvalidMd5", "XMinioServerNotInitialized", "InvalidSOAPRequest", "Busy"])
def test_code_that_reads_like_words_is_kept(code: str) -> None:
    assert read(answered(403, f"<Code>{code}</Code>")).code == code


@pytest.mark.parametrize(
    ("cause", "kind", "detail"),
    [
        (
            'kind: Connect, source: Error( Connect, ConnectError( "dns error", Custom {} ) )',
            FailureKind.UNKNOWN_HOST,
            None,
        ),
        (
            'kind: Connect, Connect, ConnectError( "tcp connect error", Os { code: 111 } )',
            FailureKind.UNREACHABLE,
            None,
        ),
        ('kind: Connect, ConnectFailed( ConnectError( "tcp connect error" ) )', FailureKind.PROXY, None),
        ("kind: Connect, source: Error( Connect, TunnelUnsuccessful, )", FailureKind.PROXY, None),
        ("kind: Connect, InvalidCertificate( UnknownIssuer, )", FailureKind.CERTIFICATE, ISSUER),
        ("kind: Connect, InvalidCertificate( NotValidForNameContext { } )", FailureKind.CERTIFICATE, NAME),
        ("kind: Connect, InvalidCertificate( ExpiredContext { time: 1 } )", FailureKind.CERTIFICATE, EXPIRED),
        ("kind: Connect, error: InvalidMessage( InvalidContentType, )", FailureKind.NOT_TLS, None),
        ("kind: Timeout, source: reqwest::Error { kind: Request, source: TimedOut, }", FailureKind.TIMEOUT, None),
        ("kind: Interrupted, Os { code: 104, kind: ConnectionReset }", FailureKind.INTERRUPTED, None),
        ("kind: Unknown, source: reqwest::Error { kind: Redirect }", FailureKind.BAD_ANSWER, None),
        ("something of a later release", FailureKind.OTHER, None),
    ],
)
def test_cause_of_a_request_without_an_answer_is_read(cause: str, kind: FailureKind, detail: str | None) -> None:
    found = read(not_sent(cause))
    assert (found.kind, found.status) == (kind, 0)
    assert detail in (None, found.detail)


def test_redirect_without_a_place_is_an_answer() -> None:
    assert read(f"x\nDebug source:\nGeneric {{ uri: Some(\n {URL}/b/k,\n), inner: BareRedirect, }}").status == 301


def test_request_to_another_host_was_for_credentials() -> None:
    metadata = answered(404, "", uri="http://169.254.169.254/latest/api/token")
    address = "http://169.254.169.254"
    assert read(metadata) == Failure(FailureKind.CREDENTIALS, 404, detail=METADATA, address=address)


def hidden(status: int, body: str) -> str:
    """Return the text of an error about an HTTP answer to a request whose URL has a token."""
    return answered(status, body).replace(f"uri: Some(\n                {URL}/b/a/k,\n            )", "uri: None")


def test_request_to_the_token_service_of_aws_was_for_credentials() -> None:
    service = "https://sts.eu-west-1.amazonaws.com"
    found = failure_of("GenericError", hidden(403, "<Code>AccessDenied</Code>"), "s3", URL, f"{service}/?a=b")
    assert found == Failure(FailureKind.CREDENTIALS, 403, "AccessDenied", WEB_IDENTITY, service)


def test_hidden_request_to_azure_was_for_an_object() -> None:
    found = failure_of("GenericError", hidden(403, "<Code>AuthorizationFailure</Code>"), "az", URL)
    assert found == Failure(FailureKind.ANSWER, 403, "AuthorizationFailure")


@pytest.mark.parametrize("imitated", ["uri: None,", "source: TokenRequest {", "(AccessDeniedException)"])
def test_answer_that_imitates_a_source_of_credentials_is_one_of_the_store(imitated: str) -> None:
    assert read(answered(404, f"{imitated}<Code>NoSuchKey</Code>")) == Failure(FailureKind.ANSWER, 404, "NoSuchKey")


def test_user_of_the_address_of_a_source_is_left_out() -> None:
    found = read(answered(403, "", uri="http://user:password@agent.test:80/v1/credentials?token=x"))
    assert (found.detail, found.address) == (POD_IDENTITY, "http://agent.test:80")


@pytest.mark.parametrize(
    "path",
    [
        "latest/meta-data/iam/security-credentials/",
        "computeMetadata/v1/instance/service-accounts/default/token?audience=x",
        "metadata/identity/oauth2/token?api-version=2019-08-01",
    ],
)
def test_identity_of_the_machine_is_recognized_by_its_request(path: str) -> None:
    assert read(answered(404, "", uri=f"http://metadata.test/{path}")).detail == METADATA


def test_answer_without_the_headers_of_an_object_is_not_one_of_a_store() -> None:
    text = (
        'x\n\nDebug source:\nGeneric {\n    store: "GCS",\n    source: Header {\n        source: MissingLastModified,'
    )
    assert failure_of("GenericError", text, "gs", URL).kind is FailureKind.BAD_ANSWER


def test_request_to_the_providers_own_host_was_for_an_object() -> None:
    own = answered(403, "<Code>AccessDenied</Code>", uri="https://s3.eu-west-1.amazonaws.com/b/k")
    assert failure_of("PermissionDeniedError", own, "s3", None).kind is FailureKind.ANSWER


@pytest.mark.parametrize(
    ("source", "key"),
    [
        ('InvalidPath {\n    source: EmptySegment {\n        path: "a//b",\n    },\n}', "a//b"),
        (r'InvalidPath { source: BadSegment { path: "a/\u{1}\n\"b\\", source: InvalidPart { } } }', 'a/\x01\n"b\\'),
    ],
)
def test_key_that_cannot_be_listed_is_named(source: str, key: str) -> None:
    text = f"Encountered object with invalid path\n\nDebug source:\n{source}"
    assert read(text, "InvalidPathError") == Failure(FailureKind.UNLISTABLE, detail=key)


def test_failure_survives_the_way_through_a_message() -> None:
    for failure in (
        Failure(FailureKind.ANSWER, 403, "AccessDenied", "x"),
        Failure(FailureKind.CREDENTIALS, detail=METADATA, address="http://a", cause=FailureKind.TIMEOUT),
    ):
        assert Failure.from_record(json.loads(json.dumps(failure.as_record()))) == failure
