"""The ``.tlt`` model file: everything that a later task needs, in one file that opens anywhere.

Plain, it is a zip archive (stored, not compressed) of ``model.json``, ``variables.safetensors`` and, from training,
``optimizer.safetensors``. With a key it is the same archive under AES-256-GCM, the key derived by scrypt from the
user's key and a random salt: a wrong key or a changed byte is an error, never a garbled model. The nonce holds a check
of the key and one of itself, which tell the two errors apart.
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
"""Reason of the refusal of a model file that another release wrote, which isn't damaged."""
MAGIC = b"MASKRCNN\x00AES256GCM\x01"
ONNX_BEGINNING = b"\x08"
"""Field 1 of ONNX's ModelProto, ir_version, which is always written first."""
SALT_BYTES = 16
NONCE_BYTES = 12
KEY_CHECK_BYTES = 6
TAG_BYTES = 16
# One AES-GCM call of OpenSSL takes less than 2 GiB; ResNet-101 with its momentum is a quarter of it.
LARGEST_PLAINTEXT = 2**31 - 2**16

DESCRIPTION = "model.json"
_ZIP_HEADER_BYTES = 30 + len(DESCRIPTION)
"""Of the first member of the archive: a header of 30 bytes, then its name (APPNOTE.TXT of PKWARE, 4.3.7)."""

RETRAIN_FIRST = (
    "{path} is a pruned model. After pruning, the model needs to be retrained first before it can be used for "
    "inference or evaluation: give it to train as prunedModelPath"
)


class WrongKeyOrDamage(InvalidInput):
    """Refusal of an encrypted file that its key does not open, where the cause may be either."""

    default_reason = "WrongKey"


@dataclass(frozen=True)
class ModelFile:
    """The content of a model file.

    Attributes:
        architecture: ``Architecture.to_json()``; what the weights fit.
        experiment: the spec it was trained with, camelCase keys as in YAML.
        class_map: ``ClassMap.to_json()``; raw category ids and names in model order.
        step: training steps done.
        variables: network variables by name (without ``:0``), float32, moving statistics included.
        optimizer: momentum by variable name; empty where a model is no checkpoint of a training.
        state: what a resumed training needs besides (fingerprint, loss scale, data order); JSON values only.
        retrain_required: true for a pruned model that was not trained since.
        source: the file that it was read from, for messages; empty where it was read from none.
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
    path: Path, model: ModelFile, key: str | None = None, *, before_rename: Callable[[], None] | None = None
) -> None:
    """Writes ``model`` to ``path`` whole or not at all.

    Args:
        path: replaced when it exists; the directory must exist.
        key: encrypts the file when given.
        before_rename: called when all bytes are on the disk; what it raises leaves the old file as it was.

    Raises:
        WorkspaceFull: no space is left.
    """
    payload = _archive(model)
    if key is not None:
        payload = encrypt(payload, key)
    write_atomically(path, payload, before_rename=before_rename)


def read_model_file(path: Path | str, key: str | None = None, *, with_optimizer: bool = True) -> ModelFile:
    """Opens a ``.tlt`` of ours.

    Args:
        path: the file.
        key: needed when the file is encrypted, ignored when it is not.
        with_optimizer: leave out to save the reading of the momentum.

    Raises:
        InvalidInput: no such file, no model file of ours, a missing or wrong key, a newer format, weights that are NaN
            or infinite.
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
    """Check that a model file exists, which takes no TensorFlow; its content is checked when it is opened.

    Raises:
        InvalidInput: nothing has this name, or it isn't a plain file.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise InvalidInput(f"{path}: no such model file", reason="ModelNotFound") from error
    if not stat.S_ISREG(mode):
        kind = "a directory" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
        raise InvalidInput(f"{path}: {kind}; give the model file itself", reason="ModelNotFound")


def refuse_unless_retrained(model: ModelFile, path: Path | str) -> None:
    """Lets a model pass that is fit for evaluation, inference and export.

    Raises:
        InvalidInput: it was pruned and not trained since.
    """
    if model.retrain_required:
        raise InvalidInput(RETRAIN_FIRST.format(path=path), reason="RetrainFirst")


def is_model_file(path: Path) -> bool:
    """Whether the file's content says that it is a model file of ours, encrypted or not."""
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
    """Return whether a file's content says that it is an encrypted model file."""
    with path.open("rb") as stream:
        return stream.read(len(MAGIC)) == MAGIC


