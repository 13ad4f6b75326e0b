"""Identity of validation data."""

from __future__ import annotations

from pathlib import Path

from maskrcnn_trainer.data.identity import validation_identity
from maskrcnn_trainer.data.records import frame, index_records
from maskrcnn_trainer.spec import ExperimentSpec


def test_all_that_metrics_depend_on_is_part_of_the_identity(tmp_path: Path) -> None:
    for folder in ("val", "moved", "other"):
        (tmp_path / folder).mkdir()
        payload = b"other" if folder == "other" else b"record"
        (tmp_path / folder / "val-00000-of-00001.tfrecord").write_bytes(frame(payload))
    annotations = tmp_path / "val.json"
    annotations.write_text("{}")

    def identity(folder: str = "val", samples: int = 0, nms: float = 0.5) -> str:
        spec = ExperimentSpec.model_validate(
            {
                "totalSteps": 1,
                "initLearningRate": 0.01,
                "dataConfig": {
                    "imageSize": [128, 128],
                    "numClasses": 2,
                    "valJsonFile": str(annotations),
                    "evalSamples": samples,
                },
                "maskrcnnConfig": {"testNms": nms},
            }
        )
        return validation_identity(spec, index_records(str(tmp_path / folder / "val-*.tfrecord")))

    first = identity()
    assert identity("moved") == first
    annotations.touch()
    assert identity() == first
    assert len({first, identity("other"), identity(samples=3), identity(nms=0.6)}) == 4
    annotations.write_text('{"images": []}')
    assert identity() != first
