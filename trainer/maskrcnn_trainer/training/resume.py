"""Decision whether a run may continue from a checkpoint: comparison of spec, classes, records, and processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

from pydantic.alias_generators import to_camel

from maskrcnn_trainer.data.class_map import ClassMap, same_class_map
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.spec import ExperimentSpec
from maskrcnn_trainer.spec.base import SpecModel
from maskrcnn_trainer.spec.errors import shown
from maskrcnn_trainer.spec.partial import nested_model
from maskrcnn_trainer.spec.purposes import Purpose, fields_for, fields_without_purpose
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.spec.task_table import TASKS

# A training continues from the same weights if its length or learning rate changes; the changes are logged.
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
# The position in the checkpoint determines the order of the records; resumed_position refuses a change that matters.
ORDER_FIELDS = frozenset({"dataConfig.shuffleBufferSize"})


def _camel_case(names: frozenset[str]) -> frozenset[str]:
    return frozenset(".".join(map(to_camel, name.split("."))) for name in names)


_DECIDE_WEIGHTS = fields_for(ExperimentSpec, TASKS[TaskName.TRAIN].reads)
_OTHERS = (fields_for(ExperimentSpec, frozenset(Purpose)) | fields_without_purpose(ExperimentSpec)) - _DECIDE_WEIGHTS
# Only the classes in the annotations affect weights, and check_same_classes compares them.
HARMLESS_FIELDS = (_camel_case(_OTHERS) | {"dataConfig.valJsonFile"}) - ORDER_FIELDS
"""Fields that do not affect the weights."""


def _defaults(model: type[SpecModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        part = nested_model(field)
        if part is not None:
            yield from _defaults(part, f"{prefix}{field.alias or name}.")
        elif not field.is_required():
            yield f"{prefix}{field.alias or name}", field.get_default(call_default_factory=True)


_DEFAULTS = dict(_defaults(ExperimentSpec))
"""Defaults by dotted name. A checkpoint lacks the fields that are newer than its release, which trained with these."""


def check_resumable(
    saved: Mapping[str, Any],
    current: Mapping[str, Any],
    *,
    saved_fingerprint: str | None,
    fingerprint: str | None,
    same_records: bool = False,
) -> list[str]:
    """Check that a run may continue from a checkpoint in the results directory.

    If the run has a fingerprint (it was started by an operator), that of the checkpoint must be equal, since the
    fingerprint covers everything that can change the result. Otherwise the two specs are compared field by field.

    Args:
        saved: the spec in the checkpoint, camelCase.
        current: the spec of this run, camelCase.
        saved_fingerprint: of the checkpoint.
        fingerprint: of this run; None for a run without an operator.
        same_records: whether the training records are those of the checkpoint, in which case their path may differ.

    Returns:
        Notes about changes of the schedule, one for each field.

    Raises:
        InvalidInput: a field changed that must not, or the fingerprints differ; the message names all such fields, or
            the fingerprints.
    """
    if fingerprint is not None:
        if saved_fingerprint != fingerprint:
            raise InvalidInput(
                f"the checkpoint in the results directory has another fingerprint ({saved_fingerprint}) than this run "
                f"({fingerprint}); give another results directory",
                reason="OtherFingerprint",
            )
        return []
    notes, refused = [], []
    for name, old, new in differences(saved, current):
        if name in ORDER_FIELDS or name in HARMLESS_FIELDS or name.partition(".")[0] in HARMLESS_FIELDS:
            continue
        if same_records and name == "dataConfig.trainingFilePattern":
            continue
        if old is None and _plain(new) == _plain(_DEFAULTS.get(name)):
            continue
        if name in SCHEDULE_FIELDS:
            notes.append(f"{name} was {shown(old)} and is {shown(new)} from now on")
        else:
            refused.append(f"{name} was {shown(old)}, now {shown(new)}")
    if refused:
        raise InvalidInput(
            "the results directory holds checkpoints of another experiment: "
            + "; ".join(refused)
            + ". Give another results directory, or the old values to continue",
            reason="OtherExperiment",
        )
    return notes


def absent_values(spec: ExperimentSpec, saved: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the checkpoint's values of fields that are absent in the spec and whose default has changed.

    Args:
        spec: of this run.
        saved: the spec in the checkpoint, camelCase.

    Returns:
        Fields of ``maskrcnn_config`` by name; empty if nothing differs.
    """
    config = spec.maskrcnn_config
    blocks = saved.get("maskrcnnConfig", {}).get("freezeBlocks")
    if "freeze_blocks" in config.model_fields_set or not isinstance(blocks, list | tuple):
        return {}
    return {} if tuple(blocks) == config.freeze_blocks else {"freeze_blocks": tuple(blocks)}


def check_same_classes(saved: ClassMap, current: ClassMap) -> None:
    """Refuse to resume with other classes, for which the network's heads were not trained.

    Args:
        saved: of the checkpoint.
        current: of this run.

    Raises:
        InvalidInput: the classes differ; the message names the first that does.
    """
    if same_class_map(saved, current):
        return
    pairs = zip_longest(zip(saved.ids, saved.names, strict=True), zip(current.ids, current.names, strict=True))
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
    """Return whether training records are those of a checkpoint; None if that is unknown.

    A checkpoint of an earlier release has only their number.

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
        pattern: of the records' files, for the message.
        records: number of the training records.
        digest: of the training records.
        refuse: whether to raise an error; if not, the difference is returned, for a run of the operator, which cannot
            use another directory.

    Returns:
        A message about the difference, None if the records are the same.

    Raises:
        InvalidInput: the records differ and ``refuse`` is true.
    """
    if has_same_records(state, records, digest) is not False:
        return None
    before = state.get("records")
    difference = (
        f"{before} records then, {records} now"
        if before != records
        else f"{records} records in files of other names or sizes"
    )
    message = f"the checkpoint of step {step} was trained on other records than {pattern}: {difference}"
    if not refuse:
        return message
    raise InvalidInput(
        f"{message}. Give the old records to continue; to train its weights on the new records, give it as checkpoint "
        "with another results directory",
        reason="OtherExperiment",
    )


def changed_ranks(state: Mapping[str, Any], ranks: int, batch_size: int, position: int) -> str | None:
    """Return a message if the number of processes differs from that of the checkpoint, None if it is the same.

    Args:
        state: of the checkpoint.
        ranks: number of processes of this run.
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
    """Yield the fields that differ, by dotted name, with both values (None if absent)."""
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from differences(before, after, f"{prefix}{key}.")
        elif _plain(before) != _plain(after):
            yield f"{prefix}{key}", before, after


def _plain(value: Any) -> Any:
    """Convert tuples to lists, so that a spec read from JSON equals the one that was written."""
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value
