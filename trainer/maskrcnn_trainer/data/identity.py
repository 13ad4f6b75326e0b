"""Identity of a set of records, and of validation data: equal for equal shards in any directory."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from maskrcnn_trainer.data.records import RecordIndex
from maskrcnn_trainer.spec import ExperimentSpec
from maskrcnn_trainer.task.artifacts import file_sha256


def records_digest(index: RecordIndex) -> str:
    """Return a digest of the shards' names and of the offsets and lengths of their records, 32 hexadecimal digits.

    Directories are left out, so that a data set may be moved. Payloads are not read: a change of content that keeps all
    lengths is not detected.
    """
    digest = hashlib.sha256()
    for name in index.files:
        digest.update(Path(name).name.encode("utf-8", "surrogateescape") + b"\0")
    for numbers in (index.file_ids, index.offsets, index.lengths):
        digest.update(np.ascontiguousarray(numbers, dtype="<i8").tobytes())
    return digest.hexdigest()[:32]


def validation_identity(spec: ExperimentSpec, records: RecordIndex) -> str:
    """Return a digest of everything that metrics depend on, except for the model, 32 hexadecimal digits.

    Args:
        spec: names the annotations and has the inference settings.
        records: of ``validationFilePattern``.
    """
    heads = spec.maskrcnn_config.model_dump(mode="json", exclude_none=True)
    content = {
        "records": records_digest(records),
        "annotations": file_sha256(Path(str(spec.data_config.val_json_file))),
        "samples": spec.data_config.eval_samples,
        "settings": {name: value for name, value in heads.items() if name.startswith("test_")},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
