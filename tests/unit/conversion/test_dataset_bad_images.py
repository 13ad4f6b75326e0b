"""Images that cannot be used: all are named before the first is converted, and nothing is written."""

from __future__ import annotations

import json
import logging

import pytest
from tests.unit.conversion.sources import Source, fail_when_converting, warnings_in

from maskrcnn_trainer.errors import InvalidInput


def test_all_images_that_cannot_be_used_are_named_and_nothing_is_written(source: Source) -> None:
    source.write().convert()
    before = {name: (source.output_dir / name).read_bytes() for name in source.files()}
    (source.image_dir / "1.jpg").write_bytes(b"no image")
    source.images[3]["width"] = 41
    source.write()
    for processes in (1, 2):
        with pytest.raises(InvalidInput) as failure:
            source.convert(processes=processes, num_shards=7)
        lines = str(failure.value).splitlines()
        assert lines[0] == f"{source.annotations_file}: 2 problems:"
        assert (
            lines[1].strip() == f"images: id 101: {source.image_dir}/1.jpg: not an image, or its format isn't supported"
        )
        assert lines[2].strip().startswith(f"images: id 103: {source.image_dir}/3.jpg: is 40x30 (width x height)")
    assert {name: (source.output_dir / name).read_bytes() for name in source.files()} == before


def test_missing_images_are_named_before_the_first_is_converted(source: Source) -> None:
    source.images[2]["file_name"] = "none.jpg"
    with pytest.raises(InvalidInput, match=r"images: id 102: file_name 'none\.jpg': no such file in .*/images$"):
        source.write().convert(progress=fail_when_converting)


def test_missing_images_in_folders_are_named_before_the_first_is_converted(source: Source) -> None:
    (source.image_dir / "sub").mkdir()
    source.images[1]["file_name"], source.images[2]["file_name"] = "sub/none.jpg", "other/none.jpg"
    with pytest.raises(InvalidInput, match=r"(?s)2 problems.*id 101: .*'sub/none\.jpg'.*id 102: .*'other/none\.jpg'"):
        source.write().convert(progress=fail_when_converting)


def test_bad_images_beyond_the_limit_of_a_message_are_logged(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(5, 30):
        (source.image_dir / f"{i}.jpg").write_bytes(b"no image")
        source.images.append({"id": 100 + i, "file_name": f"{i}.jpg", "width": 40, "height": 30})
    with caplog.at_level(logging.INFO), pytest.raises(InvalidInput) as failure:
        source.write().convert(processes=2)
    assert f"{source.annotations_file}: 25 problems:" in str(failure.value)
    assert "and 5 more; they are in the log above, and with --skip-bad-images all are in" in str(failure.value)
    told = str(failure.value) + caplog.text
    assert [told.count(f"images: id {100 + i}: ") for i in range(5, 30)] == [1] * 25
    assert source.files() == []


def test_bad_image_is_reported_once_before_the_first_is_converted(
    source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    (source.image_dir / "4.jpg").write_bytes(b"no image")
    phases: set[str] = set()
    with pytest.raises(InvalidInput, match=r"4\.jpg: not an image"):
        source.write().convert(progress=lambda phase, done, total: phases.add(phase))
    assert phases == {"Checking"}
    assert not [record for record in caplog.records if "4.jpg" in record.getMessage()]


def test_bad_images_are_left_out_and_listed_with_skip_bad_images(
    source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    (source.image_dir / "1.jpg").write_bytes(b"no image")
    (source.image_dir / "2.jpg").unlink()
    for i in range(5):
        source.annotate(i, i + 1)
    source.annotate(1, 9)
    summary = source.write().convert(num_shards=2, skip_bad_images=True)
    assert [record["image/source_id"] for record in source.records()] == [[b"100"], [b"104"], [b"103"]]
    warnings = json.loads((source.output_dir / "boxes_warnings.json").read_text())
    assert warnings.keys() == {"101", "102"}
    assert warnings["101"] == {
        "box": [], "mask": [], "image": f"{source.image_dir}/1.jpg: not an image, or its format isn't supported"
    }  # fmt: skip
    assert (summary.images, summary.skipped_images, summary.objects, summary.skipped) == (3, 2, 3, 0)
    (line,) = warnings_in(caplog)
    assert line.startswith("2 of 5 images (40.0%) are left out with their 3 objects")
    source.convert(num_shards=3, skip_bad_images=True)  # a second run accepts the warnings file of the first
    assert len(source.records()) == 3


def test_missing_and_damaged_images_are_named_together(source: Source) -> None:
    (source.image_dir / "1.jpg").write_bytes(b"no image")
    (source.image_dir / "2.jpg").unlink()
    with pytest.raises(InvalidInput, match="2 problems") as failure:
        source.write().convert()
    assert "no such file" in str(failure.value)
    assert "not an image, or its format isn't supported" in str(failure.value)


def test_images_of_all_objects_left_out_are_refused(source: Source) -> None:
    (source.image_dir / "1.jpg").write_bytes(b"no image")
    source.annotate(1, 1)
    with pytest.raises(InvalidInput, match="no object is left, since no image with objects can be used"):
        source.write().convert(skip_bad_images=True)
    assert source.files() == []


def test_no_usable_image_is_refused_with_skip_bad_images_too(source: Source) -> None:
    for image in source.images:
        image["width"] = 41
    with pytest.raises(InvalidInput, match="5 problems"):
        source.write().convert(skip_bad_images=True)
    assert source.files() == []
