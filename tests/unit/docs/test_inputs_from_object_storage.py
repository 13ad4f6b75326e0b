"""docs/how-to/inputs-from-object-storage.md: keys, permissions, reasons, and numbers are those of the code.

tests/object_storage/test_how_to.py runs its commands.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_trainer.errors import EXIT_INVALID, EXIT_TRY_AGAIN, EXIT_WORKSPACE_FULL, CacheFull
from maskrcnn_trainer.object_store.client import PART_BYTES
from maskrcnn_trainer.object_store.exchange import CONCURRENCY
from maskrcnn_trainer.object_store.explanations import Operation, Reached, sentence
from maskrcnn_trainer.object_store.failures import Failure, FailureKind
from maskrcnn_trainer.object_store.helper_main import PAGE as LISTED
from maskrcnn_trainer.object_store.providers import PROVIDERS
from maskrcnn_trainer.object_store.retries import ObjectChanged, RetryPolicy
from maskrcnn_trainer.staging.plan import LARGEST_SHARE

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs" / "how-to" / "inputs-from-object-storage.md").read_text("utf-8")
LINE = " ".join(TEXT.split())


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table with a heading."""
    table = TEXT.split(f"\n{heading}\n")[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[1:]]


def test_table_has_the_keys_of_each_provider() -> None:
    table = rows("| URL | Keys of the Secret, one of the sets | What they must allow |")
    assert [scheme for scheme, _, _ in table] == [f"`{scheme}://`" for scheme in PROVIDERS]
    for (_, cell, _), provider in zip(table, PROVIDERS.values(), strict=True):
        named = re.findall(r"`([A-Z_]+)`", cell)
        assert named == [key for keys in (*provider.secret_keys, provider.optional_keys) for key in keys]


def test_permissions_are_those_that_a_refusal_names() -> None:
    for scheme, _, permissions in rows("| URL | Keys of the Secret, one of the sets | What they must allow |"):
        reached = Reached(scheme.strip("`:/"), "bucket")
        message = sentence(Failure(FailureKind.ANSWER, status=403), Operation.READ, "URL", reached)
        for name in re.findall(r"`([\w.:]+)`|\b(?:Storage [\w ]+\w)", permissions):
            assert re.search(rf"\b{re.escape(name)}\b", message), message


def test_policy_allows_what_a_refusal_names() -> None:
    [text] = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    statements = json.loads(text)["Statement"]
    message = sentence(Failure(FailureKind.ANSWER, status=403), Operation.READ, "URL", Reached("s3", "bucket"))
    resources = {statement["Action"]: statement["Resource"] for statement in statements}
    assert resources == {"s3:GetObject": "arn:aws:s3:::my-data/*", "s3:ListBucket": "arn:aws:s3:::my-data"}
    assert all(action in message for action in resources)


def test_reasons_and_exit_codes_are_those_of_the_code() -> None:
    table = {cells[0]: int(cells[1]) for cells in rows("| Reason | Exit code | Meaning | What to do |")}
    reasons = [name for cell in table for name in re.findall(r"`(\w+)`", cell)]
    # a step that ended with 64 has its task's own reason in its message
    tasks = "".join(path.read_text("utf-8") for path in (ROOT / "trainer").rglob("*.py"))
    own = set(re.findall(r'reason(?: = |=).*?"([A-Z]\w+)"', tasks))
    assert set(reasons) <= own | {reason.value for reason in Reason}
    assert table["`StoreRefused`"] == EXIT_INVALID
    assert table["`StoreUnavailable`"] == table["`InputChanged`"] == ObjectChanged.exit_code == EXIT_TRY_AGAIN
    assert table["`CacheFull`"] == CacheFull.exit_code == EXIT_WORKSPACE_FULL


def test_numbers_are_those_of_the_code() -> None:
    assert f"a request for each {LISTED:,} objects, and an object takes one for each {PART_BYTES >> 20} MiB" in LINE
    assert f"{CONCURRENCY} requests to a store are under way at once" in LINE
    assert f"at most {LARGEST_SHARE:.0%} of it" in LINE
    policy = RetryPolicy()
    assert (policy.limit, policy.limit_of_new_permission) == (300, 45)
    assert "tried again for five minutes" in LINE
    assert "after 45 seconds for a missing permission (403) or identity" in LINE
