"""Small generated instance-segmentation data set: overlapping textured shapes on a textured background.

    python examples/shapes/generate.py --output DIR --train 400 --val 60 --seed 7

writes DIR/images/*.jpg, DIR/train.json and DIR/val.json (COCO instances JSON), and DIR/samples/*.jpg, images that are
in neither split, for inference. The three classes differ in form and texture: discs with stripes, squares with checks,
triangles with dots; colors are random. Masks cover the visible part: polygons for whole objects, run lengths for
objects that are cut by another one or the border. A few images have a crowd region, and a few annotations of the
training set are deliberately broken, like those of real data sets. The same arguments give the same bytes with the same
versions of NumPy and OpenCV.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

SIZE = 128
MARGIN = 16  # objects may extend beyond the image by this much
CANVAS = SIZE + 2 * MARGIN
CLASSES = ("disc", "square", "triangle")
SIDES = (26.0, 54.0)  # after rotation, boxes of whole objects have sides of 22 to 65 pixels
OBJECTS = (5, 8)
LEAST_VISIBLE = 0.45
LEAST_SIDE = 12
CROWD_EVERY = 40
FIRST_ID = {"train": 1, "val": 100_001}
SAMPLES = 16
JPEG_QUALITY = 92

Mask = NDArray[np.bool_]
Picture = NDArray[Any]  # float32 RGB [CANVAS, CANVAS, 3], 0..255


@dataclass
class Shape:
    """One drawn object: its polygon in canvas pixels, and the mask of its visible part."""

    category: int
    polygon: NDArray[np.float64]
    full_area: int
    visible: Mask


def generate(output: Path, counts: dict[str, int], seed: int) -> None:
    """Write the splits in ``counts`` with the given number of images, and the samples."""
    folder = output / "images"
    folder.mkdir(parents=True, exist_ok=True)
    for split_number, (split, count) in enumerate(counts.items()):
        images, annotations = [], []
        for index in range(count):
            rng = np.random.default_rng([seed, split_number, index])
            picture, found = draw_image(rng, crowd=index % CROWD_EVERY == 3)
            image_id = FIRST_ID[split] + index
            name = f"{image_id:06d}.jpg"
            write_jpeg(folder / name, picture)
            images.append({"id": image_id, "file_name": name, "width": SIZE, "height": SIZE})
            annotations += [{"id": 0, "image_id": image_id} | annotation for annotation in found]
        for number, annotation in enumerate(annotations, start=FIRST_ID[split]):
            annotation["id"] = number
        if split == "train":
            break_some(annotations)
        categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, start=1)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        partial = output / f".{split}.json.partial"
        partial.write_text(json.dumps(content) + "\n", encoding="utf-8")
        partial.replace(output / f"{split}.json")
    samples = output / "samples"
    samples.mkdir(exist_ok=True)
    for index in range(SAMPLES):
        rng = np.random.default_rng([seed, len(counts), index])
        write_jpeg(samples / f"sample-{index + 1:02d}.jpg", draw_image(rng, crowd=False)[0])


def write_jpeg(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write an image, uint8 RGB [H, W, 3], as JPEG."""
    encoded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    path.write_bytes(encoded.tobytes())


def draw_image(rng: np.random.Generator, *, crowd: bool) -> tuple[NDArray[np.uint8], list[dict[str, Any]]]:
    """Draw an image, uint8 RGB [SIZE, SIZE, 3]; return it and its annotations without ids."""
    picture = draw_background(rng)
    taken = np.zeros((CANVAS, CANVAS), bool)
    annotations = []
    if crowd:
        taken, annotation = draw_crowd(rng, picture)
        annotations.append(annotation)
    shapes: list[Shape] = []
    count = int(rng.integers(OBJECTS[0], OBJECTS[1] + 1))
    for _ in range(300):
        if len(shapes) == count:
            break
        shape = place_shape(rng, shapes, taken)
        if shape is not None:
            for other in shapes:
                other.visible &= ~shape.visible
            shapes.append(shape)
            paint(rng, picture, shape)
    annotations += [annotation_of(shape) for shape in shapes]
    soft = cv2.GaussianBlur(picture, (0, 0), 0.6)[MARGIN:-MARGIN, MARGIN:-MARGIN]
    noisy = soft + rng.normal(0, 5, soft.shape).astype(np.float32)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8), annotations


