"""Model files: atomic writing, reading, encryption, and errors for damaged files and wrong keys."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskrcnn_trainer.errors import InvalidInput, WorkspaceFull
from maskrcnn_trainer.model_files.model_file import (
    MAGIC,
    ModelFile,
    WrongKeyOrDamage,
    decrypt,
    encrypt,
    is_model_file,
    read_model_file,
    write_model_file,
)


@pytest.fixture
def model() -> ModelFile:
    generator = np.random.default_rng(0)
    return ModelFile(
        architecture={"nlayers": 10},
        experiment={"seed": 1, "dataConfig": {"imageSize": [128, 128]}},
        class_map={"ids": [1, 3], "names": ["a", "b"]},
        step=40,
        # a transposed view, whose memory layout differs from its shape
        variables={
            "conv1/kernel": generator.normal(size=(4, 3, 2)).astype(np.float32).T,
            "scalar": np.float32(2.5).reshape(()),
        },
        optimizer={"conv1/kernel": np.ones((2, 3, 4), np.float32)},
        state={"fingerprint": "9f2c", "lossScale": 32768.0},
    )


@pytest.mark.parametrize("key", [None, "secret"])
def test_reads_back_what_was_written(tmp_path: Path, model: ModelFile, key: str | None) -> None:
    path = tmp_path / "model.step-40.tlt"
    write_model_file(path, model, key)
    read = read_model_file(path, key)
    assert read.architecture == model.architecture
    assert read.experiment == model.experiment
    assert read.class_map == model.class_map
    assert (read.step, read.state, read.retrain_required) == (40, model.state, False)
    for name, expected in model.variables.items():
        np.testing.assert_array_equal(read.variables[name], expected)
    np.testing.assert_array_equal(read.optimizer["conv1/kernel"], model.optimizer["conv1/kernel"])
    assert is_model_file(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.step-40.tlt"]


@pytest.mark.parametrize("key", [None, "secret"])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_weights_that_are_not_finite_are_refused_with_file_and_name(
    tmp_path: Path, model: ModelFile, value: float, key: str | None
) -> None:
    kernel = np.ones((2, 3), np.float32)
    kernel[1, 2] = value
    write_model_file(tmp_path / "m.tlt", replace(model, variables={**model.variables, "fc6/kernel": kernel}), key)
    with pytest.raises(InvalidInput) as refusal:
        read_model_file(tmp_path / "m.tlt", key)
    assert str(refusal.value).startswith(f"{tmp_path / 'm.tlt'}: fc6/kernel has values that are NaN or infinite")
    assert refusal.value.reason == "InvalidModel"


def test_equal_models_are_equal_files(tmp_path: Path, model: ModelFile) -> None:
    write_model_file(tmp_path / "a.tlt", model)
    write_model_file(tmp_path / "b.tlt", model)
    assert (tmp_path / "a.tlt").read_bytes() == (tmp_path / "b.tlt").read_bytes()


def test_an_encrypted_file_shows_nothing_and_refuses_other_keys(tmp_path: Path, model: ModelFile) -> None:
    path = tmp_path / "model.tlt"
    write_model_file(path, model, "secret")
    content = path.read_bytes()
    assert content.startswith(MAGIC)
    assert b"nlayers" not in content
    with pytest.raises(InvalidInput, match="encrypted; give its key"):
        read_model_file(path)
    with pytest.raises(InvalidInput, match="does not open this file") as caught:
        read_model_file(path, "Secret")
    assert (caught.value.exit_code, caught.value.reason) == (64, "WrongKey")


def test_damage_of_an_encrypted_file_is_distinguished_from_a_wrong_key(tmp_path: Path, model: ModelFile) -> None:
    path = tmp_path / "model.tlt"
    write_model_file(path, model, "secret")
    content = path.read_bytes()
    changed = bytearray(content)
    changed[-100] ^= 1
    for damaged in (bytes(changed), content[: len(content) // 2], content[:50]):
        path.write_bytes(damaged)
        with pytest.raises(InvalidInput, match=r"model\.tlt: damaged: ") as caught:
            read_model_file(path, "secret")
        assert caught.value.reason == "InvalidModel"
    path.write_bytes(bytes(changed))
    with pytest.raises(InvalidInput, match="the key does not open this file") as caught:
        read_model_file(path, "Secret")
    assert caught.value.reason == "WrongKey"


def test_key_is_the_only_cause_named_where_the_file_is_undamaged(tmp_path: Path, model: ModelFile) -> None:
    path = tmp_path / "model.tlt"
    write_model_file(path, model, "secret")
    with pytest.raises(InvalidInput, match="this file, which was written with another key$") as caught:
        read_model_file(path, "Secret")
    assert caught.value.reason == "WrongKey"
    assert not isinstance(caught.value, WrongKeyOrDamage)


def test_key_and_damage_are_both_named_where_the_start_of_the_file_is_damaged(tmp_path: Path, model: ModelFile) -> None:
    path = tmp_path / "model.tlt"
    write_model_file(path, model, "secret")
    content = bytearray(path.read_bytes())
    content[len(MAGIC)] ^= 1
    path.write_bytes(content)
    with pytest.raises(WrongKeyOrDamage, match="another key, or the file is damaged"):
        read_model_file(path, "secret")


def test_damage_of_an_encrypted_file_that_is_not_a_tlt_is_distinguished_from_a_wrong_key() -> None:
    content = encrypt(b"\x08\x08 an exported model", "secret")
    with pytest.raises(InvalidInput, match="damaged: the key is correct"):
        decrypt(content[:-1], "secret", source="m.etlt")


def test_file_without_checks_in_its_nonce_opens(
    tmp_path: Path, model: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.tlt"
    monkeypatch.setattr("maskrcnn_trainer.model_files.model_file._nonce", lambda *_: os.urandom(12))
    write_model_file(path, model, "secret")
    monkeypatch.undo()
    assert read_model_file(path, "secret").step == 40
    with pytest.raises(WrongKeyOrDamage):
        read_model_file(path, "Secret")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["model.json", "variables.safetensors", "optimizer.safetensors"])
def test_duplicate_member_is_refused(tmp_path: Path, model: ModelFile, name: str) -> None:
    path = tmp_path / "model.tlt"
    write_model_file(path, model)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, archive.read(name))
    with pytest.raises(InvalidInput, match=rf"model\.tlt: not a model file, or damaged: {name} occurs more"):
        read_model_file(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"something else"])
def test_other_content_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.tlt"
    path.write_bytes(content)
    assert not is_model_file(path)
    with pytest.raises(InvalidInput, match=r"broken\.tlt: not a model file, or damaged"):
        read_model_file(path)


def test_a_zip_of_something_else_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "original.tlt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.ckpt-100.index", b"")
    assert not is_model_file(path)
    with pytest.raises(InvalidInput, match="has no model.json"):
        read_model_file(path)
    with pytest.raises(InvalidInput, match="no such model file"):
        read_model_file(tmp_path / "absent.tlt")


def rewritten(path: Path, **members: bytes | None) -> Path:
    """Write a model file with some members replaced (None: left out), stored as in a model file."""
    write_model_file(path, ModelFile({}, {}, {}, 1, {"w": np.zeros(3, np.float32)}))
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, own in content.items():
            if (replaced := members.get(name.partition(".")[0], own)) is not None:
                archive.writestr(name, replaced)
    return path


def peak_bytes_of(action: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_compressed_members_are_refused_before_they_are_inflated(tmp_path: Path) -> None:
    path = tmp_path / "bomb.tlt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.json", b"{}")
        archive.writestr("variables.safetensors", bytes(50_000_000))
    with pytest.raises(InvalidInput, match=r"bomb\.tlt: .*model\.json is compressed"):
        read_model_file(path)

    write_model_file(path, ModelFile({}, {}, {}, 1, {"w": np.zeros(3, np.float32)}))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("optimizer.safetensors", bytes(50_000_000))

    def refused() -> None:
        with pytest.raises(InvalidInput, match=r"optimizer\.safetensors is compressed"):
            read_model_file(path)

    assert peak_bytes_of(refused) < 5_000_000


@pytest.mark.parametrize("claimed", [10**6, 2**32 - 2])
def test_member_larger_than_the_file_is_refused(tmp_path: Path, claimed: int) -> None:
    path = tmp_path / "liar.tlt"
    write_model_file(path, ModelFile({}, {}, {}, 1, {"w": np.zeros(3, np.float32)}))
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")  # the central directory's entry of variables.safetensors
    content[entry + 20 : entry + 28] = struct.pack("<II", claimed, claimed)
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=f"variables.safetensors should have {claimed} bytes"):
        read_model_file(path)


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ([], "model.json must be a JSON object, found a list"),
        ({"version": 2}, "format 2 is not supported; this release reads format 1"),
        ({"architecture": None}, "architecture is missing"),
        ({"architecture": []}, "architecture must be an object"),
        ({"step": "7"}, "step must be a whole number"),
        ({"step": True}, "step must be a whole number"),
        ({"step": -5}, "step -5 must be a whole number from 0"),
        ({"step": 2**63}, "step 9223372036854775808 must be a whole number from 0 to 9223372036854775807"),
        ({"state": None}, "state is missing"),
        ({"retrainRequired": 0}, "retrainRequired must be true or false"),
    ],
)
def test_wrong_model_json_is_invalid_input(tmp_path: Path, description: Any, message: str) -> None:
    if isinstance(description, dict):
        complete = {
            "version": 1, "architecture": {}, "experiment": {}, "classMap": {}, "step": 1, "state": {},
            "retrainRequired": False,
        }  # fmt: skip
        merged = complete | description
        description = {name: value for name, value in merged.items() if value is not None}
    path = rewritten(tmp_path / "odd.tlt", model=json.dumps(description).encode())
    with pytest.raises(InvalidInput, match=message) as caught:
        read_model_file(path)
    assert "odd.tlt" in str(caught.value)
    assert caught.value.reason == ("OtherFormat" if "reads format" in message else "InvalidModel")


@pytest.mark.parametrize("with_optimizer", [True, False])
def test_reading_takes_twice_the_size_of_what_is_read(tmp_path: Path, with_optimizer: bool) -> None:
    path = tmp_path / "model.tlt"
    tensors = {f"w{number}": np.zeros(250_000, np.float32) for number in range(10)}
    write_model_file(path, ModelFile({}, {}, {}, 1, tensors, optimizer=tensors))
    size = path.stat().st_size if with_optimizer else path.stat().st_size // 2
    peak = peak_bytes_of(lambda: read_model_file(path, with_optimizer=with_optimizer))
    assert peak < 2.1 * size


def test_a_writer_that_lost_its_right_leaves_the_old_file(tmp_path: Path, model: ModelFile) -> None:
    path = tmp_path / "model.tlt"
    path.write_bytes(b"old")

    def refuse() -> None:
        raise InvalidInput("another run owns this directory")

    with pytest.raises(InvalidInput, match="another run"):
        write_model_file(path, model, before_rename=refuse)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.tlt"]


def test_a_full_disk_has_its_own_exit_code(tmp_path: Path, model: ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(WorkspaceFull, match="no space left") as caught:
        write_model_file(tmp_path / "model.tlt", model)
    assert caught.value.exit_code == 70
    assert list(tmp_path.iterdir()) == []


def test_a_changed_byte_anywhere_is_invalid_input_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "model.tlt"
    weights = {"w": np.zeros(1, np.float32)}
    write_model_file(path, ModelFile({}, {}, {}, 1, weights, state={"fingerprint": "9f2c"}))
    content = path.read_bytes()
    for position, byte in enumerate(content):
        for changed in (255, byte ^ 1):
            path.write_bytes(content[:position] + bytes([changed]) + content[position + 1 :])
            with contextlib.suppress(InvalidInput):
                assert read_model_file(path).state == {"fingerprint": "9f2c"}
            is_model_file(path)


def test_an_exported_model_is_named_as_that(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"\x08\x08\x12\x08maskrcnn")
    with pytest.raises(InvalidInput, match="an exported model .ONNX.; give the .tlt file of train"):
        read_model_file(tmp_path / "m.onnx")


BFLOAT16 = b'{"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'
"""Header of a safetensors file."""


@pytest.mark.parametrize(
    ("member", "content", "words"),
    [
        ("model.json", b"[" * 200_000, "model.json is nested too deep"),
        (
            "variables.safetensors",
            struct.pack("<Q", len(BFLOAT16)) + BFLOAT16 + bytes(4),
            "'BF16' is missing, or is an unsupported number type",
        ),
    ],
)
def test_unreadable_content_is_refused_with_its_cause(
    tmp_path: Path, model: ModelFile, member: str, content: bytes, words: str
) -> None:
    write_model_file(tmp_path / "m.tlt", model)
    with zipfile.ZipFile(tmp_path / "m.tlt") as archive:
        members = {name: archive.read(name) for name in archive.namelist()} | {member: content}
    with zipfile.ZipFile(tmp_path / "m.tlt", "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(InvalidInput, match=f"m.tlt: not a model file, or damaged: {words}"):
        read_model_file(tmp_path / "m.tlt")


@pytest.mark.parametrize("key", [None, "secret"])
def test_size_of_the_file_is_known_before_it_is_written(tmp_path: Path, model: ModelFile, key: str | None) -> None:
    path = tmp_path / "model.step-40.tlt"
    sizes: list[int] = []
    write_model_file(path, model, key, before_write=sizes.append)
    assert sizes == [path.stat().st_size]


def test_file_whose_size_is_refused_is_not_begun(tmp_path: Path, model: ModelFile) -> None:
    def refuse(_: int) -> None:
        raise WorkspaceFull("the limit is reached")

    with pytest.raises(WorkspaceFull):
        write_model_file(tmp_path / "model.step-40.tlt", model, before_write=refuse)
    assert list(tmp_path.iterdir()) == []
