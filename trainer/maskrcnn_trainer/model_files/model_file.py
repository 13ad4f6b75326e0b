"""Model file ``.tlt``: everything that a later task needs, in a single portable file.

It is a zip archive (stored, not compressed) of ``model.json``, ``variables.safetensors`` and, from training,
``optimizer.safetensors``. With a key it is the same archive encrypted with AES-256-GCM; the encryption key is derived
with scrypt from the user's key and a random salt. A wrong key or a changed byte is an error, so a damaged model is
never used. The nonce has a checksum of the key and one of itself, which distinguish the two errors.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import os
import stat
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.files import open_regular
from maskrcnn_trainer.shared.text import shown
from maskrcnn_trainer.task.files import DAMAGED_ZIP, stored_member, write_atomically

FORMAT_VERSION = 1
OTHER_FORMAT = "OtherFormat"
"""Error reason for an undamaged model file that another release wrote."""
MAGIC = b"MASKRCNN\x00AES256GCM\x01"
ONNX_BEGINNING = b"\x08"
"""Field 1 of ONNX's ModelProto, ir_version, which is always written first."""
SALT_BYTES = 16
NONCE_BYTES = 12
KEY_CHECK_BYTES = 6
TAG_BYTES = 16
# limit of one AES-GCM call of OpenSSL: less than 2 GiB; ResNet-101 with its momentum has a quarter of that
LARGEST_PLAINTEXT = 2**31 - 2**16

DESCRIPTION = "model.json"
_ZIP_HEADER_BYTES = 30 + len(DESCRIPTION)
"""Bytes before the first member of the archive: a header of 30 bytes and its name (APPNOTE.TXT of PKWARE, 4.3.7)."""

RETRAIN_FIRST = (
    "{path} is a pruned model. After pruning, the model needs to be retrained first before it can be used for "
    "inference or evaluation: give it to train as prunedModelPath"
)


class WrongKeyOrDamage(InvalidInput):
    """Error for an encrypted file that cannot be decrypted because the key is wrong or the file damaged."""

    default_reason = "WrongKey"


@dataclass(frozen=True)
class ModelFile:
    """Content of a model file.

    Attributes:
        architecture: ``Architecture.to_json()``; the structure of the network.
        experiment: the spec of the training, with camelCase keys as in YAML.
        class_map: ``ClassMap.to_json()``; raw category ids and names in model order.
        step: training steps done.
        variables: network variables by name (without ``:0``), float32, including moving statistics.
        optimizer: momentum by variable name; empty unless the model is a checkpoint of a training.
        state: further state of a training that may resume (fingerprint, loss scale, data order); JSON values only.
        retrain_required: whether the model was pruned and not retrained since.
        source: file from which it was read, for messages; empty if there is none.
    """

    architecture: Mapping[str, Any]
    experiment: Mapping[str, Any]
    class_map: Mapping[str, Any]
    step: int
    variables: Mapping[str, NDArray[Any]]
    optimizer: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)
    retrain_required: bool = False
    source: str = ""


def write_model_file(
    path: Path,
    model: ModelFile,
    key: str | None = None,
    *,
    before_write: Callable[[int], None] | None = None,
    before_rename: Callable[[], None] | None = None,
) -> None:
    """Write a model file atomically.

    Args:
        path: the file, which is replaced if it exists; its directory must exist.
        model: the content.
        key: encryption key; None for an unencrypted file.
        before_write: called with the bytes of the file before the first one is written; if it raises, none is.
        before_rename: called when all bytes are on the disk; if it raises, the old file is kept.

    Raises:
        WorkspaceFull: no space is left.
    """
    payload = _archive(model)
    if key is not None:
        payload = encrypt(payload, key)
    if before_write is not None:
        before_write(len(payload))
    write_atomically(path, payload, before_rename=before_rename)


def read_model_file(path: Path | str, key: str | None = None, *, with_optimizer: bool = True) -> ModelFile:
    """Read a ``.tlt`` model file.

    Args:
        path: the file.
        key: encryption key; ignored if the file isn't encrypted.
        with_optimizer: whether to read the momentum too.

    Raises:
        InvalidInput: the file doesn't exist, isn't a model file of this trainer, has another format version, or has
            weights that are NaN or infinite; or the key is missing or wrong.
    """
    path = Path(path)
    try:
        with open_regular(path) as stream:
            encrypted = stream.read(len(MAGIC)) == MAGIC
            stream.seek(0)
            if not encrypted:
                return _open_archive(stream, str(path), with_optimizer)
            payload = stream.read()
    except FileNotFoundError as error:
        raise InvalidInput(f"{path}: no such model file", reason="ModelNotFound") from error
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read: {error.strerror}", reason="ModelNotFound") from error
    if not key:
        raise InvalidInput(f"{path}: the model is encrypted; give its key with -k or MASKRCNN_KEY", reason="WrongKey")
    return _open_archive(io.BytesIO(decrypt(payload, key, source=str(path))), str(path), with_optimizer)


