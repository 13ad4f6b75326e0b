"""Objects that are left out, suspicious, or crowds: refused, or counted in a warning."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
from PIL import Image
from tests.unit.conversion.sources import Source, left_out, warnings_in

from maskrcnn_trainer.errors import InvalidInput


def test_warnings(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    source.annotate(1, 11, bbox=[35, 5, 10, 20])
    source.annotate(1, 12)
    source.annotate(1, 17, bbox=[5, 5, 35.25, 20])
    source.annotate(1, 13, segmentation=[[1, 2, 3]])
    source.annotate(3, 14, bbox=[5, 5, 5, 20])
    source.annotate(3, 15, segmentation={"size": [30, 40], "counts": [1200]})
    source.annotate(4, 16)
    with caplog.at_level(logging.INFO):
        summary = source.write().convert(num_shards=1)
    assert json.loads((source.output_dir / "boxes_warnings.json").read_text()) == {
        "101": {"box": [11, 17], "mask": [13]},
        "103": {"box": [], "mask": [14, 15]},
    }
    assert [len(record["image/object/mask"]) for record in source.records()] == [0, 2, 0, 2, 1]
    assert (summary.objects, summary.skipped, summary.warned_images) == (5, 2, 2)
    assert summary.warnings_file == str(source.output_dir / "boxes_warnings.json")
    lines = [record.getMessage() for record in caplog.records]
    assert f"writing to output path: {source.output_dir}/boxes" in lines
    assert "Building bounding box index." in lines
    assert "2 images are missing bboxes." in lines
    assert "On image 0 of 5" in lines
    assert "Finished writing, skipped 2 annotations." in lines
    assert "image 101, object 13 (left out): polygon 0: 3 numbers; expected pairs x, y" in lines
    assert "image 103, object 15 (kept): the mask is empty" in lines


def test_data_set_without_a_usable_object_is_refused(source: Source) -> None:
    source.annotate(0, 1, segmentation=[])
    source.annotate(1, 2, segmentation=[])
    source.annotate(1, 3, bbox=[35, 5, 10, 20])
    with pytest.raises(InvalidInput) as caught:
        source.write().convert()
    assert str(caught.value) == (
        f"{source.annotations_file}: 3 of 3 objects (100.0%) are left out: empty segmentation: 2, such as image 100, "
        "object 1: the list of polygons is empty; box extends beyond the image: 1, such as image 101, object 3: box "
        "[35, 5, 10, 20] (x, y, width, height) extends beyond the 40x30 image by 5 pixels; the annotations seem to be "
        "boxes without masks, which cannot train Mask R-CNN (--no-include_mask converts the boxes alone)"
    )
    assert (caught.value.exit_code, source.files()) == (64, [])


@pytest.mark.parametrize(("bad", "level"), [(1, "INFO"), (2, "WARNING")])
def test_more_than_a_tenth_of_the_objects_left_out_is_a_warning(
    source: Source, caplog: pytest.LogCaptureFixture, bad: int, level: str
) -> None:
    for number in range(1, 11):
        source.annotate(0, number, **({"segmentation": [[1, 2, 3]]} if number <= bad else {}))
    with caplog.at_level(logging.INFO):
        source.write().convert()
    ((found, line),) = left_out(caplog)
    assert found == level
    assert line == (
        f"{bad} of 10 objects ({bad}0.0%) are left out: broken segmentation: {bad}, such as image 100, object 1: "
        "polygon 0: 3 numbers; expected pairs x, y"
    )


def test_boxes_of_corners_are_named_as_the_likely_cause(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(1, 9):
        source.annotate(0, number)
    for number in range(10, 12):
        source.annotate(1, number, bbox=[25, 5, 35, 25])
    source.write().convert()
    ((level, line),) = left_out(caplog)
    assert level == "WARNING"
    assert line.endswith("; the boxes seem to be x1, y1, x2, y2: COCO's are x, y, width, height")


def test_boxes_outside_of_the_image_that_are_not_corners_give_no_hint(
    source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    source.annotate(0, 1)
    source.annotate(1, 10, bbox=[35, 5, 10, 20])
    source.write().convert()
    ((_, line),) = left_out(caplog)
    assert "x1" not in line


def test_boxes_in_fractions_of_the_image_are_refused_before_any_work(source: Source) -> None:
    source.annotate(0, 1, bbox=[0.1, 0.2, 0.5, 0.8], segmentation=[[0.1, 0.2, 0.6, 0.2, 0.6, 1]])
    with pytest.raises(InvalidInput, match=r"1 of 1 boxes.*seem to be fractions of the image; x, y, width"):
        source.write().convert(progress=lambda *counts: pytest.fail("an image was read"))


def test_nearly_all_boxes_in_fractions_are_refused_though_one_is_rounded(source: Source) -> None:
    for number in range(1, 10):
        source.annotate(0, number, bbox=[0.1, 0.2, 0.5, 1.02])
    source.annotate(0, 10)
    with pytest.raises(InvalidInput, match="9 of 10 boxes"):
        source.write().convert()


@pytest.mark.parametrize("bbox", [[-5, -5, 5, 5], [0.5, 0.5, 1, 1.25], [0, 0, 1, 0]])
def test_boxes_near_the_first_pixel_are_not_taken_for_fractions(
    source: Source, caplog: pytest.LogCaptureFixture, bbox: list[float]
) -> None:
    source.annotate(0, 1, bbox=bbox)
    source.annotate(0, 2)
    source.write().convert()
    assert not any("fractions" in line for line in warnings_in(caplog))


@pytest.mark.parametrize(("bad", "warned"), [(1, False), (2, True)])
def test_boxes_that_do_not_fit_their_masks_are_counted_in_a_warning(
    source: Source, caplog: pytest.LogCaptureFixture, bad: int, warned: bool
) -> None:
    for number in range(1, 21):
        source.annotate(0, number, **({"bbox": [5, 5, 30, 20]} if number <= bad else {}))
    source.write().convert()
    lines = [message for level, message in left_out(caplog) if level == "WARNING"]
    assert len(lines) == warned
    assert not warned or lines[0].startswith("2 of 20 objects (10.0%) have a box that does not fit the mask")


def test_images_turned_by_exif_are_counted_in_a_warning(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    tags = Image.Exif()
    tags[0x0112] = 3
    Image.new("RGB", (40, 30)).save(source.image_dir / "3.jpg", exif=tags)
    source.write().convert()
    (line,) = warnings_in(caplog)
    assert line.startswith("1 of 5 images (20.0%) have an EXIF orientation other than 1 (such as 3.jpg with 3)")


def test_dark_images_of_16_bits_are_counted_in_a_warning(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    Image.fromarray(np.full((30, 40), 4000, np.uint16)).save(source.image_dir / "3.jpg", "PNG")
    source.write().convert()
    (line,) = warnings_in(caplog)
    assert line.startswith("1 of 5 images (20.0%) have 16 bits, with 99% of their values below 1/16 of the range")


def test_png_without_its_end_is_counted_in_a_warning(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    Image.new("RGB", (40, 30)).save(source.image_dir / "3.jpg", "PNG")
    (source.image_dir / "3.jpg").write_bytes((source.image_dir / "3.jpg").read_bytes()[:-12])
    source.write().convert()
    (line,) = warnings_in(caplog)
    assert line == (
        "1 of 5 images (20.0%) are stored as new PNG: the file ends early, after all of its pixels (such as 3.jpg)"
    )


def test_jpeg_whose_data_ends_early_is_counted_in_a_warning(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    data = (source.image_dir / "3.jpg").read_bytes()
    (source.image_dir / "3.jpg").write_bytes(data[:-300] + b"\xff\xd9")
    source.write().convert()
    (line,) = warnings_in(caplog)
    assert line.startswith("1 of 5 images (20.0%) are JPEG files that end before their last pixels (such as 3.jpg)")


def test_crowds_that_are_most_of_the_objects_are_counted_in_a_warning(
    source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    source.annotate(0, 1, iscrowd=1)
    source.annotate(0, 2)
    source.write().convert()
    assert not warnings_in(caplog)
    source.annotate(0, 3, iscrowd=1)
    source.write().convert(num_shards=1)
    (line,) = warnings_in(caplog)
    assert line.startswith("2 of 3 objects (66.7%) have iscrowd 1: training leaves them out")
    assert "--crowd-as-objects" in line
    assert source.records()[0]["image/object/is_crowd"] == [1, 0, 1]


def test_crowds_become_objects_with_crowd_as_objects(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    source.annotate(0, 1, iscrowd=1)
    source.write().convert(num_shards=1, crowd_as_objects=True)
    assert source.records()[0]["image/object/is_crowd"] == [0]
    assert not warnings_in(caplog)
