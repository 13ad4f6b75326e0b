"""Media types by the names of objects."""

from __future__ import annotations

import pytest

from maskrcnn_trainer.object_store.content_types import content_type_of

TEXT = "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("report.html", "text/html; charset=utf-8"),
        ("result.json", "application/json"),
        ("history.jsonl", TEXT),
        ("labels.txt", TEXT),
        ("attempt-1.log", TEXT),
        ("attempt-1.log.1", TEXT),
        ("cat.png", "image/png"),
        ("cat.JPG", "image/jpeg"),
        ("cat.jpeg", "image/jpeg"),
    ],
)
def test_file_that_a_browser_shows_has_its_type(name: str, expected: str) -> None:
    assert content_type_of(f"e/s/o/1-token-0-{name}") == expected


@pytest.mark.parametrize("name", ["model.tlt", "inputs.json.gz", "records-0", "json", "a.json/b"])
def test_other_file_has_the_type_of_the_store(name: str) -> None:
    assert content_type_of(f"e/s/o/{name}") is None
