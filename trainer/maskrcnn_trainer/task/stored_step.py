"""Step whose results are in object storage, as the variables of ``maskrcnn launch`` describe it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.identifiers import FINGERPRINT_FORM, FINGERPRINT_VALUE, IDENTIFIER, IDENTIFIER_FORM
from maskrcnn_trainer.shared.object_url import STORE_SCHEMES, ObjectUrl, parse_url
from maskrcnn_trainer.shared.resource import WORKSPACE_MOUNT
from maskrcnn_trainer.shared.variables import (
    ATTEMPT_VARIABLE,
    CREATED_VARIABLE,
    EXPERIMENT_UID_VARIABLE,
    FINGERPRINT_VARIABLE,
    FINGERPRINTS_VARIABLE,
    OWNER_ID_VARIABLE,
    OWNER_NAMESPACE_VARIABLE,
    RESULTS_DIR_VARIABLE,
    TAKE_OVER_VARIABLE,
    WORKING_DIR_VARIABLE,
)

REQUIRED_VARIABLES = (
    FINGERPRINT_VARIABLE,
    EXPERIMENT_UID_VARIABLE,
    ATTEMPT_VARIABLE,
    CREATED_VARIABLE,
    OWNER_ID_VARIABLE,
)
"""Variables that must be set where results are written to a URL: attempts are ranked and owners recognized by them."""


@dataclass(frozen=True)
class StoredStep:
    """Step whose results are published to object storage.

    Attributes:
        workspace_url: URL that ``/workspace`` stands for.
        experiment, step: their names, the last two segments of the results directory.
        owner_id: id of the cluster or machine that owns the experiment's results.
        owner_namespace: namespace of the experiment; empty for a local run.
        take_over_from: owner that may be replaced, as ``<id>/<ownerEpoch>``; None: none.
        working_dir: directory with the working copy, which stays; None: a temporary one.
    """

    workspace_url: ObjectUrl
    experiment: str
    step: str
    owner_id: str
    owner_namespace: str = ""
    take_over_from: str | None = None
    working_dir: str | None = None

    @property
    def url(self) -> str:
        """Return the URL of the results directory."""
        return str(self.workspace_url.child(f"{self.experiment}/{self.step}"))

    @property
    def manifest_dir(self) -> str:
        """Return the results directory as a manifest names it, below ``/workspace``."""
        return f"{WORKSPACE_MOUNT}/{self.experiment}/{self.step}"


def read_stored_step(url: str, value: Callable[[str], str | None]) -> StoredStep:
    """Return the step of a results directory by URL.

    Args:
        url: value of RESULTS_DIR_VARIABLE.
        value: returns the value of a variable; None if it is empty or unset.

    Raises:
        InvalidInput: the URL is not one of a step, or a variable is missing, or has a value that can't be recorded.
    """
    found = parse_url(url, RESULTS_DIR_VARIABLE)
    above, _, step = found.key.rpartition("/")
    workspace, _, experiment = above.rpartition("/")
    if found.scheme not in STORE_SCHEMES or not experiment:
        raise InvalidInput(
            f"{RESULTS_DIR_VARIABLE}: the URL must be that of a step in object storage, <workspace URL>/<experiment>/"
            "<step>, such as s3://bucket/prefix/my-experiment/train"
        )
    for name in REQUIRED_VARIABLES:
        if value(name) is None:
            raise InvalidInput(
                f"{name} is missing: it is needed to write results to a URL; the operator sets it, and a script that "
                "runs maskrcnn launch must set it, too"
            )
    _refuse_unrecordable(value)
    return StoredStep(
        ObjectUrl(found.scheme, found.container, workspace),
        experiment,
        step,
        str(value(OWNER_ID_VARIABLE)),
        value(OWNER_NAMESPACE_VARIABLE) or "",
        value(TAKE_OVER_VARIABLE),
        value(WORKING_DIR_VARIABLE),
    )


def _refuse_unrecordable(value: Callable[[str], str | None]) -> None:
    older = (value(FINGERPRINTS_VARIABLE) or "").split()
    given = [
        (FINGERPRINT_VARIABLE, str(value(FINGERPRINT_VARIABLE)), FINGERPRINT_VALUE, FINGERPRINT_FORM),
        *((FINGERPRINTS_VARIABLE, text, FINGERPRINT_VALUE, FINGERPRINT_FORM) for text in older),
        *(
            (name, str(value(name)), IDENTIFIER, IDENTIFIER_FORM)
            for name in (EXPERIMENT_UID_VARIABLE, OWNER_ID_VARIABLE)
        ),
    ]
    for name, text, form, right in given:
        if not form.fullmatch(text):
            raise InvalidInput(f"{name}: {text!r} must be {right}")
