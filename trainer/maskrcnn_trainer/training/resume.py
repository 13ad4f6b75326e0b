"""Whether a checkpoint may be trained on with a spec that is not the one it was made with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from maskrcnn_trainer.errors import InvalidInput

# A longer or shorter training, or another learning rate, goes on from the same weights: the user is told.
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
# These change no weight.
HARMLESS_FIELDS = frozenset(
    {
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
        "dataConfig.validationFilePattern",
        "dataConfig.prefetchBufferSize",
        "dataConfig.nWorkers",
        "maskrcnnConfig.testDetectionsPerImage",
        "maskrcnnConfig.testNms",
        "maskrcnnConfig.testRpnPreNmsTopn",
        "maskrcnnConfig.testRpnPostNmsTopn",
        "maskrcnnConfig.testRpnNmsThreshold",
    }
)


def check_resumable(
    saved: Mapping[str, Any], wanted: Mapping[str, Any], *, saved_fingerprint: str | None, fingerprint: str | None
) -> list[str]:
    """Decides whether to go on from a checkpoint found in the results directory.

    Under a fingerprint (a run that an operator started) only an equal one is resumed: the fingerprint covers all that
    can change the result. On the bare command line the two specs are compared field by field.

    Args:
        saved: the spec in the checkpoint, camelCase.
        wanted: the spec of this run, camelCase.
        saved_fingerprint: in the checkpoint.
        fingerprint: of this run; None on the bare command line.

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
        if name in SCHEDULE_FIELDS:
            notes.append(f"{name} was {old!r} and is {new!r} from here on")
        else:
            refused.append(f"{name} was {old!r}, now {new!r}")
    if refused:
        raise InvalidInput(
            "the results directory holds checkpoints of another experiment: "
            + "; ".join(refused)
            + ". Give another results directory, or the old values to go on",
            reason="OtherExperiment",
        )
    return notes


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
