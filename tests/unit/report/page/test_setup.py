from __future__ import annotations

from dataclasses import replace

from tests.unit.report.page import sample
from tests.unit.report.page.html_reading import read, words

from maskrcnn_trainer.report.content import ClassCount, DataSet, Experiment, FieldDifference
from maskrcnn_trainer.report.page.layout import LONGEST_TABLE, Nesting
from maskrcnn_trainer.report.page.setup import setup

EXPERIMENT = sample.experiment(with_pictures=False)


def drawn(**changes: object) -> str:
    changed: Experiment = replace(EXPERIMENT, **changes)  # type: ignore[arg-type]
    return setup(changed, Nesting()).drawn(Nesting())


def test_field_has_its_default_and_its_value() -> None:
    assert "totalStepsnull500" in words(drawn(differences=(FieldDifference("totalSteps", ("null", "500")),)))


def test_field_has_places_where_its_name_may_be_broken() -> None:
    made = drawn(differences=(FieldDifference("dataConfig.imageSize", ("1", "2")),))
    assert "data<wbr>Config.<wbr>image<wbr>Size" in made


def test_step_whose_spec_is_shown_is_named() -> None:
    assert "The spec is that of step retrain;" in words(drawn(spec_step="retrain"))
    assert "The spec is that of" not in words(drawn(spec_step=None, differences=None))


def test_spec_of_defaults_and_spec_that_is_not_recorded_differ() -> None:
    assert "None: all fields have the same values." in words(drawn(differences=()))
    assert "default specnot recorded" in words(drawn(differences=None, spec_step=None))


def test_classes_of_both_data_sets_are_in_one_table() -> None:
    training = DataSet("training", 10, (ClassCount(1, "cat", 1584),), "abc")
    validation = DataSet("validation", None, (ClassCount(1, "cat", 7), ClassCount(2, "dog", 3)))
    text = words(drawn(data=(training, validation)))
    assert "classtraining: objectsvalidation: objectscat1,5847dognot recorded3" in text
    assert "training: 10 images; digest: abc" in text
    assert "validation: not recorded images; digest: not recorded" in text


def test_sizes_are_stacked_where_they_are_recorded() -> None:
    sized = DataSet("training", 10, (ClassCount(1, "cat", 6, 1, 2, 3),))
    assert "smallmediumlarge" in words(drawn(data=(sized,)))
    assert (
        "medium"
        not in words(drawn(data=(DataSet("training", 10, (ClassCount(1, "cat", 6),)),))).partition("classtraining")[2]
    )


def test_rows_of_many_classes_are_in_a_part_that_opens() -> None:
    counts = tuple(ClassCount(number, f"c{number}", number) for number in range(1, LONGEST_TABLE + 2))
    made = drawn(data=(DataSet("training", 10, counts),))
    assert "c26" in [text for path, text in read(made).texts if "/details/" in path]
    assert "c1" not in [text for path, text in read(made).texts if "/details/" in path]


def test_what_can_not_be_read_is_listed() -> None:
    assert "Notes on the inputsconvert/result.json isn't there." in words(
        drawn(notes=("convert/result.json isn't there.",))
    )


def test_nothing_recorded_is_stated() -> None:
    text = words(drawn(data=(), facts={}))
    assert "Hardware, seed, and versions: not recorded." in text
    assert "Images and objects by class: not recorded." in text
