"""Images of a directory to calibrate on: the same files and the same error messages as in inference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.unit.small_records import write_records

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.export.calibration.images import CalibrationSet, directory_batches, record_batches
from maskrcnn_trainer.images.decode import decode_image

pytestmark = pytest.mark.trainer

PIXELS = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
BROKEN = {
    "empty.jpg": "the file is empty",
    "float.tif": "32-bit images aren't supported (unknown value range); convert it to 8 or 16 bits",
    "text.png": "not an image, or its format isn't supported",
    "truncated.jpg": "cannot be decoded: image file is truncated",
}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    Image.fromarray(PIXELS[..., 0].astype(np.float32)).save(tmp_path / "float.tif")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.png").write_text("text")
    Image.fromarray(PIXELS).save(tmp_path / "truncated.jpg")
    (tmp_path / "truncated.jpg").write_bytes((tmp_path / "truncated.jpg").read_bytes()[:-300])
    return tmp_path


def calibrate(folder: Path) -> list[np.ndarray]:
    _, batches = directory_batches(folder, CalibrationSet((128, 128), batches=5, batch_size=1, seed=1))
    return list(batches)


def test_unreadable_images_get_the_messages_of_inference(
    images: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(PIXELS).save(images / "good.png")
    assert len(calibrate(images)) == 1
    lines = sorted(record.getMessage() for record in caplog.records if record.getMessage().endswith(": skipped"))
    assert len(lines) == len(BROKEN)
    for line, (name, reason) in zip(lines, BROKEN.items(), strict=True):
        assert line.startswith(f"{images / name}: {reason}")
    assert "tensorflow" not in capfd.readouterr().err


def test_a_directory_without_a_usable_image_is_refused(images: Path) -> None:
    with pytest.raises(InvalidInput, match=r"--cal_image_dir .*: none of its images can be decoded"):
        calibrate(images)


def test_deep_and_gray_images_have_the_pixels_of_inference(tmp_path: Path) -> None:
    Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.tif")
    (batch,) = calibrate(tmp_path)
    seen = batch[0, 0, :96, :128] * 0.224 + 0.485
    np.testing.assert_allclose(seen, decode_image(tmp_path / "deep.tif")[..., 0] / 255, atol=1e-5)


def test_undecodable_training_record_is_named_by_position_and_feature(tmp_path: Path) -> None:
    file = write_records(tmp_path / "train.tfrecord", {7: []}, changes={"image/encoded": [b"\xff\xd8\xff cut"]})
    _, batches = record_batches(str(file), CalibrationSet((128, 128), batches=1, batch_size=1, seed=1))
    fault = "the JPEG in image/encoded is damaged or cut off; convert the data set again"
    with pytest.raises(InvalidInput, match=rf"^{file}: record 0 \(image 7\): {fault}$"):
        next(batches)
