"""Drawing of objects: positions, colors of classes, labels, and image files."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from maskrcnn_trainer.evaluation import drawing
from maskrcnn_trainer.evaluation.drawing import (
    Dashes,
    DrawnObject,
    class_color,
    draw_objects,
    drawn_name,
    objects_of_results,
    write_image,
)
from maskrcnn_trainer.evaluation.paste import PastedMask
from maskrcnn_trainer.evaluation.preview import image_of_padded
from maskrcnn_trainer.images.decode import decode_image

GRAY = np.full((100, 120, 3), 90, np.uint8)


def test_colors_are_stable_and_differ() -> None:
    assert class_color(3) == class_color(3)
    colors = [class_color(number) for number in range(1, 91)]
    assert len(set(colors)) == 90
    for one, other in itertools.pairwise(colors):
        assert np.abs(np.subtract(one, other)).sum() > 100


def test_box_and_mask_have_the_color_of_their_class() -> None:
    mask = np.zeros((100, 120), bool)
    mask[40:60, 50:70] = True
    drawn = draw_objects(GRAY, [DrawnObject((30, 20, 80, 90), 2, "thing", 0.9, mask)])
    assert drawn.shape == GRAY.shape
    assert (GRAY == 90).all(), "the given image is not painted on"
    color = np.array(class_color(2))
    np.testing.assert_array_equal(drawn[30, 70:90], np.tile(color, (20, 1)))
    np.testing.assert_array_equal(drawn[79, 20:90], np.tile(color, (70, 1)))
    np.testing.assert_allclose(drawn[50, 60], 90 * 0.55 + color * 0.45, atol=1)
    np.testing.assert_array_equal(drawn[70, 60], [90, 90, 90])


def test_masks_are_read_in_every_coco_form() -> None:
    mask = np.zeros((100, 120), np.uint8)
    mask[40:60, 50:70] = 1
    compressed = coco_mask.encode(np.asfortranarray(mask))
    flat = mask.ravel(order="F")
    runs = np.diff(np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1, [flat.size]])).tolist()
    forms = [
        mask.astype(bool),
        compressed,
        {"size": [100, 120], "counts": compressed["counts"].decode()},
        {"size": [100, 120], "counts": runs},
        [[50, 40, 70, 40, 70, 60, 50, 60]],
    ]
    pictures = [draw_objects(GRAY, [DrawnObject((40, 50, 60, 70), 1, "x", mask=form)]) for form in forms]
    pasted = PastedMask(mask[38:64, 45:75].T.astype(bool), 38, 45)
    pictures.append(draw_objects(GRAY, [DrawnObject((40, 50, 60, 70), 1, "x", mask=pasted)]))
    for picture in pictures[1:]:
        np.testing.assert_array_equal(picture, pictures[0])
    nothing = PastedMask(np.zeros((0, 0), bool), 0, 0)
    draw_objects(GRAY, [DrawnObject((40, 50, 60, 70), 1, "x", mask=nothing)], min_side=300)


def test_text_and_lines_grow_with_the_picture() -> None:
    heights, widths = [], []
    for side in (300, 3000):
        middle, end = side // 2, 9 * side // 10
        gray = np.full((side, side, 3), 90, np.uint8)
        changed = draw_objects(gray, [DrawnObject((middle, middle, end, end), 1, "x", 0.5)]) != 90
        heights.append(middle - int(np.flatnonzero(changed[:, middle].any(axis=1))[0]))
        widths.append(int(changed[7 * side // 10, middle - 30 : middle + 30].any(axis=1).sum()))
    assert heights[0] >= 10
    assert heights[1] >= 40
    assert widths[0] == 1
    assert widths[1] >= 8


def test_label_of_the_best_object_is_on_top() -> None:
    """Check that the best object's label is fully visible if there are more objects than places for labels."""
    small = np.full((40, 90, 3), 90, np.uint8)
    crowd = [DrawnObject((10, 10, 30, 60), number, "thing", 1 - number / 100) for number in range(1, 30)]
    alone = draw_objects(small, crowd[:1])
    label = (alone == class_color(1)).all(axis=2)
    label[10:30, 10:60] = False
    assert label.sum() > 200
    together = draw_objects(small, crowd)
    np.testing.assert_array_equal(together[label], alone[label])


@pytest.mark.parametrize("box", [(-20, -20, 300, 300), (99, 119, 100, 120), (0, 0, 0, 0), (50, 110, 90, 119)])
def test_boxes_at_and_past_the_border(box: tuple[int, int, int, int]) -> None:
    drawn = draw_objects(GRAY, [DrawnObject(box, 1, "a rather long name", 0.5)], min_side=300)
    assert drawn.shape == (300, 360, 3)
    assert (drawn != 90).any()


def test_small_images_are_enlarged_by_a_whole_factor_and_large_ones_kept() -> None:
    assert draw_objects(GRAY[:64, :64], [], min_side=200).shape == (256, 256, 3)
    assert draw_objects(GRAY, [], min_side=100).shape == (100, 120, 3)
    assert draw_objects(GRAY, []).shape == (100, 120, 3)


def test_results_become_objects() -> None:
    results = [
        {"category_id": 1, "bbox": [10, 20, 30, 40], "score": 0.7},
        {"category_id": 2, "bbox": [0, 0, 5, 5], "score": 0.05},
        {"category_id": 2, "bbox": [0, 0, 5, 5], "iscrowd": 1},
    ]
    assert objects_of_results(results, {1: "one"}, min_score=0.1) == [
        DrawnObject((20, 10, 60, 40), 1, "one", 0.7),
        DrawnObject((0, 0, 5, 5), 2, "2", None, crowd=True),
    ]


