"""docs/how-to/results-in-object-storage.md: permissions, messages, reasons, and numbers are those of the code.

tests/object_storage/test_how_to_results.py runs its commands.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from maskrcnn_operator.local.published_steps import PublishedExperiment, refuse_another_owner
from maskrcnn_operator.local.store_workspace import default_state_dir
from maskrcnn_trainer.artifacts.linking import SECONDS_OF_LINK
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.launch.store_results import FINAL_SECONDS
from maskrcnn_trainer.object_store.client import PART_BYTES
from maskrcnn_trainer.object_store.connection import PART_SECONDS
from maskrcnn_trainer.object_store.fence.cleaning import SECONDS_UNTIL_DELETION
from maskrcnn_trainer.object_store.fence.exchange_types import PointerGone
from maskrcnn_trainer.object_store.fence.explaining import fence_error
from maskrcnn_trainer.object_store.helper_main import PAGE as LISTED
from maskrcnn_trainer.object_store.helper_writes import PARTS_AT_ONCE, UPLOAD_PART
from maskrcnn_trainer.object_store.permissions import Permission, explained_lack
from maskrcnn_trainer.publishing.step_publisher import SECONDS_BEFORE_RETRY, SECONDS_BETWEEN_PUBLISHES
from maskrcnn_trainer.shared.object_url import parse_url

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs" / "how-to" / "results-in-object-storage.md").read_text("utf-8")
LINE = " ".join(TEXT.split())
URL = "s3://my-data/results"
WEEK = 7 * 24 * 3600


def permissions_of(provider: str) -> str:
    """Return the permissions of a provider on the page."""
    [found] = re.findall(rf"^\| {provider} \| (.*?) \|", TEXT, re.MULTILINE)
    return str(found)


def names_in(text: str) -> set[str]:
    """Return the names of permissions such as `s3:GetObject`, and `storage.objects.get` without what is before it."""
    return {name.rpartition(".")[2] for name in re.findall(r"[\w.]*[:.][A-Za-z]\w+", text)}


@pytest.mark.parametrize(("provider", "scheme"), [("S3", "s3"), ("GCS", "gs")])
def test_permissions_are_those_that_refusals_name(provider: str, scheme: str) -> None:
    needed = (Permission.READ, Permission.WRITE, Permission.DELETE)
    of_kms = re.findall(r"encrypted with a key of KMS also needs (.*?) on that key", LINE)
    on_page = permissions_of(provider) + (of_kms[0] if scheme == "s3" else "")
    assert names_in(on_page) == names_in(" ".join(explained_lack(scheme, one)[1] for one in needed))


def test_role_and_sas_of_azure_are_those_that_refusals_name() -> None:
    message = explained_lack("az", Permission.WRITE)[1]
    role, _, sas = permissions_of("Azure").partition(", or a SAS")
    assert f"the role {role}, or a SAS" in message
    assert re.findall(r"\b[a-z]\b", sas) == re.findall(r"\b[a-z]\b", message.partition("permissions")[2])


def test_refusal_of_another_owner_is_that_of_the_code() -> None:
    with pytest.raises(InvalidInput) as raised:
        refuse_another_owner(
            PublishedExperiment("5f0c...", "", 1), URL, "to-bucket", owner_id="mine", take_over_from=None
        )
    [shown] = re.findall(r"```text\n(.*?)```", TEXT, re.DOTALL)
    assert " ".join(shown.split()) == str(raised.value)


def test_reason_of_a_deleted_pointer_is_that_of_the_code() -> None:
    error = fence_error(PointerGone("to-bucket/train/run.json"), URL)
    assert error is not None
    assert f"ends with exit code {error.exit_code} (`{error.reason}`)" in LINE


def test_state_directory_is_that_of_the_code() -> None:
    state_dir = default_state_dir(parse_url(URL, "URL"), "EXPERIMENT", {"XDG_STATE_HOME": "/home/.local/state"})
    digest = state_dir.parent.name
    shown = str(state_dir).replace("/home", "~").replace(digest, "<SHA-256 of the URL>")
    assert f"`{shown.replace('EXPERIMENT', '<experiment>')}`" in LINE


def test_times_are_those_of_the_code() -> None:
    assert (SECONDS_UNTIL_DELETION, SECONDS_OF_LINK) == (3600, 3600)
    assert "stays for an hour, so that readers can finish" in LINE
    assert "`link` prints a link to one file that is valid for an hour" in LINE
    assert (SECONDS_BETWEEN_PUBLISHES, FINAL_SECONDS) == (300, 300)
    assert "tasks without checkpoints publish what they have every five minutes" in LINE
    assert "with exit code 75, after five minutes without success" in LINE
    assert SECONDS_BEFORE_RETRY == 10
    assert "At rest nothing is asked more often than every ten seconds" in LINE


def test_requests_are_those_of_the_code() -> None:
    assert f"one above {UPLOAD_PART >> 20} MiB one for each {UPLOAD_PART >> 20} MiB, and two" in LINE
    assert f"one for each file (each {PART_BYTES >> 20} MiB) that isn't in the cache" in LINE
    assert f"one listing request for each {LISTED:,} objects" in LINE


def test_speed_that_an_upload_needs_is_that_of_its_parts() -> None:
    assert (PARTS_AT_ONCE, PART_SECONDS) == (4, 240)
    speed = round(PARTS_AT_ONCE * UPLOAD_PART / PART_SECONDS / 1000)
    assert f"An upload needs at least {speed} kB/s: four parts of {UPLOAD_PART >> 20} MiB" in LINE
    assert "each must be answered within four minutes" in LINE


def test_amounts_follow_from_the_size_and_the_time_between_checkpoints() -> None:
    checkpoints = int(WEEK / SECONDS_BETWEEN_PUBLISHES)
    assert f"In a week that training writes {checkpoints:,} checkpoints, {checkpoints * 0.35:.0f} GB" in LINE
    kept = SECONDS_UNTIL_DELETION / SECONDS_BETWEEN_PUBLISHES
    [shown] = re.findall(r"has about (\d+) old ones", LINE)
    # the publish that lists a file, and the one that deletes it, are in addition to those of the hour
    assert kept + 2 <= int(shown) <= kept + 4
    assert f"about {shown} old ones ({int(shown) * 0.35:.0f} GB)" in LINE
