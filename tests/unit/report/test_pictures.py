"""Pictures of shown images."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.unit.report import made_experiment as made

from maskrcnn_trainer.data.records import frame
from maskrcnn_trainer.report import pictures
from maskrcnn_trainer.report.content import Evaluation, ShownImage
from maskrcnn_trainer.report.experiment import read_experiment
from maskrcnn_trainer.report.inputs.experiment_directory import open_directory
from maskrcnn_trainer.report.page.markup import is_picture
from maskrcnn_trainer.report.page.palette import PICTURE_COLORS
from maskrcnn_trainer.report.pictures import LISTS, PictureSource, with_pictures, without_pictures

ENOUGH = 10_000_000


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return made.make_experiment(tmp_path / "ws")


def opened(home: Path) -> tuple[Evaluation, PictureSource]:
    read = read_experiment(open_directory(home / "evaluate"))
    assert read.analyzed is not None
    return read.analyzed.evaluation, PictureSource(
        read.analyzed.results, read.analyzed.validation, read.directory.paths
    )


def drawn(home: Path, budget: int = ENOUGH) -> Evaluation:
    return with_pictures(*opened(home), budget)


def shown(evaluation: Evaluation) -> list[ShownImage]:
    return [image for name in LISTS for image in getattr(evaluation, name)]


def pixels(image: ShownImage) -> NDArray[np.int16]:
    assert image.picture is not None
    encoded = base64.b64decode(image.picture.removeprefix("data:image/webp;base64,"))
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"), np.int16)


def near(found: NDArray[np.int16], role: str, limit: int = 60) -> NDArray[np.bool_]:
    return np.abs(found - PICTURE_COLORS[role]).max(axis=-1) < limit  # type: ignore[index]


def gray_image(home: Path, image: int = 1) -> None:
    """Replace the images of the records by gray ones of the same size, which has no color of a role."""
    file = home / "convert-val" / "val-00000-of-00001.tfrecord"
    stream = io.BytesIO()
    Image.new("RGB", (200, 200), (90, 90, 90)).save(stream, "PNG")
    payloads = [
        made.make_example(
            byte_lists={"image/encoded": [stream.getvalue()], "image/source_id": [str(number).encode()]},
            float_lists={},
            int_lists={},
        )
        for number in range(1, made.IMAGES + 1)
    ]
    file.write_bytes(b"".join(map(frame, payloads)))
    made.evaluate(home / "evaluate", home / "train" / "model.step-40.tlt")


def test_each_shown_image_has_a_picture(home: Path) -> None:
    found = drawn(home)
    assert len(shown(found)) == 4 + 1 + 1 + 4
    assert all(is_picture(image.picture) for image in shown(found))
    assert found.pictures_missing is None


def test_true_detections_are_green_and_their_objects_have_no_outline(home: Path) -> None:
    gray_image(home)
    image = next(one for one in drawn(home).random if one.image_id == 1)
    found = pixels(image)
    assert found.shape == (400, 400, 3)
    assert near(found, "true")[20:120, 19:24].mean() > 0.2
    assert near(found, "true").mean() > 0.005
    assert not near(found, "false").any()
    assert not near(found, "missed").any()


def test_false_detections_are_red_and_missed_objects_are_dashed(home: Path) -> None:
    gray_image(home)
    evaluation = drawn(home)
    image = next(one for one in evaluation.random if one.image_id == 2)
    found = pixels(image)
    assert near(found, "false").mean() > 0.005
    x, y, width, height = (round(2 * value) for one in image.objects if one.role == "missed" for value in one.box)
    bottom = near(found, "missed")[y + height - 4 : y + height + 2, x : x + width].any(axis=0)
    assert 0.2 < bottom.mean() < 0.95
    assert not near(found, "true").any()


def test_picture_about_one_object_shows_the_name_of_that_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[tuple[int, bool, bool]]] = []
    original = pictures.draw_objects

    def kept(image: Any, objects: Any, **options: Any) -> Any:
        calls.append([(one.number, bool(one.name), one.mask is not None) for one in objects])
        return original(image, objects, **options)

    monkeypatch.setattr(pictures, "draw_objects", kept)
    evaluation, source = opened(home)
    twice = replace(evaluation, worst=(), random=(), missed=())
    (false,) = evaluation.confident_false
    with_pictures(replace(twice, confident_false=(replace(false, objects=false.objects * 2),)), source, ENOUGH)
    drawn_objects = [one for one in false.objects * 2 if one.role != "object"]
    others = [(number, False, False) for number in range(2, len(drawn_objects) + 1)]
    assert calls == [[(1, True, True), *others]]


def test_outlines_of_roles_differ_by_dashes_and_masks_have_a_light_fill(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outlines = set()
    original = pictures.draw_objects

    def kept(image: Any, objects: Any, **options: Any) -> Any:
        outlines.update((one.color, one.dashes, one.fill <= 0.15) for one in objects)
        return original(image, objects, **options)

    monkeypatch.setattr(pictures, "draw_objects", kept)
    drawn(home)
    assert outlines == {
        (PICTURE_COLORS["true"], "solid", True),
        (PICTURE_COLORS["false"], "dash-dotted", True),
        (PICTURE_COLORS["missed"], "dashed", True),
    }


def test_small_budget_lowers_the_quality_and_never_is_exceeded(home: Path) -> None:
    many = sum(len(image.picture or "") for image in shown(drawn(home)))
    for budget in (many // 2, many // 3, 5000, 0):
        found = drawn(home, budget)
        assert sum(len(image.picture or "") for image in shown(found)) <= budget
    assert found.pictures_missing == "the page would exceed 8 MB"
    assert any(image.picture for image in shown(drawn(home, many // 2)))


def test_pictures_can_be_removed_with_a_reason(home: Path) -> None:
    found = without_pictures(drawn(home), "too many")
    assert not any(image.picture for image in shown(found))
    assert found.pictures_missing == "too many"


def delete(home: Path) -> None:
    (home / "convert-val" / "val-00000-of-00001.tfrecord").unlink()


def damage(home: Path) -> None:
    file = home / "convert-val" / "val-00000-of-00001.tfrecord"
    content = bytearray(file.read_bytes())
    content[200] ^= 1
    file.write_bytes(content[:300])


def swap(home: Path) -> None:
    def swapped(images: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [one | {"offset": other["offset"]} for one, other in zip(images, images[::-1], strict=True)]

    entries(home, swapped)


def shrink(home: Path) -> None:
    file = home / "convert-val" / "val-00000-of-00001.tfrecord"
    small = {"image/encoded": [made.picture(1, side=50)], "image/source_id": [b"2"]}
    payload = made.make_example(byte_lists=small, float_lists={}, int_lists={})
    file.write_bytes(frame(payload))
    entries(home, lambda images: [one | {"offset": 12} for one in images])


def point_elsewhere(home: Path) -> None:
    entries(home, lambda images: [one | {"file": "/etc/hostname", "offset": 13} for one in images])


def point_beyond(home: Path) -> None:
    entries(home, lambda images: [one | {"offset": 10**15} for one in images])


def point_before(home: Path) -> None:
    entries(home, lambda images: [one | {"offset": 3} for one in images])


def point_to_a_device(home: Path) -> None:
    entries(home, lambda images: [one | {"file": "/dev/zero"} for one in images])


def forget(home: Path) -> None:
    (home / "evaluate" / "images.json").unlink()
    delete(home)


def entries(home: Path, changed: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    file = home / "evaluate" / "images.json"
    content = json.loads(file.read_text())
    made.write_json(file, content | {"images": changed(content["images"])})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (delete, "are gone (convert-val/val-00000-of-00001.tfrecord)"),
        (damage, "can't be read"),
        (swap, "have changed"),
        (shrink, "have images of another size"),
        (point_elsewhere, "can't be read"),
        (point_beyond, "can't be read"),
        (point_before, "can't be read"),
        (point_to_a_device, "can't be read"),
        (forget, "it isn't recorded where"),
    ],
)
def test_records_that_are_not_those_of_the_evaluation_give_a_reason(
    home: Path, change: Callable[[Path], None], reason: str
) -> None:
    change(home)
    found = drawn(home)
    assert reason in (found.pictures_missing or "")
    assert not shown(found)[0].picture
    assert found.metrics["AP50"] > 0


def test_huge_image_is_not_decoded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "LARGEST_IMAGE", 200 * 200 - 1)
    assert "more than 39,999 pixels" in (drawn(home).pictures_missing or "")
