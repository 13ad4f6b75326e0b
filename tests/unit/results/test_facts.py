"""Facts in result.json: what tasks write, and content that no task writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from maskrcnn_trainer.results.facts import (
    ClassObjects,
    ConversionFacts,
    ModelFacts,
    read_conversion_facts,
    read_model_facts,
)
from maskrcnn_trainer.results.recorded import NotRecorded

PERSON = {"id": 1, "name": "person", "objects": 10, "small": 1, "medium": 4, "large": 5}
CONVERTED = {"images": 343, "classes": [PERSON]}


def result(directory: Path, facts: Any) -> Path:
    (directory / "result.json").write_text(json.dumps({"version": 1, "task": "train", "code": 0, "facts": facts}))
    return directory


def test_facts_are_read_as_they_were_written(tmp_path: Path) -> None:
    facts = ConversionFacts(343, (ClassObjects(**PERSON),))
    assert facts.to_json() == CONVERTED
    assert read_conversion_facts(result(tmp_path, facts.to_json())) == facts
    for model in (ModelFacts(43_970_000), ModelFacts(7, "fp16")):
        assert read_model_facts(result(tmp_path, model.to_json())) == model
    assert ModelFacts(7, "fp16").to_json() == {"parameters": 7, "dtype": "fp16"}
    assert ModelFacts(7).to_json() == {"parameters": 7}


def test_classes_that_would_make_a_result_too_large_are_left_out(tmp_path: Path) -> None:
    for number in (1_500, 100_000):
        facts = ConversionFacts(1, tuple(ClassObjects(one, "é" * 300, 0, 0, 0, 0) for one in range(number)))
        (tmp_path / "result.json").write_text(json.dumps({"facts": facts.to_json()}, indent=2))
        assert (tmp_path / "result.json").stat().st_size < 1 << 20
        assert read_conversion_facts(tmp_path) == ConversionFacts(1, None)


def test_thousand_classes_fit(tmp_path: Path) -> None:
    facts = ConversionFacts(1, tuple(ClassObjects(one, f"class {one}", 6, 1, 2, 3) for one in range(1_203)))
    assert read_conversion_facts(result(tmp_path, facts.to_json())) == facts


def test_half_of_a_surrogate_pair_in_a_name_is_escaped(tmp_path: Path) -> None:
    facts = ConversionFacts(1, (ClassObjects(1, "a\ud800", 0, 0, 0, 0),))
    found = read_conversion_facts(result(tmp_path, facts.to_json()))
    assert isinstance(found, ConversionFacts)
    assert found.classes is not None
    assert found.classes[0].name == "a\\ud800"


@pytest.mark.parametrize(
    "facts",
    [
        None, [], 7, {}, {"images": -1}, {"images": True}, {"images": "3"}, {"images": 2**60},
        {"images": 1, "classes": {}},
        {"images": 1, "classes": [1]},
        {"images": 1, "classes": [PERSON, PERSON]},
        {"images": 1, "classes": [PERSON | {"objects": 11}]},
        {"images": 1, "classes": [PERSON | {"small": -1}]},
        {"images": 1, "classes": [PERSON | {"small": None}]},
        {"images": 1, "classes": [PERSON | {"id": "1"}]},
        {"images": 1, "classes": [PERSON | {"name": 5}]},
        {"images": 1, "classes": [PERSON | {"name": "\ud800"}]},
    ],
)  # fmt: skip
def test_facts_that_no_conversion_writes_are_not_recorded(tmp_path: Path, facts: Any) -> None:
    found = read_conversion_facts(result(tmp_path, facts))
    assert isinstance(found, NotRecorded)
    assert found.reason.startswith("result.json has ")


@pytest.mark.parametrize(
    "facts", [None, {}, {"parameters": -1}, {"parameters": 1.5}, {"parameters": 1, "dtype": "fp8"},
              {"parameters": 1, "dtype": ["fp16"]}]
)  # fmt: skip
def test_facts_that_no_task_of_a_model_writes_are_not_recorded(tmp_path: Path, facts: Any) -> None:
    assert isinstance(read_model_facts(result(tmp_path, facts)), NotRecorded)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"version": 1, "code": 0}'])
def test_result_that_is_damaged_or_of_an_older_release_has_no_facts(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "result.json").write_bytes(content)
    assert isinstance(read_model_facts(tmp_path), NotRecorded)
    assert isinstance(read_conversion_facts(tmp_path), NotRecorded)


def test_absent_result_has_no_facts(tmp_path: Path) -> None:
    found = read_model_facts(tmp_path)
    assert isinstance(found, NotRecorded)
    assert "absent" in found.reason
