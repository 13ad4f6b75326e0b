"""What may change between the run that wrote a checkpoint and the one that goes on from it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic.alias_generators import to_camel

from maskrcnn_operator.core.fields_read import TRAINING
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.training.resume import HARMLESS_FIELDS, check_resumable

SAVED: dict[str, Any] = {
    "seed": 1,
    "totalSteps": 40,
    "keepCheckpoints": 5,
    "learningRateSteps": [20],
    "dataConfig": {"imageSize": [128, 128], "nWorkers": 16, "shuffleBufferSize": 4096},
    "maskrcnnConfig": {"nlayers": 10, "testNms": 0.5},
}
FINGERPRINT = "a8c47326caeee986b816f946d049d9ad-v1"
OTHER_FINGERPRINT = "8e82fefe6940863cfc4fd2a809a1ff4b-v1"


def changed(**fields: Any) -> dict[str, Any]:
    return {
        key: {**value, **fields.get(key, {})} if isinstance(value, dict) else fields.get(key, value)
        for key, value in SAVED.items()
    }


def check(wanted: dict[str, Any]) -> list[str]:
    return check_resumable(SAVED, wanted, saved_fingerprint=None, fingerprint=None)


def test_the_same_spec_and_tuples_for_lists_go_on() -> None:
    assert check(changed(learningRateSteps=(20,), dataConfig={"imageSize": (128, 128)})) == []


def test_a_longer_schedule_goes_on_with_a_note() -> None:
    notes = check(changed(totalSteps=80, learningRateSteps=[20, 60]))
    assert notes == [
        "learningRateSteps was [20] and is [20, 60] from here on",
        "totalSteps was 40 and is 80 from here on",
    ]


def test_what_changes_no_weight_goes_on_silently() -> None:
    assert check(changed(keepCheckpoints=1, dataConfig={"nWorkers": 2}, maskrcnnConfig={"testNms": 0.7})) == []


def test_everything_else_is_refused_all_at_once_by_name() -> None:
    with pytest.raises(InvalidInput) as caught:
        check(changed(seed=2, dataConfig={"imageSize": [256, 256]}, maskrcnnConfig={"nlayers": 18}, totalSteps=80))
    message = str(caught.value)
    assert "seed was 1, now 2" in message
    assert "dataConfig.imageSize was [128, 128], now [256, 256]" in message
    assert "maskrcnnConfig.nlayers was 10, now 18" in message
    assert "totalSteps" not in message


def test_shuffle_buffer_size_is_left_to_the_position_in_the_data() -> None:
    assert check(changed(dataConfig={"shuffleBufferSize": 10})) == []


def test_no_field_that_the_operator_trains_anew_for_is_harmless() -> None:
    read = {".".join(to_camel(part) for part in field.split(".")) for field in TRAINING}
    assert "dataConfig.shuffleBufferSize" in read
    assert read & HARMLESS_FIELDS == set()


def test_under_a_fingerprint_only_the_fingerprint_counts() -> None:
    assert check_resumable(SAVED, changed(seed=2), saved_fingerprint=FINGERPRINT, fingerprint=FINGERPRINT) == []
    with pytest.raises(InvalidInput, match="another fingerprint"):
        check_resumable(SAVED, SAVED, saved_fingerprint=FINGERPRINT, fingerprint=OTHER_FINGERPRINT)
    with pytest.raises(InvalidInput, match="another fingerprint"):
        check_resumable(SAVED, SAVED, saved_fingerprint=None, fingerprint=OTHER_FINGERPRINT)
