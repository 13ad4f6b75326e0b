"""Decision to continue from a checkpoint: its spec, classes, records and number of processes against those of now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

from pydantic.alias_generators import to_camel

from maskrcnn_trainer.data.class_map import ClassMap, same_class_map
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.spec import ExperimentSpec
from maskrcnn_trainer.spec.errors import shown
from maskrcnn_trainer.spec.purposes import Purpose, fields_for, fields_without_purpose
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.spec.task_table import TASKS

# A longer or shorter training, or another learning rate, continues from the same weights: the user is told.
SCHEDULE_FIELDS = frozenset(
    {
        "totalSteps",
        "numEpochs",
        "learningRateSteps",
        "learningRateDecayLevels",
        "warmupSteps",
        "warmupLearningRate",
        "initLearningRate",
    }
)
# The checkpoint's position says in which order the records are read, and refuses a change where the field counts.
ORDER_FIELDS = frozenset({"dataConfig.shuffleBufferSize"})


def _camel_case(names: frozenset[str]) -> frozenset[str]:
    return frozenset(".".join(map(to_camel, name.split("."))) for name in names)


_DECIDE_WEIGHTS = fields_for(ExperimentSpec, TASKS[TaskName.TRAIN].reads)
_OTHERS = (fields_for(ExperimentSpec, frozenset(Purpose)) | fields_without_purpose(ExperimentSpec)) - _DECIDE_WEIGHTS
# Of the annotations the classes alone decide weights: check_same_classes compares them.
HARMLESS_FIELDS = (_camel_case(_OTHERS) | {"dataConfig.valJsonFile"}) - ORDER_FIELDS
"""Fields that change no weight."""


def check_resumable(
    saved: Mapping[str, Any],
    wanted: Mapping[str, Any],
    *,
    saved_fingerprint: str | None,
    fingerprint: str | None,
    same_records: bool = False,
) -> list[str]:
    """Decides whether to go on from a checkpoint found in the results directory.

    Under a fingerprint (a run that an operator started) only an equal one is resumed: the fingerprint covers all that
    can change the result. On the bare command line the two specs are compared field by field.

    Args:
        saved: the spec in the checkpoint, camelCase.
        wanted: the spec of this run, camelCase.
        saved_fingerprint: in the checkpoint.
        fingerprint: of this run; None on the bare command line.
        same_records: the training records are those of the checkpoint, so that their path may differ.

    Returns:
        Notes about a changed schedule, one a field.

    Raises:
        InvalidInput: naming every field that may not change, or the two fingerprints.
    """
    if fingerprint is not None:
        if saved_fingerprint != fingerprint:
            raise InvalidInput(
                f"the checkpoint in the results directory is of another fingerprint ({saved_fingerprint}, this run is "
                f"{fingerprint}); give another results directory",
                reason="OtherFingerprint",
            )
        return []
    notes, refused = [], []
    for name, old, new in differences(saved, wanted):
        if name in ORDER_FIELDS or name in HARMLESS_FIELDS or name.partition(".")[0] in HARMLESS_FIELDS:
            continue
        if same_records and name == "dataConfig.trainingFilePattern":
            continue
        if name in SCHEDULE_FIELDS:
            notes.append(f"{name} was {shown(old)} and is {shown(new)} from here on")
        else:
            refused.append(f"{name} was {shown(old)}, now {shown(new)}")
    if refused:
        raise InvalidInput(
            "the results directory holds checkpoints of another experiment: "
            + "; ".join(refused)
            + ". Give another results directory, or the old values to go on",
            reason="OtherExperiment",
        )
    return notes


def absent_values(spec: ExperimentSpec, saved: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return values of the checkpoint for fields that the spec leaves out and whose default has changed.

    Args:
        spec: of this run.
        saved: the spec in the checkpoint, camelCase.

    Returns:
        Fields of ``maskrcnn_config`` by name; empty where nothing differs.
    """
    config = spec.maskrcnn_config
    blocks = saved.get("maskrcnnConfig", {}).get("freezeBlocks")
    if "freeze_blocks" in config.model_fields_set or not isinstance(blocks, list | tuple):
        return {}
    return {} if tuple(blocks) == config.freeze_blocks else {"freeze_blocks": tuple(blocks)}


def check_same_classes(saved: ClassMap, wanted: ClassMap) -> None:
    """Refuse to resume with other classes: the heads of the network would mean something else.

    Raises:
        InvalidInput: naming the first class that differs.
    """
    if same_class_map(saved, wanted):
        return
    pairs = zip_longest(zip(saved.ids, saved.names, strict=True), zip(wanted.ids, wanted.names, strict=True))
    number, before, after = next(
        (number, before, after)
        for number, (before, after) in enumerate(pairs, start=1)
        if before is None or after is None or before[0] != after[0] or (before[1] and after[1] and before != after)
    )
    raise InvalidInput(
        f"the checkpoint in the results directory has other classes: class {number} was {_category(before)}, now "
        f"{_category(after)}; give another results directory, or the old data to resume",
        reason="OtherExperiment",
    )


def has_same_records(state: Mapping[str, Any], records: int, digest: str) -> bool | None:
    """Return whether training records are those of a checkpoint; None where it cannot be told.

    A checkpoint of an earlier release has their number alone.

    Args:
        state: of the checkpoint (:attr:`ModelFile.state`).
        records: number of the training records.
        digest: of the training records (:func:`records_digest`).
    """
    if (saved := state.get("recordsDigest")) is not None:
        return bool(saved == digest)
    return None if state.get("records") in (None, records) else False


def check_same_records(
    state: Mapping[str, Any], *, step: int, pattern: str, records: int, digest: str, refuse: bool
) -> str | None:
    """Refuse training records that are not those of a checkpoint.

    Args:
        state: of the checkpoint.
        step: of the checkpoint.
        pattern: where the records are, for the message.
        records: number of the training records.
        digest: of the training records.
        refuse: raise; else the difference is returned. An operator's run cannot be given another directory.

    Returns:
        The sentence for other records, None for the same ones.

    Raises:
        InvalidInput: the records are others, with what to do.
    """
    if has_same_records(state, records, digest) is not False:
        return None
    before = state.get("records")
    told = (
        f"{before} records then, {records} now" if before != records else f"{records} records of other names or sizes"
    )
    sentence = f"the checkpoint of step {step} was trained on other records than {pattern}: {told}"
    if not refuse:
        return sentence
    raise InvalidInput(
        f"{sentence}. Give the old records to continue; to train its weights on the new ones, name it as checkpoint "
        "with another results directory",
        reason="OtherExperiment",
    )


def changed_ranks(state: Mapping[str, Any], ranks: int, batch_size: int, position: int) -> str | None:
    """Return the sentence for another number of processes than that of the checkpoint; None where it is the same.

    Args:
        state: of the checkpoint.
        ranks: processes of this run.
        batch_size: images per process and step.
        position: images that the training has read so far.
    """
    before = state.get("ranks")
    if before is None or before == ranks:
        return None
    return (
        f"processes: {before} then, {ranks} now; images per step: {before * batch_size} then, "
        f"{ranks * batch_size} now; training continues at image {position}"
    )


def _category(category: tuple[int, str] | None) -> str:
    return "absent" if category is None else f'category {category[0]} "{category[1]}"'


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Fields that differ, by dotted name, with both values (None where absent)."""
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from differences(before, after, f"{prefix}{key}.")
        elif _plain(before) != _plain(after):
            yield f"{prefix}{key}", before, after


def _plain(value: Any) -> Any:
    """Lists for tuples, so that a spec read back from JSON equals the one that was written."""
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value
