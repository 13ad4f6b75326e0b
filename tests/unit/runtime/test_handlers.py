"""What is heard of the cluster, and what is made of lists that come in place of a watch."""

from __future__ import annotations

from typing import Any

import kopf
import pytest

from maskrcnn_operator.cluster.cache import Cache, Key
from maskrcnn_operator.cluster.resources import EXPERIMENT_LABEL
from maskrcnn_operator.runtime.handlers import make_registry
from maskrcnn_operator.runtime.watching import watch_settings


class Ears:
    """The handlers of one operator, called as kopf calls them."""

    def __init__(self) -> None:
        self.cache, self.keys, self.cuts = Cache(), list[Key](), 0
        self.heard_of: set[str] = set()

        async def login() -> kopf.ConnectionInfo:
            raise AssertionError("nobody logs in here")

        self.registry = make_registry(self.cache, login, self.keys.append, self._cut, self.heard_of)

    async def hear(self, kind: str | None, item: dict[str, Any], handler: str = "job") -> None:
        found = {found.id.split(".")[-1]: found for found in self.registry._watching.get_all_handlers()}
        await found[handler].fn(event={"type": kind, "object": item})

    def _cut(self) -> None:
        self.cuts += 1


def job(version: int) -> dict[str, Any]:
    labels = {EXPERIMENT_LABEL: "nuclei", "maskrcnn.dev/step": "train", "maskrcnn.dev/attempt": "1"}
    metadata = {"name": "j", "namespace": "ns", "uid": "j-1", "resourceVersion": str(version), "labels": labels}
    return {"metadata": metadata, "spec": {}, "status": {}}


@pytest.fixture
def ears() -> Ears:
    return Ears()


async def test_the_first_list_is_no_sign_of_a_cut(ears: Ears) -> None:
    await ears.hear(None, job(5))
    assert (ears.keys, ears.cuts) == ([Key("ns", "nuclei")], 0)


@pytest.mark.parametrize("before", [None, "ADDED"])
async def test_a_list_of_what_was_heard_of_is_one(ears: Ears, before: str | None) -> None:
    await ears.hear(before, job(5))
    await ears.hear(None, job(5))
    assert (ears.keys, ears.cuts) == ([Key("ns", "nuclei")], 1)


async def test_what_is_deleted_is_forgotten(ears: Ears) -> None:
    await ears.hear("ADDED", job(5))
    await ears.hear("DELETED", job(9))
    assert ears.cache.jobs_of("ns", "nuclei") == []
    assert ears.keys == [Key("ns", "nuclei")] * 2
    assert ears.heard_of == set()


async def test_what_is_old_is_no_news(ears: Ears) -> None:
    await ears.hear("MODIFIED", job(9))
    await ears.hear("MODIFIED", job(5))
    assert ears.keys == [Key("ns", "nuclei")]


def test_kopf_does_nothing_but_watch(ears: Ears) -> None:
    settings = watch_settings()
    assert settings.posting.enabled is False
    assert settings.scanning.disabled is True
    assert not ears.registry._changing.get_all_handlers()
    assert not ears.registry._spawning.get_all_handlers()
    assert not ears.registry._webhooks.get_all_handlers()
    selectors = dict(settings.watching.label_selectors)
    assert set(selectors.values()) == {EXPERIMENT_LABEL}
    assert len(selectors) == 2


def test_waits_between_tries_never_end() -> None:
    backoffs = watch_settings().networking.error_backoffs
    assert not isinstance(backoffs, float)
    waits = [wait for wait, _ in zip(backoffs, range(100), strict=False)]
    assert len(waits) == 100
    assert max(waits) <= 3.0
    # every try begins with the shortest anew
    assert next(iter(backoffs)) == waits[0] < 1.0
