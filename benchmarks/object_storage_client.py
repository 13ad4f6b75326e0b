"""Program of benchmarks/object_storage.py: read all objects of a prefix with the client, or by staging."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from maskrcnn_trainer.object_store.cache_owner import CacheOwner
from maskrcnn_trainer.object_store.client import Part, StoreClient, parts_of
from maskrcnn_trainer.object_store.connection import connection_for
from maskrcnn_trainer.object_store.exchange import ReadOutcome
from maskrcnn_trainer.object_store.needed_objects import objects_at
from maskrcnn_trainer.object_store.object_cache import ObjectCache
from maskrcnn_trainer.object_store.staging import link_staged, load_planned
from maskrcnn_trainer.object_store.staging_plan import plan_staging
from maskrcnn_trainer.shared.object_url import ObjectUrl
from maskrcnn_trainer.spec.object_stores import ObjectStoreSpec
from maskrcnn_trainer.spec.url_fields import InputKind

URL = ObjectUrl("s3", "bench", "images")


def fetch(client: StoreClient, target: Path) -> None:
    """Write all objects to files, without a cache."""

    def parts() -> Iterator[Part]:
        for info in client.list(URL.key):
            path = target / info.key
            path.parent.mkdir(parents=True, exist_ok=True)
            yield from parts_of(info, path)

    for part, outcome in client.fetch(parts()):
        if outcome is not ReadOutcome.DONE:
            sys.exit(f"{part.info.key}: {outcome.name}")


def stage(client: StoreClient, target: Path) -> None:
    """Load all objects into an empty cache, and link them."""
    with CacheOwner(target / "cache") as owner:
        cache = ObjectCache(target / "cache", owner)
        named = objects_at(URL, InputKind.DIRECTORY, client, "bench", field="imageDir")
        plan = plan_staging(named.objects, {}, {})
        outcome = load_planned(plan, client, cache)
        if outcome.changed or outcome.absent or link_staged(named.objects, cache, target / "linked"):
            sys.exit("objects are missing")


def main() -> None:
    """Carry out the part that the settings name."""
    settings = json.loads(sys.argv[1])
    store = ObjectStoreSpec(
        prefix="s3://bench", endpoint=settings["endpoint"], secret_dir=settings["secrets"], allow_http=True
    )
    target = Path(settings["target"])
    target.mkdir()
    with StoreClient(connection_for(URL, [store], {})) as client:
        {"fetch": fetch, "staging": stage}[settings["part"]](client, target)


if __name__ == "__main__":
    main()
