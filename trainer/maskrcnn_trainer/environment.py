"""The environment that whoever starts a task talks to it by."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from maskrcnn_trainer.errors import InvalidInput


@dataclass(frozen=True)
class TaskEnvironment:
    """The environment variables that every task honours, in a cluster and on one machine.

    ``from_environ`` treats an empty variable as unset and raises InvalidInput for an attempt that is no number.

    Attributes:
        fingerprint: of the step as its status records it, named in every report.
        older_fingerprints: of the same step, by which older releases know its results; oldest first.
    """

    results_dir: str | None = None
    fingerprint: str | None = None
    older_fingerprints: tuple[str, ...] = ()
    attempt: int = 1
    experiment_uid: str | None = None
    key: str | None = field(default=None, repr=False)
    report_url: str | None = None
    report_token_file: str | None = None
    report_ca_file: str | None = None
    termination_log: str | None = None

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """All fingerprints of the step, oldest first; none for a task on the bare command line."""
        return (*self.older_fingerprints, self.fingerprint) if self.fingerprint else ()

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> TaskEnvironment:
        """Read the variables of ``environ`` (default: this process's) named ``MASKRCNN_<FIELD>``."""
        source = os.environ if environ is None else environ

        def value(name: str) -> str | None:
            return source.get(f"MASKRCNN_{name}") or None

        attempt = value("ATTEMPT") or "1"
        if not attempt.isdecimal() or int(attempt) < 1:
            raise InvalidInput(f"MASKRCNN_ATTEMPT: {attempt!r} is not a whole number of at least 1")
        # an operator of an older release gives only the first variable
        given = (value("FINGERPRINT") or "", *(value("FINGERPRINTS") or "").split())
        fingerprints = tuple(dict.fromkeys(name for name in given if name))
        return cls(
            results_dir=value("RESULTS_DIR"),
            fingerprint=fingerprints[-1] if fingerprints else None,
            older_fingerprints=fingerprints[:-1],
            attempt=int(attempt),
            experiment_uid=value("EXPERIMENT_UID"),
            key=value("KEY"),
            report_url=value("REPORT_URL"),
            report_token_file=value("REPORT_TOKEN_FILE"),
            report_ca_file=value("REPORT_CA_FILE"),
            termination_log=value("TERMINATION_LOG"),
        )
