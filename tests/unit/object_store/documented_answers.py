"""Refusals of the providers, with status, headers, and body as their references document them.

S3: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html and, of redirects,
https://docs.aws.amazon.com/AmazonS3/latest/userguide/Redirects.html. Cloud Storage:
https://cloud.google.com/storage/docs/xml-api/reference-status. Azure:
https://learn.microsoft.com/rest/api/storageservices/status-and-error-codes2,
https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes, and
https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.unit.object_store.stub_server import Answer

OF_THE_ANSWER = "OFTHEANSWER"
"""Word in all that a message must not repeat."""


@dataclass(frozen=True)
class Documented:
    """A documented answer.

    Attributes:
        scheme: of the provider.
        case: what is wrong.
        answer: the answer.
        right: pattern of what the message must name.
    """

    scheme: str
    case: str
    answer: Answer
    right: str

    def __str__(self) -> str:
        return f"{self.scheme}-{self.case.replace(' ', '-')}"


def s3(case: str, status: int, code: str, right: str, *, more: str = "", **headers: str) -> Documented:
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{OF_THE_ANSWER}</Message>{more}'
        f"<Resource>/{OF_THE_ANSWER}/k</Resource><RequestId>{OF_THE_ANSWER}</RequestId>"
        f"<HostId>{OF_THE_ANSWER}</HostId></Error>"
    )
    identifiers = {"x-amz-request-id": OF_THE_ANSWER, "x-amz-id-2": OF_THE_ANSWER}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Documented(
        "s3", case, Answer(status, body.encode(), {"Content-Type": "application/xml", **identifiers, **named}), right
    )


def gs(case: str, status: int, code: str, right: str, *, more: str = "", **headers: str) -> Documented:
    body = (
        f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{OF_THE_ANSWER}.</Message>{more}"
        f"<Details>{OF_THE_ANSWER}</Details></Error>"
    )
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Documented(
        "gs",
        case,
        Answer(
            status,
            body.encode(),
            {"Content-Type": "application/xml; charset=UTF-8", "X-GUploader-UploadID": OF_THE_ANSWER, **named},
        ),
        right,
    )


def az(case: str, status: int, code: str, right: str, *, detail: str = "", **headers: str) -> Documented:
    body = (
        f'\ufeff<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{OF_THE_ANSWER}\n'
        f"RequestId:{OF_THE_ANSWER}\nTime:2026-01-01T00:00:00.0000000Z</Message>"
        + (f"<AuthenticationErrorDetail>{detail} {OF_THE_ANSWER}</AuthenticationErrorDetail>" if detail else "")
        + "</Error>"
    )
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    identifiers = {"x-ms-request-id": OF_THE_ANSWER, "x-ms-version": "2023-11-03", "x-ms-error-code": code}
    return Documented(
        "az", case, Answer(status, body.encode(), {"Content-Type": "application/xml", **identifiers, **named}), right
    )


ELSEWHERE = f"<Endpoint>{OF_THE_ANSWER}.s3-eu-west-1.amazonaws.com</Endpoint><Bucket>b</Bucket>"
BEARER = f'Bearer realm="https://{OF_THE_ANSWER}/", error="invalid_token"'
REGION = r"set the region in objectStores \(now us-east-1\) to the bucket's region"
KEYS_OF_S3 = "correct AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY in the store's secret"
KEYS_OF_GS = "correct GOOGLE_SERVICE_ACCOUNT_KEY in the store's secret"
KEYS_OF_AZ = "correct AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN or .* in the store's secret"
READER = "Storage Blob Data Reader"

REFUSED = (
    s3("wrong key id", 403, "InvalidAccessKeyId", KEYS_OF_S3, more=f"<AWSAccessKeyId>{OF_THE_ANSWER}</AWSAccessKeyId>"),
    s3(
        "wrong signature",
        403,
        "SignatureDoesNotMatch",
        KEYS_OF_S3,
        more=f"<AWSAccessKeyId>x</AWSAccessKeyId><StringToSign>{OF_THE_ANSWER}</StringToSign>"
        f"<SignatureProvided>{OF_THE_ANSWER}</SignatureProvided><CanonicalRequest>{OF_THE_ANSWER}</CanonicalRequest>",
    ),
    s3("wrong bucket", 404, "NoSuchBucket", "correct the bucket's name", more="<BucketName>b</BucketName>"),
    s3("wrong region", 301, "PermanentRedirect", REGION, more=ELSEWHERE, x_amz_bucket_region="eu-west-1"),
    s3(
        "wrong region of a signature",
        400,
        "AuthorizationHeaderMalformed",
        REGION,
        more="<Region>eu-west-1</Region>",
        x_amz_bucket_region="eu-west-1",
    ),
    s3("region that must be enabled", 400, "IllegalLocationConstraintException", REGION),
    s3(
        "clock that is off",
        403,
        "RequestTimeTooSkewed",
        "clock of this machine .*; set it by NTP",
        more="<RequestTime>20260101T000000Z</RequestTime><ServerTime>2026-01-01T01:00:00Z</ServerTime>"
        "<MaxAllowedSkewMilliseconds>900000</MaxAllowedSkewMilliseconds>",
    ),
    s3("no permission", 403, "AccessDenied", "allow s3:GetObject and s3:ListBucket; without s3:ListBucket an absent"),
    s3("expired token", 400, "ExpiredToken", "renew AWS_ACCESS_KEY_ID", more=f"<Token-0>{OF_THE_ANSWER}</Token-0>"),
    s3("wrong token", 400, "InvalidToken", "renew AWS_ACCESS_KEY_ID", more=f"<Token-0>{OF_THE_ANSWER}</Token-0>"),
    s3("disabled access", 403, "AllAccessDisabled", "ask the owner of the bucket"),
    gs("no identity", 401, "AuthenticationRequired", KEYS_OF_GS, WWW_Authenticate=BEARER),
    gs("wrong key", 403, "InvalidSecurity", KEYS_OF_GS),
    gs(
        "wrong signature",
        403,
        "SignatureDoesNotMatch",
        KEYS_OF_GS,
        more=f"<StringToSign>{OF_THE_ANSWER}</StringToSign>",
    ),
    gs("wrong bucket", 404, "NoSuchBucket", "correct the bucket's name"),
    gs("clock that is off", 403, "RequestTimeTooSkewed", "clock of this machine .*; set it by NTP"),
    gs(
        "no permission",
        403,
        "AccessDenied",
        r"grant storage.objects.get and storage.objects.list \(role Storage Object V",
    ),
    gs("expired token", 400, "ExpiredToken", "renew GOOGLE_SERVICE_ACCOUNT_KEY"),
    gs("readers pay", 400, "UserProjectMissing", "use a bucket whose owner pays"),
    gs("account without payment", 403, "AccountProblem", "ask the owner of the account"),
    az("wrong key", 403, "AuthenticationFailed", f"{KEYS_OF_AZ}, and check that this machine's clock", detail="MAC"),
    az(
        "expired SAS token",
        403,
        "AuthenticationFailed",
        f"{KEYS_OF_AZ}, and check that this machine's clock",
        detail="Signature not valid in the specified time frame",
    ),
    az("expired token", 401, "InvalidAuthenticationInfo", "renew AZURE_STORAGE_ACCOUNT_KEY", WWW_Authenticate=BEARER),
    az("no identity", 401, "NoAuthenticationInformation", KEYS_OF_AZ, WWW_Authenticate=BEARER),
    az("wrong container", 404, "ContainerNotFound", "correct the container's name, account, or the endpoint in object"),
    az("no permission", 403, "AuthorizationPermissionMismatch", READER),
    az("no permission by the network", 403, "AuthorizationFailure", READER),
    az("keys that are not allowed", 403, "KeyBasedAuthenticationNotPermitted", "use a SAS of a user, or an identity"),
    az("disabled account", 403, "AccountIsDisabled", "ask the owner of the account"),
    az("anonymous access", 409, "PublicAccessNotPermitted", KEYS_OF_AZ),
    az("address that is refused", 403, "AuthorizationSourceIPMismatch", "allow it in the SAS or the account's network"),
)
"""Answers to what a user has to correct."""

LIMITED = "limits the rate of requests; try again later"
UNAVAILABLE = "the store is unavailable; try again later"

PASSING = (
    s3("throttling", 503, "SlowDown", LIMITED, Retry_After="1"),
    s3("an internal error", 500, "InternalError", UNAVAILABLE),
    s3("unavailability", 503, "ServiceUnavailable", UNAVAILABLE),
    s3("a slow request", 400, "RequestTimeout", UNAVAILABLE),
    gs("throttling", 429, "SlowDown", LIMITED),
    gs("an internal error", 500, "InternalError", UNAVAILABLE),
    gs("unavailability", 503, "ServiceUnavailable", UNAVAILABLE),
    az("throttling", 503, "ServerBusy", LIMITED, Retry_After="1"),
    az("an internal error", 500, "InternalError", UNAVAILABLE),
    az("a slow request", 500, "OperationTimedOut", UNAVAILABLE),
)
"""Answers that pass."""
