"""Position and order in which a resumed training continues to read its records."""

from __future__ import annotations

from typing import Any

import pytest

from maskrcnn_trainer.data.order import permutation, window_shuffle
from maskrcnn_trainer.errors import EXIT_INVALID, InvalidInput
from maskrcnn_trainer.model_files.model_file import ModelFile
from maskrcnn_trainer.spec import ExperimentSpec
from maskrcnn_trainer.training.position import DataPosition, resumed_position

RECORDS = 10_000


def spec(window: int = 4096) -> ExperimentSpec:
    return ExperimentSpec.model_validate(
        {
            "seed": 3,
            "init_learning_rate": 0.1,
            "total_steps": 9,
            "train_batch_size": 3,
            "data_config": {"image_size": [128, 128], "num_classes": 2, "shuffle_buffer_size": window},
        }
    )


def checkpoint(state: dict[str, Any], window: int = 4096) -> ModelFile:
    experiment = spec(window).model_dump(mode="json", by_alias=True, exclude_none=True)
    return ModelFile({}, experiment, {}, step=7, variables={}, state=state)


def resumed(state: dict[str, Any], *, window: int = 4096, records: int = RECORDS) -> DataPosition:
    return resumed_position(checkpoint(state), spec(window), num_records=records)


def test_position_counts_images_across_changes_of_ranks() -> None:
    # 100 steps of 8 ranks with 2 images, then 30 steps of 4, then one of 16
    eight = DataPosition().after(100, 16)
    four = resumed({"ranks": 8, **eight.state()})
    assert four.images == 1600
    assert DataPosition(100, four.images).after(130, 8).after(131, 32).images == 1600 + 240 + 32


def test_checkpoint_names_version_2_of_a_new_training() -> None:
    state = DataPosition().after(7, 6).state()
    assert state == {"order": 2, "position": 42}
    order = resumed(state, window=10).order(RECORDS, seed=3)
    assert order.epoch(1).tolist() == permutation(RECORDS, 3, 1).tolist()


def test_older_checkpoint_continues_in_its_order_at_its_image() -> None:
    position = resumed({"ranks": 2})
    assert position.images == 7 * 2 * 3
    assert position.order(RECORDS, seed=3).epoch(1).tolist() == window_shuffle(RECORDS, 4096, 3, 1).tolist()


def test_next_checkpoint_of_an_older_training_keeps_its_order() -> None:
    state = resumed({"ranks": 2}).after(9, 6).state()
    assert state == {"order": 1, "position": 54}
    assert resumed(state).window == 4096
    with pytest.raises(InvalidInput):
        resumed(state, window=10)


def test_older_training_refuses_another_shuffle_buffer_size() -> None:
    with pytest.raises(
        InvalidInput, match=r"dataConfig\.shuffleBufferSize was 4096, now 10: .*Set it to 4096"
    ) as caught:
        resumed({"ranks": 2}, window=10)
    assert caught.value.exit_code == EXIT_INVALID


def test_older_training_takes_any_window_that_holds_all_records() -> None:
    assert resumed({"ranks": 2}, window=500, records=400).window == 4096


def test_order_of_a_newer_release_is_refused() -> None:
    with pytest.raises(InvalidInput, match="uses version 3 of the order of records; this release supports 1 and 2"):
        resumed({"ranks": 2, "order": 3, "position": 4})
