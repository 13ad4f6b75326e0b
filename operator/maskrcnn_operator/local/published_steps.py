"""Results of an experiment in object storage, as ``maskrcnn artifacts`` lists them at the start of a local run."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import StepStatus
from maskrcnn_operator.api.text import one_line
from maskrcnn_operator.local.trainer_call import call_trainer
from maskrcnn_trainer.errors import EXIT_INVALID, InvalidInput, TryAgain

log = logging.getLogger(__name__)

MOST_LISTED_BYTES = 64 * 1024 * 1024
_SHOWN = 256


@dataclass(frozen=True)
class PublishedExperiment:
    """Owner and complete steps of an experiment in object storage.

    Attributes:
        owner_id: None if there is no owner: nothing was published yet, or the experiment was deleted.
        owner_namespace: empty for a local run.
        owner_epoch: number of the owner's state; 0 if there is none.
        complete: fingerprint of the current results by step, for each step whose results are complete.
    """

    owner_id: str | None = None
    owner_namespace: str = ""
    owner_epoch: int = 0
    complete: Mapping[str, str] = field(default_factory=dict)

    def has(self, step: StepStatus) -> bool:
        """Return whether the results of a finished step are there, and those that the next attempt would keep."""
        return self.complete.get(step.name) in step.fingerprints


def published_experiment(
    url: str,
    experiment: str,
    *,
    trainer: Sequence[str],
    environment: Mapping[str, str],
    stopping: Callable[[], bool],
) -> PublishedExperiment | None:
    """List an experiment's results by ``maskrcnn artifacts``.

    Args:
        url: URL of the workspace.
        experiment: name of the experiment.
        trainer: the command ``maskrcnn``.
        environment: all environment variables of the command.
        stopping: returns whether a stop is requested.

    Returns:
        None if a stop was requested before its end.

    Raises:
        InvalidInput: the command exits with 64, or has printed something else.
        TryAgain: the command fails for another reason.
    """
    log.info("Listing the results of %s in %s", experiment, url)
    command = (*trainer, "artifacts", url, "list", experiment, "--json")
    ended = call_trainer(
        command,
        environment,
        stopping=stopping,
        most_bytes=MOST_LISTED_BYTES,
        # a store that is down is asked again for minutes
        on_warning=lambda text: log.warning("%s", text),
    )
    if ended.exit_code is None and stopping():
        return None
    if ended.problem:
        kind = InvalidInput if ended.exit_code == EXIT_INVALID else TryAgain
        raise kind(f"the results in {url} can't be listed: {ended.problem}")
    try:
        return parse_listing(ended.output, experiment)
    except (ValueError, RecursionError):
        raise InvalidInput(f"the results in {url} can't be listed: maskrcnn artifacts printed something else") from None


def parse_listing(content: bytes, experiment: str) -> PublishedExperiment:
    """Return one experiment of a listing.

    Raises:
        ValueError: the content isn't a listing.
        RecursionError: it is nested too deeply.
    """
    experiments = _object(_object(json.loads(content)).get("experiments"))
    if experiment not in experiments:
        return PublishedExperiment()
    found = _object(experiments[experiment])
    epoch = found.get("ownerEpoch")
    complete: dict[str, str] = {}
    for name, step in _object(found.get("steps")).items():
        current = _object(_object(step).get("current") or {})
        if current.get("complete") is True:
            complete[name] = _text(current.get("fingerprint"))
    if found.get("owner") is None:
        return PublishedExperiment(complete=complete)
    if type(epoch) is not int:
        raise ValueError("ownerEpoch must be a whole number")
    owner = _object(found["owner"])
    return PublishedExperiment(_text(owner.get("id")), _text(owner.get("namespace") or ""), epoch, complete)


def refuse_another_owner(
    found: PublishedExperiment, url: str, experiment: str, *, owner_id: str, take_over_from: str | None
) -> None:
    """Check that a local run may write the results of an experiment; each claim of a step checks it again.

    Args:
        found: the experiment in the store.
        url: URL of the workspace.
        experiment: name of the experiment.
        owner_id: owner id of this run.
        take_over_from: state of another owner that is replaced; None to replace none.

    Raises:
        InvalidInput: another owner has the experiment. The message has both ways to continue.
    """
    if found.owner_id is None or (found.owner_id, found.owner_namespace) == (owner_id, ""):
        return
    state = f"{found.owner_id}/{found.owner_epoch}"
    if take_over_from == state:
        return
    whose, same = f"owner {one_line(found.owner_id, _SHOWN)}", ""
    if found.owner_namespace:
        whose = f"namespace {one_line(found.owner_namespace, _SHOWN)} and {whose}"
    else:
        same = (
            f"; if that is a run of yours whose state directory is lost or elsewhere, --owner-id "
            f"{_argument(found.owner_id)} continues it"
        )
    outdated = f"--take-over-from {take_over_from} names another state; " if take_over_from is not None else ""
    raise InvalidInput(
        f"{url} holds the experiment {experiment} of {whose}; {outdated}to take it over for good, give "
        f"--take-over-from {_argument(state)}{same}",
        reason=Reason.ANOTHERS_OWNER,
    )


def _argument(text: str) -> str:
    # any writer with access to the store can have chosen it
    return shlex.quote(one_line(text, _SHOWN))


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("must be an object")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a text")
    return value
