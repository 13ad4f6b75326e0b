"""Values of the command line that name a path, or a prefix in object storage."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from maskrcnn_operator.local.path_arguments import page_argument, path_argument, workspace_argument
from maskrcnn_trainer.shared.object_url import ObjectUrl


def test_workspace_is_a_directory_or_a_prefix() -> None:
    assert workspace_argument("a/b") == Path("a/b")
    assert workspace_argument("gs://bucket/a/b") == ObjectUrl("gs", "bucket", "a/b")
    assert workspace_argument("az://container") == ObjectUrl("az", "container")


@pytest.mark.parametrize("text", ["", "file:///a", "FILE:/a", "s3:/bucket/a", "s3://bucket/a?b=c", "https://host/a"])
def test_other_text_is_no_workspace(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        workspace_argument(text)


@pytest.mark.parametrize("text", ["s3:bucket/a", "S3:bucket", "az:container/a"])
def test_url_without_its_slashes_is_no_directory(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="a URL must be .*://BUCKET/PREFIX"):
        workspace_argument(text)
    assert workspace_argument(f"./{text}") == Path(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"s3://bucket/{'k' * 800}", "at most 800"),
        ("s3://bucket/a ", "a blank at the end"),
        ("s3://bucket/a\u202e", r"the invisible character U\+202E"),
    ],
    ids=["too long", "blank", "invisible"],
)
def test_url_of_a_workspace_has_the_same_rules_as_in_a_manifest(text: str, message: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        workspace_argument(text)


def test_page_of_a_report_is_html() -> None:
    assert page_argument("a/report.HTML") == Path("a/report.HTML")
    with pytest.raises(argparse.ArgumentTypeError, match="ends with .html"):
        page_argument("report.json")


@pytest.mark.parametrize("text", ["", "s3://bucket/a", "file:///a"])
def test_path_of_this_machine_is_neither_empty_nor_a_url(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        path_argument(text)