def require_model(path: Path) -> None:
    """Check that a model file exists, without loading TensorFlow; its content is checked when it is read.

    Raises:
        InvalidInput: the file doesn't exist or isn't a plain file.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise InvalidInput(f"{path}: no such model file", reason="ModelNotFound") from error
    if not stat.S_ISREG(mode):
        kind = "a directory" if stat.S_ISDIR(mode) else "a pipe, a socket, or a device"
        raise InvalidInput(f"{path}: {kind}; give the model file itself", reason="ModelNotFound")


def refuse_unless_retrained(model: ModelFile, path: Path | str) -> None:
    """Check that a model can be used for evaluation, inference, and export.

    Raises:
        InvalidInput: it was pruned and not retrained since.
    """
    if model.retrain_required:
        raise InvalidInput(RETRAIN_FIRST.format(path=path), reason="RetrainFirst")


def is_model_file(path: Path) -> bool:
    """Return whether a file is a model file of this trainer by its content, encrypted or not."""
    if is_encrypted(path):
        return True
    with path.open("rb") as stream:
        if stream.read(2) != b"PK":
            return False
    try:
        with zipfile.ZipFile(path) as archive:
            return {"model.json", "variables.safetensors"} <= set(archive.namelist())
    except DAMAGED_ZIP:
        return False


def is_encrypted(path: Path) -> bool:
    """Return whether a file is an encrypted model file by its content."""
    with path.open("rb") as stream:
        return stream.read(len(MAGIC)) == MAGIC


def encrypt(payload: bytes, key: str) -> bytes:
    """Return ``payload`` encrypted with AES-256-GCM, after magic, salt, and nonce; the magic is authenticated too.

    Raises:
        InvalidInput: the key is empty, or the payload exceeds the limit of one call of the cipher.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if not key:
        raise InvalidInput("the encryption key is empty; give one character or more", reason="WrongKey")
    if len(payload) > LARGEST_PLAINTEXT:
        raise InvalidInput(f"a model of {len(payload):,} bytes cannot be encrypted; the limit is {LARGEST_PLAINTEXT:,}")
    salt = os.urandom(SALT_BYTES)
    derived = _derive(key, salt)
    nonce = _nonce(salt, _key_check(derived))
    return MAGIC + salt + nonce + AESGCM(derived).encrypt(nonce, payload, MAGIC)