def test_written_image_is_the_one_given_and_alone_in_its_directory(tmp_path: Path) -> None:
    picture = draw_objects(GRAY, [DrawnObject((30, 20, 80, 90), 2, "thing", 0.9)])
    write_image(tmp_path / "picture.png", picture)
    np.testing.assert_array_equal(decode_image(tmp_path / "picture.png"), picture)
    assert [file.name for file in tmp_path.iterdir()] == ["picture.png"]


def test_the_networks_input_becomes_an_image_again() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    padded = np.zeros((32, 32, 3), np.float32)
    padded[:20, :30] = (image / 255.0 - np.array([0.485, 0.456, 0.406])) / 0.224
    info = np.array([20, 30, 1.0, 20, 30], np.float32)
    np.testing.assert_array_equal(image_of_padded(padded, info), image)


@pytest.mark.parametrize(
    ("size", "drawn"), [((30, 2000), (60, 4000)), ((20, 5000), (20, 5000)), ((128, 128), (384, 384))]
)
def test_a_narrow_image_is_not_enlarged_past_what_its_format_holds(
    size: tuple[int, int], drawn: tuple[int, int]
) -> None:
    assert draw_objects(np.zeros((*size, 3), np.uint8), [], min_side=300).shape[:2] == drawn


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("person", "person"),
        ("traffic light", "traffic light"),
        ("Zürich", "Zurich"),
        ("Straße", "Strasse"),
        ("crème brûlée", "creme brulee"),
        ("łódź", "lodz"),
        ("half\N{NO-BREAK SPACE}moon", "half moon"),
        ("собака", "class 7"),
        ("犬", "class 7"),
        ("犬 dog", "class 7"),
        ("\u0301", "class 7"),
        ("tab\tname", "class 7"),
    ],
)
def test_a_name_is_drawn_in_letters_that_the_font_has(name: str, drawn: str) -> None:
    assert drawn_name(name, 7) == drawn


def test_color_of_an_object_replaces_that_of_its_class() -> None:
    drawn = draw_objects(GRAY, [DrawnObject((30, 20, 80, 90), 2, "thing", color=(1, 2, 250))])
    assert tuple(drawn[30, 50]) == (1, 2, 250)


def test_dashed_object_has_gaps_and_no_fill() -> None:
    mask = np.zeros((100, 120), bool)
    mask[40:60, 40:80] = True
    item = DrawnObject(
        (30, 20, 80, 90), 2, "thing", None, mask, color=(1, 2, 250), dashes="dashed", fill=0, labeled=False
    )
    painted = (draw_objects(GRAY, [item]) == (1, 2, 250)).all(axis=-1)
    for line in (painted[30, 20:90], painted[79, 20:90], painted[30:80, 20], painted[30:80, 89], painted[40, 40:80]):
        assert 0.3 < line.mean() < 0.7
    assert (draw_objects(GRAY, [item])[45:55, 45:75] == 90).all()


def test_object_without_a_label_is_only_an_outline() -> None:
    item = DrawnObject((40, 20, 80, 90), 2, "thing", color=(1, 2, 250), labeled=False)
    assert (draw_objects(GRAY, [item])[:40] == 90).all()


def test_outlines_differ_by_their_dashes_and_not_by_color_alone() -> None:
    def rows(dashes: Dashes) -> list[int]:
        item = DrawnObject((10, 10, 90, 110), 1, "x", color=(1, 2, 250), dashes=dashes, labeled=False)
        painted = (draw_objects(GRAY, [item])[10, 10:110] == (1, 2, 250)).all(axis=-1)
        ends = np.flatnonzero(np.diff(np.concatenate([[False], painted, [False]]).astype(int)))
        return sorted(set((ends[1::2] - ends[::2]).tolist()[:-1]))

    assert rows("solid") == []
    assert rows("dashed") == [7]
    assert rows("dash-dotted") == [2, 13]


def test_light_fill_keeps_the_texture_of_the_image() -> None:
    mask = np.zeros(GRAY.shape[:2], bool)
    mask[30:80, 20:90] = True
    item = DrawnObject((30, 20, 80, 90), 1, "x", mask=mask, color=(1, 2, 250), fill=0.1, labeled=False)
    assert np.abs(draw_objects(GRAY, [item])[50, 50].astype(int) - 90).max() <= 16


def test_numbers_of_many_objects_do_not_cover_each_other() -> None:
    items = [DrawnObject((40, 30, 90, 110), 1, "a long name", 0.5, number=number) for number in range(1, 9)]
    picture = np.full((200, 200, 3), 90, np.uint8)
    size = drawing._text_size(picture, 1.5)
    labels = drawing._place_labels(picture, items, 1, size)
    assert [label.text for label in labels if label.text.isdigit()]
    assert labels[0].text == "1 a long name"
    for at, label in enumerate(labels):
        x, y, width, height = label.area
        assert (x >= 0, y >= 0, x + width <= 200, y + height <= 200) == (True,) * 4
        assert not any(drawing._overlap(label.area, other.area) for other in labels[:at])


@pytest.mark.parametrize("labeled", [False, True])
def test_strokes_enlarge_lines_and_letters(labeled: bool) -> None:
    item = DrawnObject((60, 20, 90, 110), 1, "x", number=1, color=(1, 2, 250), labeled=labeled)
    large = np.full((400, 400, 3), 90, np.uint8)
    thin, thick = (
        np.count_nonzero((draw_objects(large, [item], strokes=strokes) != 90).any(axis=-1)) for strokes in (1.0, 2.0)
    )
    assert thick > 1.7 * thin
