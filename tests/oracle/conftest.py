"""Detectors of six styles, made and run by their original code, and the table of what was compared."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.oracle.comparison import Agreement, Found, relative_difference
from tests.oracle.ours import Stages, network_with, opened

from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.weights.opening import OpenedDetector
from maskrcnn_trainer.weights.style import STYLES

ROOT = Path(__file__).resolve().parents[2]
SIZE = (448, 640)
"""Height and width of the canvas, multiples of 64, which every image fills."""
IMAGES = 10
LEVELS = range(2, 7)

Array = NDArray[Any]


@dataclass
class Numbers:
    """Numbers for the table at the end of a run: lines by style."""

    lines: dict[str, list[str]] = field(default_factory=dict)

    def add(self, style: str, what: str, *values: str) -> None:
        """Add a line."""
        self.lines.setdefault(style, []).append(f"{what:<34} {' '.join(values)}")


NUMBERS = pytest.StashKey[Numbers]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--keep", metavar="DIR", help="copy the weight files of the original code to this folder")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[NUMBERS] = Numbers()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print what was compared."""
    for style, lines in config.stash[NUMBERS].lines.items():
        terminalreporter.section(style)
        for line in lines:
            terminalreporter.write_line(line)


@dataclass
class Original:
    """Detector of a style that its original code has made and run.

    Attributes:
        style: value of ``checkpointStyle``.
        folder: with the files of ``originals/run.py``.
        pixels: uint8 [N, H, W, 3], RGB.
        detector: opened by this project.
        numbers: for the table at the end.
    """

    style: str
    folder: Path
    pixels: Array
    detector: OpenedDetector
    numbers: Numbers
    _values: dict[str, Array] = field(default_factory=dict)

    @property
    def weights(self) -> Path:
        """File of the weights."""
        return weights_in(self.folder, self.style)

    @property
    def values(self) -> dict[str, Array]:
        """Values of all stages, with class rows, anchors, and coordinates of boxes as in `ours`."""
        if not self._values:
            with np.load(self.folder / "stages.npz") as stored:
                self._values.update(stored)
            _into_our_order(self._values, background_last=self.style != "torchvision")
        return self._values

    @property
    def boxes(self) -> list[Array]:
        """Boxes whose features are pooled, as many of each image."""
        each = [self.values[f"boxes{image}"] for image in range(2)]
        assert len(each[0]) == len(each[1])
        return each

    def found(self) -> list[Found]:
        """Return the detections of each image."""
        return [_found(self.folder / f"detections-{image}.npz") for image in range(len(self.pixels))]

    def compare(self, name: str, ours: Array, theirs: Array | None = None, *, most: float = 1e-4) -> None:
        """Compare a tensor, that of the same name unless given, and note its difference."""
        difference = relative_difference(ours, self.values[name] if theirs is None else theirs)
        self.numbers.add(self.style, name, f"{difference:.1e}")
        assert difference <= most, name

    def agree(self, what: str, agreement: Agreement) -> None:
        """Check and note an agreement of detections."""
        self.numbers.add(
            self.style,
            what,
            f"{agreement.theirs} ({agreement.fewest} to {agreement.most} an image), {agreement.ours} of ours,",
            f"{agreement.share:.2%} matched; of {agreement.matched} with the same class, box, and score",
            f"{agreement.similar_masks} have a mask IoU of 0.95, all of at least {agreement.least_mask_iou:.3f}",
        )
        assert agreement.fewest >= 20
        assert agreement.share >= 0.99


def weights_in(folder: Path, style: str) -> Path:
    """Return the file of the weights that ``originals/run.py`` has written."""
    return folder / f"{style}{'.pkl' if style.startswith('detectron2') else '.pth'}"


def _into_our_order(values: dict[str, Array], *, background_last: bool) -> None:
    for name, width in (("rpn_logits", 1), ("rpn_deltas", 4)):
        values[name] = np.concatenate([_in_anchor_order(values.pop(f"{name}{level}"), width) for level in LEVELS], 1)
    values["rpn_logits"] = values["rpn_logits"][..., 0]
    classes = values["class_logits"]
    values["class_logits"] = np.roll(classes, 1, axis=1) if background_last else classes
    values["box_deltas"] = values["box_deltas"].reshape(len(classes), -1, 4)
    if not background_last:  # there are rows of the background, which have no meaning
        values["box_deltas"], values["mask_logits"] = values["box_deltas"][:, 1:], values["mask_logits"][:, 1:]


def _in_anchor_order(values: Array, width: int) -> Array:
    """Return values [N, A * width, h, w] as [N, h * w * A, width]."""
    number, _, height, columns = values.shape
    return values.reshape(number, -1, width, height, columns).transpose(0, 3, 4, 1, 2).reshape(number, -1, width)


def _found(path: Path) -> Found:
    with np.load(path) as stored:
        masks = np.unpackbits(stored["masks"], axis=-1, count=SIZE[1]).astype(bool)
        return Found(stored["boxes"], stored["classes"], stored["scores"], masks)


@pytest.fixture(scope="session")
def oracle() -> str:
    """Return the Python of the environment with the original code; skip the test without one."""
    python = os.environ.get("ORACLE_PYTHON")
    if not python:
        pytest.skip("ORACLE_PYTHON isn't set: run make test-oracle")
    return python


@pytest.fixture(scope="session")
def pixels(test_data: Path) -> Array:
    """Return real images that fill the canvas: wide ones, resized and cut at two sides."""
    height, width = SIZE
    images: list[Array] = []
    for path in sorted((test_data / "coco" / "images").iterdir()):
        image = cv2.imread(str(path))
        if image is None or image.shape[1] < 600 or image.shape[1] < 1.2 * image.shape[0]:
            continue
        scale = max(height / image.shape[0], width / image.shape[1])
        sides = (max(width, round(scale * image.shape[1])), max(height, round(scale * image.shape[0])))
        resized = cv2.resize(image, sides)
        top, left = (resized.shape[0] - height) // 2, (resized.shape[1] - width) // 2
        images.append(resized[top : top + height, left : left + width, ::-1])
        if len(images) == IMAGES:
            break
    return np.stack(images)


@pytest.fixture(scope="session", params=list(STYLES))
def original(
    request: pytest.FixtureRequest, oracle: str, pixels: Array, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Original]:
    """Return the detector of each style, of which one at a time is on the disk."""
    style = str(request.param)
    folder = tmp_path_factory.mktemp(style)
    np.save(folder / "pixels.npy", pixels)
    command = [oracle, "-m", "tests.oracle.originals.run", style, str(folder / "pixels.npy"), str(folder)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-4000:]
    weights = weights_in(folder, style)
    if keep := request.config.getoption("--keep"):
        Path(keep).mkdir(parents=True, exist_ok=True)
        shutil.copy(weights, keep)
    yield Original(style, folder, pixels, opened(weights, style), request.config.stash[NUMBERS])
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def network(original: Original) -> MaskRCNN:
    """Return this project's network with the weights of the original."""
    return network_with(original.detector)


@pytest.fixture(scope="session")
def stages(network: MaskRCNN) -> Stages:
    """Return its stages."""
    return Stages(network, SIZE)
