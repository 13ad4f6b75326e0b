"""Files of a store's secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskrcnn_trainer.object_store.secret_files import LONGEST_SECRET, UnusableSecret, read_secret


def test_keys_are_read_without_the_newline_of_an_editor(tmp_path: Path) -> None:
    (tmp_path / "AWS_ACCESS_KEY_ID").write_text("id\n")
    (tmp_path / "AWS_SECRET_ACCESS_KEY").write_text("secret\r\n")
    (tmp_path / "unrelated").write_text("x")
    assert read_secret(tmp_path, "s3") == {"access_key_id": "id", "secret_access_key": "secret"}


def test_session_token_is_read_in_addition(tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        (tmp_path / name).write_text(name)
    assert read_secret(tmp_path, "s3").get("session_token") == "AWS_SESSION_TOKEN"


def test_signature_may_begin_with_a_question_mark(tmp_path: Path) -> None:
    (tmp_path / "AZURE_STORAGE_SAS_TOKEN").write_text("?sv=1&sig=x")
    assert read_secret(tmp_path, "az") == {"sas_key": "sv=1&sig=x"}


def test_incomplete_secret_is_refused_by_the_names_of_its_keys(tmp_path: Path) -> None:
    (tmp_path / "AWS_ACCESS_KEY_ID").write_text("the-value")
    with pytest.raises(UnusableSecret, match="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") as caught:
        read_secret(tmp_path, "s3")
    assert "the-value" not in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a\0b", b"x" * (LONGEST_SECRET + 1)])
def test_file_that_does_not_hold_a_key_is_refused_without_its_content(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "GOOGLE_SERVICE_ACCOUNT_KEY").write_bytes(content)
    with pytest.raises(UnusableSecret, match="^GOOGLE_SERVICE_ACCOUNT_KEY") as caught:
        read_secret(tmp_path, "gs")
    assert len(str(caught.value)) < 100
