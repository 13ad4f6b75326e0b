"""Program of benchmarks/object_storage_staging.py: read all objects of a prefix with the client, or by staging."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from maskrcnn_trainer.object_store.client import Part, StoreClient, parts_of
from maskrcnn_trainer.object_store.connection import connection_for
from maskrcnn_trainer.object_store.exchange import ReadOutcome
from maskrcnn_trainer.shared.object_url import ObjectUrl
from maskrcnn_trainer.spec.object_stores import ObjectStoreSpec
from maskrcnn_trainer.spec.url_fields import InputKind
from maskrcnn_trainer.staging.display import StagingDisplay
from maskrcnn_trainer.staging.input_staging import InputStaging, StagingSettings
from maskrcnn_trainer.staging.work import UrlInput
from maskrcnn_trainer.task.staged_inputs import staged_path

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


def stage(stores: list[ObjectStoreSpec], target: Path) -> None:
    """Stage all objects as a task does, with an empty cache, and copy the links to the target."""
    settings = StagingSettings(stores, target / "cache", environment={})
    display = StagingDisplay()
    with InputStaging(settings, display) as staging:
        staging.stage([UrlInput(str(URL), InputKind.DIRECTORY, "imageDir")])
        Path(staged_path(str(URL))).rename(target / "staged")


def main() -> None:
    """Carry out the part that the settings name."""
    settings = json.loads(sys.argv[1])
    store = ObjectStoreSpec(
        prefix="s3://bench", endpoint=settings["endpoint"], secret_dir=settings["secrets"], allow_http=True
    )
    target = Path(settings["target"])
    target.mkdir()
    if settings["part"] == "staging":
        stage([store], target)
        return
    with StoreClient(connection_for(URL, [store], {})) as client:
        fetch(client, target)


if __name__ == "__main__":
    main()
