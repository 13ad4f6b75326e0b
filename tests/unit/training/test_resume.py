"""Changes that are allowed between the run that wrote a checkpoint and the one that resumes from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.data.identity import records_digest
from maskrcnn_trainer.data.records import frame, index_records
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.spec import ExperimentSpec, parse_spec
from maskrcnn_trainer.training.continuation import saved_experiment
from maskrcnn_trainer.training.resume import (
    HARMLESS_FIELDS,
    absent_values,
    changed_ranks,
    check_resumable,
    check_same_classes,
    check_same_records,
)

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


def test_same_spec_with_tuples_for_lists_resumes() -> None:
    assert check(changed(learningRateSteps=(20,), dataConfig={"imageSize": (128, 128)})) == []


def test_longer_schedule_resumes_with_a_note() -> None:
    notes = check(changed(totalSteps=80, learningRateSteps=[20, 60]))
    assert notes == [
        "learningRateSteps was [20] and is [20, 60] from now on",
        "totalSteps was 40 and is 80 from now on",
    ]


def test_change_that_affects_no_weight_resumes_silently() -> None:
    assert check(changed(keepCheckpoints=1, dataConfig={"nWorkers": 2}, maskrcnnConfig={"testNms": 0.7})) == []


def test_corrected_annotations_of_validation_resume_silently() -> None:
    saved = changed(dataConfig={"valJsonFile": "/data/wrong.json"})
    wanted = changed(dataConfig={"valJsonFile": "/data/val.json"})
    assert check_resumable(saved, wanted, saved_fingerprint=None, fingerprint=None) == []


def test_same_classes_resume() -> None:
    check_same_classes(ClassMap((1, 7), ("cat", ""), 3), ClassMap((1, 7), ("cat", "cow"), 3))


@pytest.mark.parametrize(
    ("ids", "names", "message"),
    [
        ((1, 7), ("cat", "dog"), 'class 2 was category 7 "cow", now category 7 "dog"'),
        ((1, 8), ("cat", "cow"), 'class 2 was category 7 "cow", now category 8 "cow"'),
        ((1, 2, 7), ("cat", "dog", "cow"), 'class 2 was category 7 "cow", now category 2 "dog"'),
        ((1,), ("cat",), 'class 2 was category 7 "cow", now absent'),
    ],
)
def test_other_classes_are_refused_by_name(ids: tuple[int, ...], names: tuple[str, ...], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        check_same_classes(ClassMap((1, 7), ("cat", "cow"), 3), ClassMap(ids, names, len(ids) + 1))


def test_all_other_changes_are_refused_together_by_name() -> None:
    with pytest.raises(InvalidInput) as caught:
        check(changed(seed=2, dataConfig={"imageSize": [256, 256]}, maskrcnnConfig={"nlayers": 18}, totalSteps=80))
    message = str(caught.value)
    assert "seed was 1, now 2" in message
    assert "dataConfig.imageSize was [128, 128], now [256, 256]" in message
    assert "maskrcnnConfig.nlayers was 10, now 18" in message
    assert "totalSteps" not in message


def test_checkpoint_of_an_earlier_release_resumes_with_the_defaults_of_fields_that_it_lacks() -> None:
    assert check({**SAVED, "tf32": True, "maskrcnnConfig": {**SAVED["maskrcnnConfig"], "syncBn": True}}) == []
    with pytest.raises(InvalidInput, match=r"xla was null, now true"):
        check({**SAVED, "xla": True})


def test_checkpoint_of_a_release_without_detectors_of_other_projects_resumes_until_a_field_of_theirs_is_given() -> None:
    fields = {
        "seed": 1,
        "totalSteps": 40,
        "initLearningRate": 0.01,
        "dataConfig": {"imageSize": [128, 128], "numClasses": 3},
    }
    now = saved_experiment(parse_spec(fields))
    model = {name: value for name, value in now["maskrcnnConfig"].items() if name != "freezeBnAffine"}
    saved = {name: value for name, value in now.items() if name not in ("checkpointClassNames", "classMapping")}
    saved["maskrcnnConfig"] = model
    assert check_resumable(saved, now, saved_fingerprint=None, fingerprint=None) == []
    given = saved_experiment(
        parse_spec({**fields, "classMapping": {"person": "p"}, "maskrcnnConfig": {"roiAligned": True}})
    )
    with pytest.raises(
        InvalidInput, match=r"classMapping was null, now .*maskrcnnConfig\.roiAligned was null, now true"
    ):
        check_resumable(saved, given, saved_fingerprint=None, fingerprint=None)


def test_shuffle_buffer_size_is_left_to_the_position_in_the_data() -> None:
    assert check(changed(dataConfig={"shuffleBufferSize": 10})) == []


def test_fields_that_change_no_weight_are_harmless() -> None:
    # Only the classes in val_json_file affect a training, and check_same_classes compares them.
    assert {
        "keepCheckpoints",
        "numStepsPerEval",
        "evalBatchSize",
        "loggingFrequency",
        "reportFrequency",
        "saveCheckpointsSteps",
        "visualizeImagesSummary",
        "wandbConfig",
        "clearmlConfig",
        "dataConfig.evalSamples",
        "dataConfig.valJsonFile",
        "dataConfig.validationFilePattern",
        "dataConfig.prefetchBufferSize",
        "dataConfig.nWorkers",
        "maskrcnnConfig.testDetectionsPerImage",
        "maskrcnnConfig.testNms",
        "maskrcnnConfig.testScoreThreshold",
        "maskrcnnConfig.testCandidateLimit",
        "maskrcnnConfig.testRpnPreNmsTopn",
        "maskrcnnConfig.testRpnPostNmsTopn",
        "maskrcnnConfig.testRpnNmsThreshold",
    } == HARMLESS_FIELDS


def test_only_the_fingerprint_counts_if_there_is_one() -> None:
    assert check_resumable(SAVED, changed(seed=2), saved_fingerprint=FINGERPRINT, fingerprint=FINGERPRINT) == []
    with pytest.raises(InvalidInput, match="another fingerprint"):
        check_resumable(SAVED, SAVED, saved_fingerprint=FINGERPRINT, fingerprint=OTHER_FINGERPRINT)
    with pytest.raises(InvalidInput, match="another fingerprint"):
        check_resumable(SAVED, SAVED, saved_fingerprint=None, fingerprint=OTHER_FINGERPRINT)


def test_the_same_records_may_move() -> None:
    wanted = changed(dataConfig={"trainingFilePattern": "/new/train-*"})
    saved = changed(dataConfig={"trainingFilePattern": "/old/train-*"})
    same = {"saved_fingerprint": None, "fingerprint": None}
    with pytest.raises(InvalidInput, match=r'trainingFilePattern was "/old/train-\*", now "/new/train-\*"'):
        check_resumable(saved, wanted, **same)  # type: ignore[arg-type]
    assert check_resumable(saved, wanted, **same, same_records=True) == []  # type: ignore[arg-type]


def check_records(state: dict[str, Any], *, refuse: bool = True) -> str | None:
    return check_same_records(state, step=2, pattern="/d/train-*", records=10, digest="new", refuse=refuse)


def test_other_records_under_the_same_pattern_are_refused_with_what_to_do() -> None:
    with pytest.raises(InvalidInput) as caught:
        check_records({"records": 24, "recordsDigest": "old"})
    assert str(caught.value) == (
        "the checkpoint of step 2 was trained on other records than /d/train-*: 24 records then, 10 now. Give the old "
        "records to continue; to train its weights on the new records, give it as checkpoint with another results "
        "directory"
    )
    with pytest.raises(InvalidInput, match="10 records in files of other names or sizes"):
        check_records({"records": 10, "recordsDigest": "old"})
    # an earlier release stored only the number
    with pytest.raises(InvalidInput, match="24 records then, 10 now"):
        check_records({"records": 24})


def test_run_of_the_operator_continues_on_other_records_with_a_note() -> None:
    note = check_records({"records": 24, "recordsDigest": "old"}, refuse=False)
    assert note == "the checkpoint of step 2 was trained on other records than /d/train-*: 24 records then, 10 now"


@pytest.mark.parametrize("state", [{"records": 10, "recordsDigest": "new"}, {"records": 10}, {}], ids=str)
def test_same_records_continue_silently(state: dict[str, Any]) -> None:
    assert check_records(state) is None


def test_records_are_identified_by_their_names_offsets_and_sizes(tmp_path: Path) -> None:
    def digest(folder: str, *payloads: bytes, name: str = "train") -> str:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}-00000-of-00001.tfrecord").write_bytes(b"".join(map(frame, payloads)))
        return records_digest(index_records(str(tmp_path / folder / "*.tfrecord")))

    first = digest("a", b"one", b"three")
    assert digest("b", b"one", b"three") == first
    others = [digest("c", b"three", b"one"), digest("d", b"one"), digest("e", b"one", b"three", name="tune")]
    assert len({first, *others}) == 4


def test_another_number_of_processes_continues_at_the_same_image() -> None:
    state = {"ranks": 8, "position": 16_000}
    assert changed_ranks(state, 8, 2, 16_000) is None
    assert changed_ranks({}, 8, 2, 16_000) is None
    assert changed_ranks(state, 4, 2, 16_000) == (
        "processes: 8 then, 4 now; images per step: 16 then, 8 now; training continues at image 16000"
    )


def spec(**model: Any) -> ExperimentSpec:
    return ExperimentSpec.model_validate(
        {
            "totalSteps": 1,
            "initLearningRate": 0.01,
            "dataConfig": {"imageSize": [128, 128], "numClasses": 2},
            "maskrcnnConfig": model,
        }
    )


def test_absent_freeze_blocks_are_those_of_the_checkpoint() -> None:
    saved = {"maskrcnnConfig": {"freezeBlocks": [0, 1, 2]}}
    assert absent_values(spec(), saved) == {"freeze_blocks": (0, 1, 2)}
    assert absent_values(spec(), {"maskrcnnConfig": {"freezeBlocks": [0, 1]}}) == {}
    assert absent_values(spec(freezeBlocks=[]), saved) == {}
    assert absent_values(spec(), {}) == {}