def encrypt(payload: bytes, key: str) -> bytes:
    """AES-256-GCM over ``payload``; magic, salt and nonce stand in front (the magic is authenticated too).

    Raises:
        InvalidInput: the key is empty or the payload past what one call of the cipher takes.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if not key:
        raise InvalidInput("the encryption key is empty; give one character or more", reason="WrongKey")
    if len(payload) > LARGEST_PLAINTEXT:
        raise InvalidInput(f"a model of {len(payload)} bytes cannot be encrypted; the limit is {LARGEST_PLAINTEXT}")
    salt = os.urandom(SALT_BYTES)
    derived = _derive(key, salt)
    nonce = _nonce(salt, _key_check(derived))
    return MAGIC + salt + nonce + AESGCM(derived).encrypt(nonce, payload, MAGIC)


def decrypt(payload: bytes, key: str, *, source: str) -> bytes:
    """Undoes :func:`encrypt`.

    Raises:
        WrongKeyOrDamage: the start of the file is damaged, or the file is of an older release, which wrote no checks.
        InvalidInput: the key is not the one that the file was written with (reason ``WrongKey``), or the file is
            damaged (``InvalidModel``).
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    salt_end = len(MAGIC) + SALT_BYTES
    nonce_end = salt_end + NONCE_BYTES
    salt, nonce, content = payload[len(MAGIC) : salt_end], payload[salt_end:nonce_end], payload[nonce_end:]
    if len(content) <= TAG_BYTES:
        raise InvalidInput(f"{source}: damaged: it is cut off after {len(payload)} bytes", reason="InvalidModel")
    derived = _derive(key, salt)
    try:
        return AESGCM(derived).decrypt(nonce, content, MAGIC)
    except (InvalidTag, ValueError) as error:
        check = _key_check(derived)
        if nonce == _nonce(salt, check) or _opens_as_model(derived, nonce, content):
            raise InvalidInput(
                f"{source}: damaged: the key is the right one, but the content was changed or cut off",
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
    """Return the nonce of a file: a check of its key, then one that this and the salt are undamaged.

    GCM needs another nonce for each use of a key (NIST SP 800-38D, section 8). The random salt makes the derived key
    another one for each file, so nothing of the nonce has to be random.
    """
    return key_check + hashlib.sha256(MAGIC + salt + key_check).digest()[: NONCE_BYTES - KEY_CHECK_BYTES]


def _key_check(derived: bytes) -> bytes:
    """Return bytes that differ from key to key and from which the key cannot be found."""
    return hmac.digest(derived, MAGIC, "sha256")[:KEY_CHECK_BYTES]


def _opens_as_model(derived: bytes, nonce: bytes, content: bytes) -> bool:
    """Return whether the first bytes decrypt to those of every model file: the key is right whatever comes behind.

    GCM encrypts in counter mode (NIST SP 800-38D, section 7.1): a 12-byte nonce is followed by a counter of 4 bytes,
    which is 2 for the first block. The bytes are only compared, since nothing has authenticated them.
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
        # A fixed date: equal models are equal files.
        def add(name: str, content: bytes) -> None:
            archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), content)

        add(DESCRIPTION, json.dumps(description, indent=1, sort_keys=True).encode())
        add("variables.safetensors", save(_contiguous(model.variables)))
        if model.optimizer:
            add("optimizer.safetensors", save(_contiguous(model.optimizer)))
    return stream.getvalue()


def _contiguous(tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    # safetensors stores the buffer as it lies; a transposed view would be stored untransposed. (0-d arrays stay 0-d.)
    return {name: np.require(tensor, requirements="C") for name, tensor in tensors.items()}


def _open_archive(stream: IO[bytes], source: str, with_optimizer: bool) -> ModelFile:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    start = stream.read(len(ONNX_BEGINNING))
    stream.seek(0)
    if start == ONNX_BEGINNING:
        raise InvalidInput(
            f"{source}: an exported model (ONNX); give the .tlt of train that it was exported from",
            reason="InvalidModel",
        )
    try:
        with zipfile.ZipFile(stream) as archive:
            names = set(archive.namelist())
            if not {"model.json", "variables.safetensors"} <= names:
                raise InvalidInput(
                    f"{source}: a zip archive, but no model file of this trainer (it has no model.json); a model of "
                    "the original toolkit can be given as `checkpoint` to start a training from",
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
            what = "model.json is nested too deep"
        elif isinstance(error, KeyError):
            what = f"{what} is missing, or a type of number that is not supported"
        raise InvalidInput(f"{source}: no model file, or a damaged one: {what}", reason="InvalidModel") from error


def _refuse_not_finite(variables: Mapping[str, NDArray[Any]], source: str) -> None:
    """Raise InvalidInput for weights that are NaN or infinite: such a model runs, and detects nothing."""
    for name, values in variables.items():
        if not np.all(np.isfinite(values)):
            raise InvalidInput(
                f"{source}: {name} holds values that are not finite (NaN or infinity); give a checkpoint of an earlier "
                "step, or train again",
                reason="InvalidModel",
            )


def _checked(description: Any, source: str) -> dict[str, Any]:
    """The content of ``model.json``.

    Raises:
        InvalidInput: a newer format, or a field that is missing or of another type.
    """
    if not isinstance(description, dict):
        raise InvalidInput(
            f"{source}: model.json should be a JSON object, found a {type(description).__name__}",
            reason="InvalidModel",
        )
    version = description.get("version")
    if version != FORMAT_VERSION:
        raise InvalidInput(
            f"{source}: model file format {version!r}; this release reads format {FORMAT_VERSION}",
            reason=OTHER_FORMAT,
        )
    for name, (kind, right) in _FIELDS.items():
        if type(description.get(name)) is not kind:
            problem = f"{name} should be {right}" if name in description else f"no field {name}"
            raise InvalidInput(f"{source}: damaged model file: model.json: {problem}", reason="InvalidModel")
    if not 0 <= description["step"] <= _LARGEST_STEP:
        raise InvalidInput(
            f"{source}: damaged model file: model.json: step is {shown(description['step'])}, but should be a whole "
            f"number from 0 to {_LARGEST_STEP}",
            reason="InvalidModel",
        )
    return description


_LARGEST_STEP = 2**63 - 1  # a training counts its steps in 64 bits


_FIELDS: dict[str, tuple[type, str]] = {
    "architecture": (dict, "an object"),
    "experiment": (dict, "an object"),
    "classMap": (dict, "an object"),
    "step": (int, "a whole number"),
    "state": (dict, "an object"),
    "retrainRequired": (bool, "true or false"),
}
