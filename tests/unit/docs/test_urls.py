"""docs/reference/urls.md: its tables have the fields and flags of the trainer's table of URLs, and no others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from maskrcnn_trainer.spec.object_stores import LocalStore, ObjectStore, store_problems
from maskrcnn_trainer.spec.store_config import parse_store_config
from maskrcnn_trainer.spec.url_fields import OF_THIS_MACHINE, OUTPUT_FLAGS, STORE_FLAGS, URL_FIELDS, UrlField

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "urls.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(title: str) -> list[list[str]]:
    lines = re.findall(r"(?m)^\| (.*) \|$", section(title))
    return [[cell.strip() for cell in line.split("|")] for line in lines[1:]]


def row(entry: UrlField) -> list[str]:
    field = entry.manifest_fields[0].removeprefix("spec.") if entry.manifest_fields else ""
    flags = ", ".join(f"`{command} {flags[0]}`" for command, flags in entry.flags.items())
    return [f"`{field}`" if field else "", flags, entry.kind.value]


def test_page_has_a_row_for_each_entry_of_the_table() -> None:
    assert rows("What takes a URL") == [row(entry) for entry in URL_FIELDS]


def test_page_has_each_flag_that_takes_no_url() -> None:
    named = [place for cells in rows("What doesn't") for place in re.findall(r"`([^`]+)`", cells[0])]
    named.remove("maskrcnn-operator run MANIFEST")
    places = {tuple(place.rsplit(" ", 1)) for place in named if " " in place}
    others = {place for place in named if " " not in place}
    assert others == {"MASKRCNN_RESULTS_DIR", "spec.workspace.subPath", "--state-dir", "--output", *STORE_FLAGS}
    every = {**OUTPUT_FLAGS, **OF_THIS_MACHINE}
    assert {command for command, _ in places} == set(every)
    for command, flag in places:
        assert flag in every[command]
    # spellings of one flag share its letter or its destination, and the page has one of them
    assert {(command, flag) for command, flags in every.items() for flag in flags[:1]} <= places


@pytest.mark.parametrize(("position", "model"), [(0, ObjectStore), (1, LocalStore)], ids=["manifest", "machine"])
def test_example_of_stores_is_valid(position: int, model: type[ObjectStore | LocalStore]) -> None:
    text = re.findall(r"```yaml\n(.*?)```", section("Stores"), re.DOTALL)[position]
    if model is LocalStore:
        assert parse_store_config(text)
        return
    stores = [model.model_validate(entry) for entry in yaml.safe_load(text)["objectStores"]]
    assert list(store_problems(stores)) == []
