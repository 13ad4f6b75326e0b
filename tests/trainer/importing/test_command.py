"""An imported detector detects, and its export needs a limit of candidates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.unit.weights import stand_ins

from maskrcnn_trainer.cli import main
from maskrcnn_trainer.data.class_map import class_map_of
from maskrcnn_trainer.detector import open_detector
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.export.graph import check_graph, export_graph
from maskrcnn_trainer.model.restore import network_of
from maskrcnn_trainer.model_files.model_file import ModelFile, read_model_file
from maskrcnn_trainer.pruning.retain import PruneSettings
from maskrcnn_trainer.pruning.task import prune_model
from maskrcnn_trainer.spec import ExperimentSpec

pytestmark = pytest.mark.trainer

CLASSES = ["a", "b", "c", "d", "e"]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imported")
    source = stand_ins.write(folder / "m.npz", stand_ins.detector("torchvision", classes=len(CLASSES)))
    flags = ["--style", "torchvision", "--class-names", *CLASSES, "-o", str(folder / "model.tlt")]
    assert main(["import", "-c", str(source), *flags]) == 0
    return folder / "model.tlt"


@pytest.fixture(scope="module")
def model(path: Path) -> ModelFile:
    return read_model_file(path)


@pytest.fixture
def spec() -> ExperimentSpec:
    """Return a spec whose only field of the structure is the number of classes, which is required."""
    return ExperimentSpec.model_validate(
        {
            "init_learning_rate": 0.01,
            "total_steps": 1,
            "eval_batch_size": 1,
            "data_config": {"image_size": [128, 128], "num_classes": len(CLASSES) + 1},
            "maskrcnn_config": {"test_rpn_post_nms_topn": 800, "test_detections_per_image": 10},
        }
    )


def with_limit(spec: ExperimentSpec, limit: int) -> ExperimentSpec:
    config = spec.maskrcnn_config.model_copy(update={"test_candidate_limit": limit})
    return spec.model_copy(update={"maskrcnn_config": config})


def test_imported_model_detects(path: Path, spec: ExperimentSpec) -> None:
    detector = open_detector(path, spec, threads=1)
    (found,) = detector.detect(np.random.default_rng(0).standard_normal((1, 128, 128, 3)).astype(np.float32))
    assert len(found.scores) > 0
    assert found.scores.min() > 0.05
    assert set(found.classes) <= {1, 2, 3, 4, 5}
    assert [detector.class_map.name_of(number) for number in (1, 5)] == ["a", "e"]


def test_export_without_a_limit_names_the_field(model: ModelFile, spec: ExperimentSpec) -> None:
    network = network_of(model)
    message = (
        r"^maskrcnnConfig\.testCandidateLimit is absent, so all 4000 pairs .* at most 3839: set it to at most that$"
    )
    with pytest.raises(InvalidInput, match=message):
        export_graph(network, spec, class_map_of(model))
    graph = check_graph(export_graph(network, with_limit(spec, 1000), class_map_of(model)))
    assert [output.name for output in graph.graph.output] == ["generate_detections", "mask_fcn_logits/BiasAdd"]


def test_imported_model_can_be_pruned(model: ModelFile) -> None:
    settings = PruneSettings(threshold=0.9, granularity=8, min_num_filters=16)
    assert 0 < prune_model(model, settings).ratio < 1
