"""Error answers of the providers, as their documentation has them.

S3: "Error responses" of the API reference. Cloud Storage: "HTTP status and error codes for XML". Azure: "Status and
error codes" of the REST API.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.object_storage.proxy import Answer

SECRET_IN_ANSWERS = "AKIDTHATTHESERVERREPEATS"  # noqa: S105 - made up
"""Text in each answer that a message must not repeat."""


@dataclass(frozen=True)
class Documented:
    """A documented answer and the words that its explanation must have.

    Attributes:
        scheme: of the URLs of its provider.
        answer: as the provider sends it.
        right: words of the explanation.
    """

    scheme: str
    answer: Answer
    right: str


def s3_answer(status: int, code: str, message: str, **headers: str) -> Answer:
    """Return an answer of S3."""
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message>'
        f"<AWSAccessKeyId>{SECRET_IN_ANSWERS}</AWSAccessKeyId><Resource>/bucket/key</Resource>"
        "<RequestId>4442587FB7D0A2F9</RequestId><HostId>eftixk72aD6Ap51TnqcoF8eFidJG9Z</HostId></Error>"
    )
    sent = {"Content-Type": "application/xml", "x-amz-request-id": "4442587FB7D0A2F9", "Server": "AmazonS3"}
    return Answer(status, body.encode(), {**sent, **{name.replace("_", "-"): value for name, value in headers.items()}})


def gcs_answer(status: int, code: str, message: str) -> Answer:
    """Return an answer of Cloud Storage's XML API."""
    body = (
        f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{message}</Message>"
        f"<Details>{SECRET_IN_ANSWERS} does not have storage.objects.get access.</Details></Error>"
    )
    return Answer(status, body.encode(), {"Content-Type": "application/xml; charset=UTF-8", "Server": "UploadServer"})


def azure_answer(status: int, code: str, message: str) -> Answer:
    """Return an answer of Azure's Blob service."""
    body = (
        f'\ufeff<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{message}\n'
        f"RequestId:{SECRET_IN_ANSWERS}\nTime:2026-11-29T21:00:00.0000000Z</Message></Error>"
    )
    headers = {"Content-Type": "application/xml", "x-ms-error-code": code, "x-ms-version": "2022-11-02"}
    return Answer(status, body.encode(), headers)


_S3_REGION = s3_answer(
    400,
    "AuthorizationHeaderMalformed",
    "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-west-1'",
    x_amz_bucket_region="eu-west-1",
)

DOCUMENTED = {
    "s3-key-id": Documented(
        "s3",
        s3_answer(403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."),
        "AWS_ACCESS_KEY_ID",
    ),
    "s3-key": Documented(
        "s3",
        s3_answer(
            403,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided.",
        ),
        "AWS_SECRET_ACCESS_KEY",
    ),
    "s3-token": Documented(
        "s3", s3_answer(400, "ExpiredToken", "The provided token has expired."), "token has expired"
    ),
    "s3-bucket": Documented(
        "s3", s3_answer(404, "NoSuchBucket", "The specified bucket does not exist"), "correct the bucket's name"
    ),
    "s3-region": Documented("s3", _S3_REGION, "set the region in objectStores (now us-east-1)"),
    "s3-redirect": Documented(
        "s3",
        s3_answer(
            301,
            "PermanentRedirect",
            "The bucket you are attempting to access must be addressed using the specified endpoint.",
            x_amz_bucket_region="eu-west-1",
        ),
        "set the region in objectStores (now us-east-1)",
    ),
    "s3-clock": Documented(
        "s3",
        s3_answer(
            403,
            "RequestTimeTooSkewed",
            "The difference between the request time and the server's time is too large.",
            Date="Sun, 29 Nov 2026 23:59:59 GMT",
        ),
        "set it by NTP",
    ),
    "s3-permission": Documented("s3", s3_answer(403, "AccessDenied", "Access Denied"), "s3:ListBucket"),
    "gs-key": Documented(
        "gs", gcs_answer(401, "AuthenticationRequired", "Authentication required."), "SERVICE_ACCOUNT"
    ),
    "gs-signature": Documented(
        "gs",
        gcs_answer(403, "SignatureDoesNotMatch", "Access denied. The request signature does not match."),
        "GOOGLE_SERVICE_ACCOUNT_KEY",
    ),
    "gs-bucket": Documented(
        "gs", gcs_answer(404, "NoSuchBucket", "The specified bucket does not exist."), "correct the bucket's name"
    ),
    "gs-clock": Documented(
        "gs", gcs_answer(403, "RequestTimeTooSkewed", "The request time is too skewed."), "set it by NTP"
    ),
    "gs-permission": Documented("gs", gcs_answer(403, "AccessDenied", "Access denied."), "Storage Object Viewer"),
    "gs-payer": Documented(
        "gs",
        gcs_answer(400, "UserProjectMissing", "Bucket is a requester pays bucket but no user project provided."),
        "whose owner pays",
    ),
    "az-key": Documented(
        "az",
        azure_answer(
            403,
            "AuthenticationFailed",
            "Server failed to authenticate the request. Make sure the value of Authorization header is correct.",
        ),
        "this machine's clock",
    ),
    "az-container": Documented(
        "az", azure_answer(404, "ContainerNotFound", "The specified container does not exist."), "the container's name"
    ),
    "az-permission": Documented(
        "az",
        azure_answer(
            403,
            "AuthorizationPermissionMismatch",
            "This request is not authorized to perform this operation using this permission.",
        ),
        "Storage Blob Data Reader",
    ),
    "az-network": Documented(
        "az",
        azure_answer(403, "AuthorizationFailure", "This request is not authorized to perform this operation."),
        "Storage Blob Data Reader",
    ),
    "az-keys-off": Documented(
        "az",
        azure_answer(403, "KeyBasedAuthenticationNotPermitted", "Key based authentication is not permitted."),
        "a SAS of a user",
    ),
}
"""Refusals by name."""
