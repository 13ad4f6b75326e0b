"""Environment variables that configure a task."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.object_url import is_url
from maskrcnn_trainer.shared.variables import (
    ATTEMPT_VARIABLE,
    CREATED_VARIABLE,
    EXPERIMENT_UID_VARIABLE,
    FINGERPRINT_VARIABLE,
    FINGERPRINTS_VARIABLE,
    KEY_VARIABLE,
    REPORT_CA_FILE_VARIABLE,
    REPORT_TOKEN_FILE_VARIABLE,
    REPORT_URL_VARIABLE,
    RESULTS_DIR_VARIABLE,
    TERMINATION_LOG_VARIABLE,
)
from maskrcnn_trainer.task.stored_step import StoredStep, read_stored_step

_TIME_OF_CREATION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
"""Form of a time of creation; times in it are ordered as their texts."""


@dataclass(frozen=True)
class TaskEnvironment:
    """Environment variables that every task reads, in a cluster and on one machine.

    Attributes:
        results_dir: directory of this machine; None for a step in object storage.
        stored_step: step whose results are in object storage; None for a directory.
        fingerprint: fingerprint of the step in its status; included in every report.
        older_fingerprints: fingerprints of the same step in older releases, oldest first.
        created: time at which the experiment was created, ``2026-01-31T12:00:00Z``; None if unknown.
    """

    results_dir: str | None = None
    stored_step: StoredStep | None = None
    fingerprint: str | None = None
    older_fingerprints: tuple[str, ...] = ()
    attempt: int = 1
    experiment_uid: str | None = None
    created: str | None = None
    key: str | None = field(default=None, repr=False)
    report_url: str | None = None
    report_token_file: str | None = None
    report_ca_file: str | None = None
    termination_log: str | None = None

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """All fingerprints of the step, oldest first; none for a task that was started by hand."""
        return (*self.older_fingerprints, self.fingerprint) if self.fingerprint else ()

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None, *, launches: bool = False) -> TaskEnvironment:
        """Read the variables of ``shared.variables``; an empty one counts as unset.

        Args:
            environ: default: those of this process.
            launches: whether this is ``maskrcnn launch``, which alone accepts a results directory by URL.

        Raises:
            InvalidInput: the attempt isn't a number, the creation isn't a time, the key isn't UTF-8, the results
                directory is a URL and this isn't launch, or it is one without a variable that it needs.
        """
        source = os.environ if environ is None else environ

        def value(name: str) -> str | None:
            return source.get(name) or None

        attempt = value(ATTEMPT_VARIABLE) or "1"
        if not _is_whole(attempt) or int(attempt) < 1:
            raise InvalidInput(f"{ATTEMPT_VARIABLE}: {attempt!r} must be a whole number from 1 to 999999999")
        results_dir = value(RESULTS_DIR_VARIABLE)
        stored_step = None
        if results_dir is not None and is_url(results_dir):
            stored_step = read_stored_step(results_dir, value) if launches else None
            if stored_step is None:
                raise InvalidInput(
                    f"{RESULTS_DIR_VARIABLE}: a task can't write its results to a URL by itself: start it by maskrcnn "
                    "launch -- TASK ..., or give a path"
                )
            results_dir = None
        created = value(CREATED_VARIABLE)
        if created is not None and not is_time_of_creation(created):
            raise InvalidInput(f"{CREATED_VARIABLE}: {created!r} must be a time in UTC, such as 2026-01-31T12:00:00Z")
        # an older release of the operator sets only the first variable
        given = (value(FINGERPRINT_VARIABLE) or "", *(value(FINGERPRINTS_VARIABLE) or "").split())
        fingerprints = tuple(dict.fromkeys(name for name in given if name))
        return cls(
            results_dir=results_dir,
            stored_step=stored_step,
            fingerprint=fingerprints[-1] if fingerprints else None,
            older_fingerprints=fingerprints[:-1],
            attempt=int(attempt),
            experiment_uid=value(EXPERIMENT_UID_VARIABLE),
            created=created,
            key=checked_key(value(KEY_VARIABLE), KEY_VARIABLE),
            report_url=value(REPORT_URL_VARIABLE),
            report_token_file=value(REPORT_TOKEN_FILE_VARIABLE),
            report_ca_file=value(REPORT_CA_FILE_VARIABLE),
            termination_log=value(TERMINATION_LOG_VARIABLE),
        )


def is_time_of_creation(text: str) -> bool:
    """Return whether a text is a time such as ``2026-01-31T12:00:00Z``; an impossible one would outrank all others."""
    try:
        return bool(_TIME_OF_CREATION.fullmatch(text) and datetime.fromisoformat(text))
    except ValueError:
        return False


def checked_key(key: str | None, source: str) -> str | None:
    """Return an encryption key after a check that it is UTF-8; None if it is empty.

    Args:
        key: the key.
        source: the flag or variable with the key, for messages; the key itself is never shown.

    Raises:
        InvalidInput: the key has bytes that aren't UTF-8.
    """
    try:
        (key or "").encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"{source}: the key has bytes that aren't UTF-8; give it as UTF-8 text", reason="WrongKey"
        ) from error
    return key


def horovod_number(name: str, *, least: int) -> int:
    """Return the variable ``HOROVOD_<name>``, which ``maskrcnn launch`` sets; ``least`` where it is unset.

    Raises:
        InvalidInput: it isn't a whole number of at least ``least``.
    """
    text = os.environ.get(f"HOROVOD_{name}") or str(least)
    if not _is_whole(text) or int(text) < least:
        raise InvalidInput(
            f"HOROVOD_{name}: {text!r} must be a whole number of at least {least}; maskrcnn launch sets it, so unset "
            "it for a single process"
        )
    return int(text)


def _is_whole(text: str) -> bool:
    # nine digits are enough for every variable; int() refuses more than 4,300
    return text.isascii() and text.isdecimal() and len(text) <= 9
