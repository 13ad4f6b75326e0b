"""Errors of file access in every task, before TensorFlow is loaded: one sentence, exit code 64."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml
from tests.unit.detector.constant_model import metadata, model_bytes, spec_fields
from tests.unprivileged import Ended, open_directory, run_as_nobody

from maskrcnn_trainer.model_files.model_file import ModelFile, write_model_file

MODULES = (
    "maskrcnn_trainer.inference.task", "maskrcnn_trainer.conversion.dataset", "maskrcnn_trainer.spec.importing",
    "maskrcnn_trainer.export.outputs", "maskrcnn_trainer.export.engine", "maskrcnn_trainer.launch", "onnx",
    "maskrcnn_trainer.detector.onnx_runtime", "cryptography.hazmat.primitives.ciphers.aead",
    "cryptography.hazmat.primitives.kdf.scrypt", "safetensors.numpy", "PIL.PngImagePlugin", "PIL.JpegImagePlugin",
    "maskrcnn_trainer.model_files.model_file", "encodings.utf_8_sig", "multiprocessing.spawn",
    "multiprocessing.synchronize", "concurrent.futures.process",
)  # fmt: skip


@pytest.fixture(name="ended", scope="module")
def _ended() -> Iterator[dict[str, Ended]]:
    """Yield the end of each of the commands below, and the files that it left, by name."""
    with open_directory() as work:
        locked, closed = work / "locked", work / "closed"
        locked.mkdir()
        (locked / "in").mkdir()
        closed.mkdir()
        (work / "images").mkdir()
        (work / "images" / "1.jpg").touch()
        (work / "spec.yaml").write_text(yaml.safe_dump(spec_fields()))
        (work / "model.onnx").write_bytes(model_bytes(metadata()))
        (work / "a.json").write_text(
            '{"images": [{"id": 1, "file_name": "1.jpg", "height": 8, "width": 8}], '
            '"annotations": [], "categories": [{"id": 1, "name": "a"}]}'
        )
        model = ModelFile(architecture={}, experiment={}, class_map={}, step=1, variables={})
        write_model_file(work / "locked.tlt", model, "secret")
        for directory in (locked, closed):
            directory.chmod(0)
        spec, onnx, out = str(work / "spec.yaml"), str(work / "model.onnx"), str(work / "out")
        convert = ["dataset_convert", "-a", str(work / "a.json"), "-o", out]
        commands = {
            "convert -i": [*convert, "-i", str(closed)],
            "convert -i below": [*convert, "-i", f"{locked}/in"],
            "convert -a": ["dataset_convert", "-i", str(work / "images"), "-o", out, "-a", f"{locked}/in/a.json"],
            "convert -o": [*convert[:-2], "-i", str(work / "images"), "-o", f"{locked}/in/out"],
            "convert --tag": [*convert, "-i", str(work / "images"), "--tag", "x" * 300],
            "train -e": ["train", "-e", f"{locked}/in/spec.yaml", "-d", out],
            "train -d": ["train", "-e", spec, "-d", f"{locked}/in/out"],
            "evaluate -m": ["evaluate", "-e", spec, "-m", f"{locked}/in/m.tlt"],
            "evaluate -r": ["evaluate", "-e", spec, "-m", onnx, "-r", f"{locked}/in/out"],
            "inference -i": ["inference", "-e", spec, "-m", onnx, "-i", f"{locked}/in", "-r", out],
            "inference -i closed": ["inference", "-e", spec, "-m", onnx, "-i", str(closed), "-r", out],
            "inference -m": ["inference", "-e", spec, "-m", f"{locked}/in/m", "-i", str(work / "images"), "-r", out],
            "inference -r": ["inference", "-e", spec, "-m", onnx, "-i", str(work / "images"), "-r", f"{locked}/in/r"],
            "prune -m": ["prune", "-m", f"{locked}/in/m.tlt", "-o", out],
            "prune -o": ["prune", "-m", onnx, "-o", f"{locked}/in/out"],
            "export -m": ["export", "-e", spec, "-m", f"{locked}/in/m.tlt", "-o", f"{out}.onnx"],
            "export -o": ["export", "-e", spec, "-m", onnx, "-o", f"{locked}/in/m.onnx"],
            "export --cal_cache_file": ["export", "-e", spec, "-m", onnx, "-o", f"{out}.onnx", "--data_type", "int8",
                                        "--cal_cache_file", f"{locked}/in/cal.bin"],
            "decrypt -m": ["decrypt", "-m", f"{locked}/in/m.tlt", "-o", f"{out}.tlt", "-k", "secret"],
            "decrypt -o": ["decrypt", "-m", str(work / "locked.tlt"), "-o", f"{locked}/in/m.tlt", "-k", "secret"],
            "spec import": ["spec", "import", f"{locked}/in/spec.txt"],
        }  # fmt: skip
        results = dict(zip(commands, run_as_nobody(list(commands.values()), MODULES), strict=True))
        left = {path.name for path in (*work.glob("out*/*"), *work.glob("out.*"))}
        assert left <= {"status.json"}
        yield results


@pytest.mark.parametrize(
    "command",
    [
        "convert -i", "convert -i below", "convert -a", "convert -o", "train -e", "train -d", "evaluate -m",
        "evaluate -r", "inference -i", "inference -i closed", "inference -m", "inference -r", "prune -m", "prune -o",
        "export -m", "export -o", "export --cal_cache_file", "decrypt -m", "decrypt -o", "spec import",
    ],
)  # fmt: skip
def test_permission_error_is_one_sentence(ended: dict[str, Ended], command: str) -> None:
    assert ended[command].code == 64
    assert "Permission denied" in ended[command].log
    assert "Traceback" not in ended[command].log


def test_a_name_too_long_for_the_file_system_is_one_sentence(ended: dict[str, Ended]) -> None:
    assert ended["convert --tag"].code == 64
    assert "Traceback" not in ended["convert --tag"].log
    assert f"--tag {'x' * 300}: 300 bytes, and the names of the files would be too long" in ended["convert --tag"].log
