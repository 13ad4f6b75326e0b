"""Program of benchmarks/object_storage_files.py: claim a step, publish its files, add some, and publish again."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from maskrcnn_trainer.object_store.fence.records import OwnerIdentity
from maskrcnn_trainer.object_store.fence_store import open_fence_store
from maskrcnn_trainer.publishing.snapshot import Snapshots
from maskrcnn_trainer.publishing.step_claiming import StepIdentity
from maskrcnn_trainer.publishing.step_session import StepSession
from maskrcnn_trainer.shared.object_url import parse_url
from maskrcnn_trainer.spec.object_stores import local_stores
from maskrcnn_trainer.spec.store_config import read_store_config

FINGERPRINT = "0123456789abcdef0123456789abcdef-v1"
TOKEN = "0" * 32


def publish(session: StepSession, snapshots: Snapshots) -> float:
    """Publish what is in the directory, and return the seconds that it took."""
    began = time.perf_counter()
    snapshot = snapshots.take(session.known)
    session.publish(snapshot)
    snapshots.remove(snapshot)
    return time.perf_counter() - began


def main() -> None:
    """Carry out the settings, and print the seconds of the second set."""
    settings = json.loads(sys.argv[1])
    results = Path(settings["results"])
    identity = StepIdentity(
        experiment=settings["experiment"],
        step=results.name,
        owner=OwnerIdentity("benchmark", "", settings["experiment"]),
        created="2026-01-31T12:00:00Z",
        uid="c2e7a0ce-5f0f-4b0c-8a63-0f6a3c6f3f11",
        attempt=1,
        fingerprint=FINGERPRINT,
        take_over_from=None,
    )
    stores = local_stores((), read_store_config(Path(settings["config"])))
    snapshots = Snapshots(results, FINGERPRINT)
    with open_fence_store(parse_url(settings["url"], "url"), stores, {}) as store:
        session = StepSession(store, identity, token=TOKEN)
        session.claim()
        publish(session, snapshots)
        more = Path(settings["more"])
        for path in [path for path in more.rglob("*") if path.is_file()]:
            path.rename(results / path.relative_to(more))
        print(json.dumps({"addedSeconds": publish(session, snapshots)}))
    snapshots.clear()


if __name__ == "__main__":
    main()