def draw_background(rng: np.random.Generator) -> Picture:
    """Draw a cloudy background in two colors, with faint patches and streaks that aren't objects."""
    clouds = np.zeros((CANVAS, CANVAS), np.float32)
    for cells, weight in ((5, 1.0), (14, 0.5), (48, 0.3)):
        noise = rng.normal(0, weight, (cells, cells)).astype(np.float32)
        clouds += cv2.resize(noise, (CANVAS, CANVAS), interpolation=cv2.INTER_CUBIC)
    share = (1 / (1 + np.exp(-1.5 * clouds)))[..., None]
    colors = rng.uniform(40, 215, (2, 3)).astype(np.float32)
    background = colors[0] * share + colors[1] * (1 - share)
    for _ in range(int(rng.integers(3, 7))):
        center = tuple(int(value) for value in rng.integers(0, CANVAS, 2))
        axes = tuple(int(value) for value in rng.integers(6, 26, 2))
        patch = np.zeros((CANVAS, CANVAS), np.float32)
        cv2.ellipse(patch, center, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, cv2.FILLED)
        soft = cv2.GaussianBlur(patch, (0, 0), float(rng.uniform(0.6, 3)))[..., None]
        background += soft * rng.uniform(-45, 45, 3).astype(np.float32)
    streaks = np.zeros((CANVAS, CANVAS), np.float32)
    for _ in range(int(rng.integers(4, 10))):
        start, end = (tuple(int(value) for value in rng.integers(0, CANVAS, 2)) for _ in range(2))
        cv2.line(streaks, start, end, float(rng.uniform(-40, 40)), int(rng.integers(1, 4)), cv2.LINE_AA)
    return np.ascontiguousarray(background + streaks[..., None], dtype=np.float32)


def place_shape(rng: np.random.Generator, shapes: list[Shape], taken: Mask) -> Shape | None:
    """Return a shape at a random position, or None if too little of it or of another shape would remain visible."""
    category = int(rng.integers(1, len(CLASSES) + 1))
    side = float(np.exp(rng.uniform(*np.log(SIDES))))
    center = MARGIN + rng.uniform(side / 2 - side / 6, SIZE - side / 2 + side / 6, 2)
    turned = outline(category, side, float(rng.uniform(0, 2 * math.pi)))
    polygon = np.asarray(np.round(turned + center, 2), np.float64)
    mask = rasterize(polygon)
    inside = np.zeros_like(mask)
    inside[MARGIN:-MARGIN, MARGIN:-MARGIN] = mask[MARGIN:-MARGIN, MARGIN:-MARGIN]
    full = int(mask.sum())
    if inside.sum() < LEAST_VISIBLE * full or (inside & taken).any():
        return None
    for other in shapes:
        left = other.visible & ~inside
        if left.sum() < LEAST_VISIBLE * other.full_area or min(sides_of(left)) < LEAST_SIDE:
            return None
    return Shape(category, polygon, full, inside)


def outline(category: int, side: float, angle: float) -> NDArray[np.float64]:
    """Return the corners [n, 2] (x, y) of a class's form, centered at the origin and about ``side`` wide."""
    corners, radius = {1: (40, 0.5), 2: (4, 0.6), 3: (3, 0.62)}[category]
    angles = angle + np.arange(corners) * 2 * math.pi / corners
    return np.asarray(side * radius * np.stack([np.cos(angles), np.sin(angles)], axis=1))


def rasterize(polygon: NDArray[np.float64]) -> Mask:
    """Return the pixels of a polygon by COCO's rule."""
    rle = coco_mask.frPyObjects([polygon.ravel().tolist()], CANVAS, CANVAS)
    return np.asarray(coco_mask.decode(rle)[..., 0], dtype=bool)


def sides_of(mask: Mask) -> tuple[int, int]:
    """Return the height and width of the box around a mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)) if len(rows) else (0, 0)


def paint(rng: np.random.Generator, picture: Picture, shape: Shape) -> None:
    """Fill a shape with its class's texture in two contrasting colors, lit from one side."""
    top, left = (int(values.min()) for values in np.nonzero(shape.visible))
    height, width = sides_of(shape.visible)
    part = (slice(top, top + height), slice(left, left + width))
    inside = shape.visible[part]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    angle = rng.uniform(0, math.pi)
    period = float(rng.uniform(6, 9))
    u = (x * math.cos(angle) + y * math.sin(angle)) / period + rng.uniform()
    v = (y * math.cos(angle) - x * math.sin(angle)) / period + rng.uniform()
    wave_u, wave_v = np.sin(2 * math.pi * u), np.sin(2 * math.pi * v)
    value = {1: wave_u, 2: np.sin(math.pi * u) * np.sin(math.pi * v), 3: (wave_u + wave_v) / 2 - 0.35}[shape.category]
    share = (1 / (1 + np.exp(-8 * value)))[..., None]
    first = rng.uniform(30, 225, 3)
    shift = rng.uniform(70, 130, 3) * np.where(first > 127, -1, 1)
    light = (1 + 0.25 * (x / width - 0.5) * rng.uniform(-1, 1) + 0.25 * (y / height - 0.5) * rng.uniform(-1, 1))[
        ..., None
    ]
    color = (first * share + (first + shift) * (1 - share)) * light
    picture[part][inside] = color[inside]


