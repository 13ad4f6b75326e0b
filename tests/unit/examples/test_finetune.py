"""Manifest that starts from torchvision's detector: it fits a file with the names and shapes of the original."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.unit.weights import files, key_lists

from maskrcnn_operator.api.manifest import read_manifest
from maskrcnn_operator.core.desired import resolve
from maskrcnn_trainer.model.architecture import LARGEST_TOPK
from maskrcnn_trainer.spec import ExperimentSpec
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.weights.class_rows import rows_for
from maskrcnn_trainer.weights.file import read_weight_file
from maskrcnn_trainer.weights.opening import DetectorOptions, OpenedDetector, open_detector
from maskrcnn_trainer.weights.project import Project, project_of
from maskrcnn_trainer.weights.style import STYLES, StyleName

ROOT = Path(__file__).resolve().parents[3]
MANIFEST = ROOT / "examples" / "finetune" / "experiment.yaml"
CATEGORIES = ("pedestrian", "car", "scooter")
"""Of the data, as the manifest's first lines name them."""


def experiment() -> ExperimentSpec:
    return read_manifest(MANIFEST.read_text(encoding="utf-8")).spec.experiment


def write_stand_in(path: Path) -> Path:
    """Write a file with the names and shapes of torchvision's weights, in float16, as PyTorch does.

    All values are equal, of a size that the first convolution may have.
    """
    tensors = {name: np.full(shape, 0.02, np.float16) for name, shape in key_lists.torchvision(50).items()}
    for name in ("weight", "running_var"):
        tensors[f"backbone.body.bn1.{name}"][:] = 1
    return files.write_torch_zip(path, files.state_dict({name: files.tensor(value) for name, value in tensors.items()}))


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> OpenedDetector:
    """Return the stand-in, opened as the training opens the manifest's file."""
    spec = experiment()
    file = read_weight_file(write_stand_in(tmp_path_factory.mktemp("pretrained") / Path(spec.checkpoint or "").name))
    return open_detector(file, project_of(file), DetectorOptions.from_spec(spec))


def test_manifest_is_valid_and_goes_from_conversion_to_export() -> None:
    manifest = read_manifest(MANIFEST.read_text(encoding="utf-8"))
    assert resolve(manifest).problems == ()
    assert [step.task_name for step in manifest.spec.steps] == [
        TaskName.DATASET_CONVERT,
        TaskName.DATASET_CONVERT,
        TaskName.TRAIN,
        TaskName.EVALUATE,
        TaskName.EXPORT,
    ]


def test_file_is_read_with_the_style_of_the_manifest(opened: OpenedDetector) -> None:
    assert (opened.style.project, opened.style.name) == (Project.TORCHVISION, experiment().checkpoint_style)
    assert opened.has_masks
    assert opened.notes == ()
    assert opened.architecture.num_classes == 91


def test_manifest_contradicts_no_field_of_the_file_but_the_number_of_classes(opened: OpenedDetector) -> None:
    [contradiction] = opened.architecture.contradictions(experiment())
    assert contradiction.startswith("dataConfig.numClasses")


def test_class_of_the_same_name_and_the_mapped_one_are_kept(opened: OpenedDetector) -> None:
    spec = experiment()
    assert spec.data_config.num_classes == 1 + len(CATEGORIES)
    assert all(name in MANIFEST.read_text(encoding="utf-8").partition("apiVersion")[0] for name in CATEGORIES)
    assert rows_for(opened.class_names, CATEGORIES, spec.class_mapping) == (0, 1, 3, None)


def test_settings_are_those_of_the_style_and_those_that_an_export_takes() -> None:
    config = experiment().maskrcnn_config
    style = STYLES[StyleName(experiment().checkpoint_style or "")]
    assert config.freeze_bn
    assert config.freeze_bn_affine is not style.bn_affine_trained
    assert tuple(config.freeze_blocks) == style.frozen_blocks
    assert config.test_candidate_limit is not None
    assert config.test_candidate_limit <= LARGEST_TOPK
