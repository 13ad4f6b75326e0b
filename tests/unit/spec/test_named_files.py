"""Every text of the spec either names files or is known to be another text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from pydantic.fields import FieldInfo

from maskrcnn_trainer.spec import DataConfig, ExperimentSpec
from maskrcnn_trainer.spec.base import SpecModel
from maskrcnn_trainer.spec.named_files import file_fields
from maskrcnn_trainer.spec.partial import nested_model

OTHER_TEXTS = {
    "skip_checkpoint_variables",
    *(f"wandb_config.{name}" for name in ("project", "entity", "name", "notes")),
    *(f"clearml_config.{name}" for name in ("project", "task")),
}


def is_text(field: FieldInfo) -> bool:
    return str in (field.annotation, *get_args(field.annotation))


def texts(model: type[SpecModel], before: str = "") -> Iterator[tuple[str, bool]]:
    """Yield each text of the spec with whether it is declared to name files."""
    for name, field in model.model_fields.items():
        part = nested_model(field)
        if part is not None:
            yield from texts(part, f"{before}{name}.")
        elif is_text(field):
            yield before + name, name in file_fields(model)


def test_text_of_the_spec_names_files_or_is_known_not_to() -> None:
    declared = {name for name, names_files in texts(ExperimentSpec) if names_files}
    found = {name for name, _ in texts(ExperimentSpec)}
    assert found - declared - OTHER_TEXTS == set(), "add NAMES_FILES to the annotation, or the field to OTHER_TEXTS"
    assert declared & OTHER_TEXTS == set()
    assert found >= OTHER_TEXTS, "no such fields"


def test_fields_are_in_the_order_of_the_spec() -> None:
    assert file_fields(ExperimentSpec) == ("checkpoint", "checkpoint_config", "pruned_model_path")
    assert file_fields(DataConfig) == ("training_file_pattern", "validation_file_pattern", "val_json_file")