def decrypt(payload: bytes, key: str, *, source: str) -> bytes:
    """Return the plain content of a file of :func:`encrypt`.

    Args:
        payload: content of the file.
        key: encryption key.
        source: name of the file, for messages.

    Raises:
        WrongKeyOrDamage: the key is wrong or the file damaged; the file was written by an older release, without
            checksums, or its start is damaged.
        InvalidInput: the key is wrong (reason ``WrongKey``), or the file is damaged (``InvalidModel``).
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    salt_end = len(MAGIC) + SALT_BYTES
    nonce_end = salt_end + NONCE_BYTES
    salt, nonce, content = payload[len(MAGIC) : salt_end], payload[salt_end:nonce_end], payload[nonce_end:]
    if len(content) <= TAG_BYTES:
        raise InvalidInput(f"{source}: damaged: it ends after {len(payload)} bytes", reason="InvalidModel")
    derived = _derive(key, salt)
    try:
        return AESGCM(derived).decrypt(nonce, content, MAGIC)
    except (InvalidTag, ValueError) as error:
        check = _key_check(derived)
        if nonce == _nonce(salt, check) or _opens_as_model(derived, nonce, content):
            raise InvalidInput(
                f"{source}: damaged: the key is correct, but the content was changed or truncated",
                reason="InvalidModel",
            ) from error
        if nonce == _nonce(salt, nonce[:KEY_CHECK_BYTES]):
            raise InvalidInput(
                f"{source}: the key does not open this file, which was written with another key", reason="WrongKey"
            ) from error
        raise WrongKeyOrDamage(
            f"{source}: the key does not open this file; it was written with another key, or the file is damaged"
        ) from error


def _nonce(salt: bytes, key_check: bytes) -> bytes:
    """Return the nonce of a file: a checksum of its key, then one of the salt and that checksum.

    GCM needs a different nonce for each use of a key (NIST SP 800-38D, section 8). The random salt gives each file a
    different derived key, so the nonce doesn't have to be random.
    """
    return key_check + hashlib.sha256(MAGIC + salt + key_check).digest()[: NONCE_BYTES - KEY_CHECK_BYTES]


def _key_check(derived: bytes) -> bytes:
    """Return a checksum of a key, from which the key cannot be derived."""
    return hmac.digest(derived, MAGIC, "sha256")[:KEY_CHECK_BYTES]


def _opens_as_model(derived: bytes, nonce: bytes, content: bytes) -> bool:
    """Return whether the first bytes decrypt to those of every model file, so that the key must be correct.

    GCM encrypts in counter mode (NIST SP 800-38D, section 7.1): a 12-byte nonce is followed by a counter of 4 bytes,
    which is 2 for the first block. The decrypted bytes aren't authenticated, so they are only compared.
    """
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    counter = nonce + (2).to_bytes(4, "big")
    start = Cipher(algorithms.AES(derived), modes.CTR(counter)).decryptor().update(content[:_ZIP_HEADER_BYTES])
    return start.startswith(b"PK\x03\x04") and start.endswith(DESCRIPTION.encode())


def _derive(key: str, salt: bytes) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    return Scrypt(salt=salt, length=32, n=2**15, r=8, p=1).derive(key.encode())


def _archive(model: ModelFile) -> bytes:
    from safetensors.numpy import save

    description = {
        "version": FORMAT_VERSION,
        "architecture": dict(model.architecture),
        "experiment": dict(model.experiment),
        "classMap": dict(model.class_map),
        "step": model.step,
        "state": dict(model.state),
        "retrainRequired": model.retrain_required,
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        # a fixed date, so that equal models give equal files
        def add(name: str, content: bytes) -> None:
            archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), content)

        add(DESCRIPTION, json.dumps(description, indent=1, sort_keys=True).encode())
        add("variables.safetensors", save(_contiguous(model.variables)))
        if model.optimizer:
            add("optimizer.safetensors", save(_contiguous(model.optimizer)))
    return stream.getvalue()


def _contiguous(tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    # safetensors stores the raw buffer, so a transposed view would be stored untransposed (0-d arrays stay 0-d)
    return {name: np.require(tensor, requirements="C") for name, tensor in tensors.items()}


def _open_archive(stream: IO[bytes], source: str, with_optimizer: bool) -> ModelFile:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    start = stream.read(len(ONNX_BEGINNING))
    stream.seek(0)
    if start == ONNX_BEGINNING:
        raise InvalidInput(
            f"{source}: this is an exported model (ONNX); give the .tlt file of train from which it was exported",
            reason="InvalidModel",
        )
    try:
        with zipfile.ZipFile(stream) as archive:
            names = set(archive.namelist())
            if not {"model.json", "variables.safetensors"} <= names:
                raise InvalidInput(
                    f"{source}: this zip archive isn't a model file of this trainer (it has no model.json); a model "
                    "of TAO Toolkit can be used as `checkpoint`, to start a training from it",
                    reason="InvalidModel",
                )
            description = _checked(json.loads(stored_member(archive, "model.json")), source)
            has_optimizer = with_optimizer and "optimizer.safetensors" in names
            variables = load(stored_member(archive, "variables.safetensors"))
            _refuse_not_finite(variables, source)
            return ModelFile(
                architecture=description["architecture"],
                experiment=description["experiment"],
                class_map=description["classMap"],
                step=description["step"],
                variables=variables,
                optimizer=load(stored_member(archive, "optimizer.safetensors")) if has_optimizer else {},
                state=description["state"],
                retrain_required=description["retrainRequired"],
                source=source,
            )
    except (SafetensorError, *DAMAGED_ZIP) as error:
        what = str(error) or type(error).__name__
        if isinstance(error, RecursionError):
            what = "model.json is nested too deeply"
        elif isinstance(error, KeyError):
            what = f"{what} is missing, or is an unsupported number type"
        raise InvalidInput(f"{source}: not a model file, or damaged: {what}", reason="InvalidModel") from error


def _refuse_not_finite(variables: Mapping[str, NDArray[Any]], source: str) -> None:
    """Raise InvalidInput for weights that are NaN or infinite; such a model runs but has no detections."""
    for name, values in variables.items():
        if not np.all(np.isfinite(values)):
            raise InvalidInput(
                f"{source}: {name} has values that are NaN or infinite; give a checkpoint of an earlier step, or train "
                "again",
                reason="InvalidModel",
            )


def _checked(description: Any, source: str) -> dict[str, Any]:
    """Return the content of ``model.json`` after a check of its fields.

    Raises:
        InvalidInput: the format version is another one, or a field is missing or has the wrong type.
    """
    if not isinstance(description, dict):
        raise InvalidInput(
            f"{source}: model.json must be a JSON object, found a {type(description).__name__}",
            reason="InvalidModel",
        )
    version = description.get("version")
    if version != FORMAT_VERSION:
        raise InvalidInput(
            f"{source}: model file format {version!r} is not supported; this release reads format {FORMAT_VERSION}",
            reason=OTHER_FORMAT,
        )
    for name, (kind, right) in _FIELDS.items():
        if type(description.get(name)) is not kind:
            problem = f"{name} must be {right}" if name in description else f"{name} is missing"
            raise InvalidInput(f"{source}: damaged model file: model.json: {problem}", reason="InvalidModel")
    if not 0 <= description["step"] <= _LARGEST_STEP:
        raise InvalidInput(
            f"{source}: damaged model file: model.json: step {shown(description['step'])} must be a whole number from "
            f"0 to {_LARGEST_STEP}",
            reason="InvalidModel",
        )
    return description


_LARGEST_STEP = 2**63 - 1  # the step counter of a training has 64 bits


_FIELDS: dict[str, tuple[type, str]] = {
    "architecture": (dict, "an object"),
    "experiment": (dict, "an object"),
    "classMap": (dict, "an object"),
    "step": (int, "a whole number"),
    "state": (dict, "an object"),
    "retrainRequired": (bool, "true or false"),
}
