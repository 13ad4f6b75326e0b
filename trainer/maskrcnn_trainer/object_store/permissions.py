"""Permissions on a store that an identity can lack, and what grants them."""

from __future__ import annotations

from enum import Enum, auto


class Permission(Enum):
    """Permissions that an identity can have or lack."""

    READ = auto()
    WRITE = auto()
    DELETE = auto()
    SIGN = auto()


LACKS_READING = {
    "s3": (
        "permission was refused",
        "allow s3:GetObject and s3:ListBucket; without s3:ListBucket an absent object looks forbidden, too",
    ),
    "gs": (
        "permission was refused",
        "grant storage.objects.get and storage.objects.list (role Storage Object Viewer)",
    ),
    "az": (
        "permission was refused",
        "grant the role Storage Blob Data Reader, or a SAS with the permissions r and l",
    ),
}
"""What is wrong and what would be right if permission to read is refused, by scheme."""

_LACKS_OTHERS = {
    "s3": {
        Permission.WRITE: (
            "permission was refused",
            "allow s3:PutObject, s3:GetObject, and s3:AbortMultipartUpload; with a key of KMS also kms:Decrypt and "
            "kms:GenerateDataKey",
        ),
        Permission.DELETE: ("permission was refused", "allow s3:DeleteObject, and retain no object by Object Lock"),
    },
    "gs": {
        Permission.WRITE: (
            "permission was refused",
            "grant storage.objects.create and storage.objects.delete, which replaces an object (role Storage Object "
            "User), and set no retention policy",
        ),
        Permission.DELETE: ("permission was refused", "grant storage.objects.delete (role Storage Object User)"),
        Permission.SIGN: (
            "permission was refused",
            "grant iam.serviceAccounts.signBlob (role Service Account Token Creator)",
        ),
    },
    "az": {
        Permission.WRITE: (
            "permission was refused",
            "grant the role Storage Blob Data Contributor, or a SAS with the permissions r, w, d, and l",
        ),
        Permission.DELETE: (
            "permission was refused",
            "grant the role Storage Blob Data Contributor, or a SAS with the permission d",
        ),
        Permission.SIGN: ("permission was refused", "grant the role Storage Blob Delegator"),
    },
}
"""The same for other permissions; one that is left out can only be lacking together with that to read."""


def explained_lack(scheme: str, permission: Permission) -> tuple[str, str]:
    """Return what is wrong and what would be right if a permission is refused."""
    return _LACKS_OTHERS[scheme].get(permission, LACKS_READING[scheme])
