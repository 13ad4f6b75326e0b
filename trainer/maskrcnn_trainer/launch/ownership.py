"""Who may write to a results directory: the one run that ``run.json`` names.

A node that comes back from the dead may still run an old attempt of a step. It holds an older token than the one in
``run.json``, so everything that it would rename into place is refused (exit code 75).
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskrcnn_trainer.artifacts import RESULT_FILE, write_json_atomically
from maskrcnn_trainer.errors import TryAgain

log = logging.getLogger(__name__)

RUN_FILE = "run.json"
TOKEN_VARIABLE = "MASKRCNN_RUN_TOKEN"  # noqa: S105 - the name of a variable


@dataclass(frozen=True)
class Run:
    """One start of one attempt at a step.

    Attributes:
        experiment_uid: uid of the resource, or of the local run's status file.
        attempt: counts from 1.
        fingerprint: what the results will be results of.
        token: drawn at each start; the right to write.
    """

    experiment_uid: str
    attempt: int
    fingerprint: str
    token: str

    def to_json(self) -> dict[str, Any]:
        return {
            "version": 1,
            "experimentUid": self.experiment_uid,
            "attempt": self.attempt,
            "fingerprint": self.fingerprint,
            "token": self.token,
        }


def read_run(results_dir: Path) -> Run | None:
    """The run that owns the directory, or None where nobody claimed it (or the file is unreadable)."""
    content = _read_json(results_dir / RUN_FILE)
    try:
        return Run(
            str(content["experimentUid"]), int(content["attempt"]), str(content["fingerprint"]), str(content["token"])
        )
    except (KeyError, TypeError, ValueError):
        return None


def claim(results_dir: Path, *, experiment_uid: str, attempt: int, fingerprint: str) -> Run:
    """Makes this start the owner of the directory (index 0 only).

    Results of another fingerprint are moved aside to ``<step>.<8 digits of it>``, of which one is kept; where the one
    kept is of this very fingerprint, it is moved back first.
    """
    move_aside(results_dir, fingerprint)
    results_dir.mkdir(parents=True, exist_ok=True)
    run = Run(experiment_uid, attempt, fingerprint, secrets.token_hex(16))
    write_json_atomically(results_dir / RUN_FILE, run.to_json())
    return run


def await_claim(
    results_dir: Path,
    *,
    experiment_uid: str,
    attempt: int,
    stopping: Callable[[], bool] = lambda: False,
    poll_seconds: float = 0.5,
) -> Run | None:
    """Waits, without a limit of its own, until index 0 claimed the directory for this attempt.

    Returns:
        The run, or None once ``stopping`` says so.
    """
    waited = False
    while not stopping():
        run = read_run(results_dir)
        if run is not None and (run.experiment_uid, run.attempt) == (experiment_uid, attempt):
            return run
        if not waited:
            log.info("Waiting for node 0 to claim %s for attempt %d", results_dir, attempt)
            waited = True
        time.sleep(poll_seconds)
    return None


def ownership_guard(results_dir: Path, token: str | None) -> Callable[[], None]:
    """A check to run before each rename into place.

    Returns:
        A function that raises :class:`TryAgain` when ``run.json`` names another token; without a token of our own (a
        task started by hand) it checks nothing.
    """

    def check() -> None:
        if token is None:
            return
        run = read_run(results_dir)
        if run is None or run.token != token:
            owner = f"attempt {run.attempt}" if run else "nobody"
            raise TryAgain(f"{results_dir} now belongs to {owner}, this run may not write there", reason="Superseded")

    return check


def move_aside(results_dir: Path, fingerprint: str) -> None:
    """Clears the way for results of ``fingerprint`` (see :func:`claim`)."""
    current = _fingerprint_of(results_dir)
    if current == fingerprint:
        return
    kept = {path for path in results_dir.parent.glob(f"{results_dir.name}.*") if _is_aside(path, results_dir.name)}
    equal = results_dir.with_name(f"{results_dir.name}.{digits(fingerprint)}")
    if current is not None:
        aside = results_dir.with_name(f"{results_dir.name}.{digits(current)}")
        if aside.exists():
            shutil.rmtree(aside)
        log.info("%s holds results of another fingerprint; moved to %s", results_dir, aside.name)
        results_dir.rename(aside)
        for old in kept - {aside, equal}:
            shutil.rmtree(old)
    if equal.is_dir() and _fingerprint_of(equal) == fingerprint and not results_dir.exists():
        log.info("%s holds results of this fingerprint; moved back", equal)
        equal.rename(results_dir)


def digits(fingerprint: str) -> str:
    """Return the first 8 of the 32 hexadecimal digits of a fingerprint, ``<digits>-<version>``."""
    return fingerprint[:8]


def _is_aside(path: Path, name: str) -> bool:
    return path.is_dir() and re.fullmatch(re.escape(name) + r"\.[0-9a-f]{8}", path.name) is not None


def _fingerprint_of(results_dir: Path) -> str | None:
    run = read_run(results_dir)
    if run is not None:
        return run.fingerprint
    result = _read_json(results_dir / RESULT_FILE)
    return str(result["fingerprint"]) if isinstance(result, dict) and result.get("fingerprint") else None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None