def draw_crowd(rng: np.random.Generator, picture: Picture) -> tuple[Mask, dict[str, Any]]:
    """Draw many small objects of one class in a corner; return their region and its crowd annotation."""
    category = int(rng.integers(1, len(CLASSES) + 1))
    corner = MARGIN + rng.uniform(2, SIZE - 46, 2)
    region = np.zeros((CANVAS, CANVAS), bool)
    for _ in range(14):
        side = float(rng.uniform(9, 14))
        polygon = outline(category, side, float(rng.uniform(0, 2 * math.pi))) + corner + rng.uniform(8, 36, 2)
        mask = rasterize(polygon)
        region |= mask
        paint(rng, picture, Shape(category, polygon, int(mask.sum()), mask))
    rle = encode(region)
    counts = run_lengths(region[MARGIN:-MARGIN, MARGIN:-MARGIN])
    annotation = {
        "category_id": category,
        "bbox": coco_mask.toBbox(rle).tolist(),
        "area": float(coco_mask.area(rle)),
        "iscrowd": 1,
        "segmentation": {"size": [SIZE, SIZE], "counts": counts},
    }
    return region, annotation


def encode(mask: Mask) -> dict[str, Any]:
    """Return the image's part of a canvas mask as compressed run lengths."""
    part = np.asfortranarray(mask[MARGIN:-MARGIN, MARGIN:-MARGIN], dtype=np.uint8)
    return dict(coco_mask.encode(part))


def run_lengths(mask: Mask) -> list[int]:
    """Return uncompressed run lengths, column by column, starting with zeros."""
    flat = np.concatenate([[False], mask.ravel(order="F"), [False]])
    places = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate([[0], places, [mask.size]]))
    return [int(count) for count in counts[: len(counts) - (counts[-1] == 0)]]


def annotation_of(shape: Shape) -> dict[str, Any]:
    """Return the annotation of a shape: a polygon if it is whole, else the run lengths of its visible part."""
    rle = encode(shape.visible)
    polygon = (shape.polygon - MARGIN).ravel().round(2).tolist()
    whole = coco_mask.frPyObjects([polygon], SIZE, SIZE)[0] == rle
    return {
        "category_id": shape.category,
        "bbox": coco_mask.toBbox(rle).tolist(),
        "area": float(coco_mask.area(rle)),
        "iscrowd": 0,
        "segmentation": [polygon] if whole else rle | {"counts": rle["counts"].decode("ascii")},
    }


def break_some(annotations: list[dict[str, Any]]) -> None:
    """Break some annotations in typical ways: boxes beyond the border or without extent, masks outside their box."""
    ordinary = [annotation for annotation in annotations if not annotation["iscrowd"]]
    for number, annotation in enumerate(ordinary[10 :: max(1, len(ordinary) // 6)]):
        x, y, width, height = annotation["bbox"]
        match number % 3:
            case 0:
                annotation["bbox"] = [x, y, SIZE - x + 7.0, height]
            case 1:
                annotation["bbox"] = [x + width * 0.3, y, width * 0.7, height]
            case _:
                annotation["bbox"] = [x, y, width, 0.0]


def main(arguments: list[str] | None = None) -> int:
    """Generate the data set; return the exit code."""
    parser = argparse.ArgumentParser(description="Draw a small instance-segmentation data set of textured shapes.")
    parser.add_argument("--output", type=Path, required=True, help="directory to write to")
    parser.add_argument("--train", type=int, default=400, help="training images (default 400)")
    parser.add_argument("--val", type=int, default=60, help="validation images (default 60)")
    parser.add_argument("--seed", type=int, default=7, help="seed of the random numbers (default 7)")
    chosen = parser.parse_args(arguments)
    if min(chosen.train, chosen.val) < 1 or chosen.seed < 0:
        parser.error("--train and --val must be at least 1, --seed at least 0")
    generate(chosen.output, {"train": chosen.train, "val": chosen.val}, chosen.seed)
    print(f"{chosen.train} training and {chosen.val} validation images in {chosen.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
