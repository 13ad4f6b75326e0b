"""Written objects by class and by COCO's ranges of areas."""

from __future__ import annotations

from tests.unit.conversion.sources import Source

from maskrcnn_trainer.results.facts import ClassObjects


def test_objects_are_counted_by_class_and_area(source: Source) -> None:
    areas = (1.0, 1023.9, 1024.0, 9215.9, 9216.0, 1e6)
    for number, area in enumerate(areas):
        source.annotate(number % 2, number, area=area)
    source.annotate(1, 90, area=5000.0, category_id=1)
    assert source.write().convert().classes == (
        ClassObjects(1, "dög", 1, 0, 1, 0),
        ClassObjects(3, "cat", 6, 2, 2, 2),
    )


def test_objects_left_out_and_crowds_are_not_counted(source: Source) -> None:
    source.annotate(0, 1)
    source.annotate(0, 2, bbox=[35, 5, 10, 20])
    source.annotate(0, 3, segmentation=[[1, 2, 3]])
    source.annotate(1, 4, iscrowd=1, segmentation={"size": [30, 40], "counts": [600, 30, 570]})
    source.write()
    assert source.convert().classes[1] == ClassObjects(3, "cat", 1, 1, 0, 0)
    assert source.convert(crowd_as_objects=True).classes[1] == ClassObjects(3, "cat", 2, 2, 0, 0)


def test_area_that_is_not_annotated_is_that_of_the_record(source: Source) -> None:
    source.annotate(0, 1, area=None, bbox=[0, 0, 40, 30], segmentation=[[0, 0, 40, 0, 40, 30, 0, 30]])
    assert source.write().convert().classes[1] == ClassObjects(3, "cat", 1, 0, 1, 0)
    assert source.records()[0]["image/object/area"] == [1200.0]


def test_counts_do_not_depend_on_the_number_of_processes(source: Source) -> None:
    for number in range(10):
        source.annotate(number % 5, number, area=300.0 * number)
    source.write()
    assert source.convert(processes=2).classes == source.convert(processes=1).classes
