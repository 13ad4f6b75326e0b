"""Files of a store's secret, one for each key, as a volume of a Kubernetes Secret has them."""

from __future__ import annotations

from pathlib import Path

from maskrcnn_trainer.object_store.providers import PROVIDERS

LONGEST_SECRET = 64 * 1024
"""Upper limit of a file, in bytes; a service account's key in JSON has about 2,400."""

_OPTIONS = {
    "AWS_ACCESS_KEY_ID": "access_key_id",
    "AWS_SECRET_ACCESS_KEY": "secret_access_key",
    "AWS_SESSION_TOKEN": "session_token",
    "GOOGLE_SERVICE_ACCOUNT_KEY": "service_account_key",
    "AZURE_STORAGE_ACCOUNT_KEY": "account_key",
    "AZURE_STORAGE_SAS_TOKEN": "sas_key",
    "AZURE_CLIENT_ID": "client_id",
    "AZURE_CLIENT_SECRET": "client_secret",
    "AZURE_TENANT_ID": "tenant_id",
}
"""Options of the library by the names of keys."""


class UnusableSecret(Exception):
    """A secret without the keys of its provider; the text names keys and files, never a value."""


def read_secret(directory: Path, scheme: str) -> dict[str, str]:
    """Return the library's options that a secret's files hold.

    Args:
        directory: has a file for each key; other files are ignored.
        scheme: of the store.

    Raises:
        UnusableSecret: a file can't be read, or no set of keys is complete.
    """
    provider = PROVIDERS[scheme]
    for keys in provider.secret_keys:
        values = {key: _value(directory / key) for key in keys}
        if all(values.values()):
            more = {key: _value(directory / key) for key in provider.optional_keys}
            return {_OPTIONS[key]: value for key, value in (values | more).items() if value}
    expected = ", or ".join(" and ".join(keys) for keys in provider.secret_keys)
    raise UnusableSecret(f"it has no {expected}")


def _value(file: Path) -> str:
    """Return the content of a file, without the newline that editors add; empty if there is no such file."""
    try:
        with file.open("rb") as stream:
            content = stream.read(LONGEST_SECRET + 1)
        if len(content) > LONGEST_SECRET:
            raise UnusableSecret(f"{file.name} has more than {LONGEST_SECRET} bytes")
        text = content.decode("utf-8").strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise UnusableSecret(f"{file.name} can't be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UnusableSecret(f"{file.name} isn't UTF-8") from error
    if not all(character.isprintable() or character in "\r\n\t" for character in text):
        raise UnusableSecret(f"{file.name} has control characters")
    return text.removeprefix("?") if file.name == "AZURE_STORAGE_SAS_TOKEN" else text
