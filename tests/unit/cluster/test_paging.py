"""Pages of a list: the size of each, and pages that are too large or cannot be decoded."""

from __future__ import annotations

from typing import Any

import pytest

from maskrcnn_operator.cluster.answers import UNDECODABLE
from maskrcnn_operator.cluster.errors import ApiError
from maskrcnn_operator.cluster.paging import (
    FIRST_PAGE,
    LARGEST_PAGE,
    METADATA_ONLY,
    MOST_BYTES,
    PAGE_BYTES,
    TOO_LARGE,
    Answer,
    Request,
    next_limit,
    read_pages,
    version_of,
)


class Server:
    """Server of objects by name, each with a size; those in ``deep`` cannot be decoded."""

    def __init__(self, sizes: dict[str, int], deep: frozenset[str] = frozenset()) -> None:
        self.sizes, self.deep = sizes, deep
        self.requests: list[Request] = []

    async def read(self, request: Request) -> Answer:
        self.requests.append(request)
        names = list(self.sizes) if request.only is None else [name for name in self.sizes if name == request.only[1]]
        start = int(request.position or 0)
        names, rest = names[start : start + request.limit], names[start + request.limit :]
        if request.metadata_only:
            size = len(names) * 100
        else:
            size = sum(self.sizes[name] for name in names)
            if request.most_bytes is not None and size > request.most_bytes:
                raise ApiError(200, TOO_LARGE, "too large")
            if self.deep & set(names):
                raise ApiError(200, UNDECODABLE, "RecursionError")
        kind = METADATA_ONLY if request.metadata_only else "Thing"
        items = [{"kind": kind, "metadata": {"name": name, "namespace": "ns", "uid": name}} for name in names]
        more = {"continue": str(start + request.limit)} if rest else {}
        return Answer({"metadata": {"resourceVersion": "7", **more}, "items": items}, size)

    async def items(self, **request: Any) -> list[dict[str, Any]]:
        pages = [page async for page in read_pages(self.read, Request(**{"limit": FIRST_PAGE, **request}))]
        assert {page.version for page in pages} == {7}
        return [item for page in pages for item in page.items]


def names(items: list[dict[str, Any]]) -> list[str]:
    return [item["metadata"]["name"] for item in items]


async def test_pages_of_small_objects_grow_to_the_largest() -> None:
    server = Server({f"e{number}": 2_000 for number in range(300)})
    assert len(await server.items()) == 300
    assert [request.limit for request in server.requests] == [FIRST_PAGE, LARGEST_PAGE, LARGEST_PAGE]


async def test_pages_of_large_objects_shrink() -> None:
    server = Server({f"e{number}": 1_400_000 for number in range(20)})
    assert len(await server.items()) == 20
    assert [request.limit for request in server.requests] == [FIRST_PAGE, 2, 2, 2, 2, 2]


async def test_large_objects_after_small_ones_are_read_in_a_shorter_page() -> None:
    """A tenant chooses the names, and so the order: the next page may have other sizes than the previous one."""
    sizes = {f"a{number}": 1_000 for number in range(10)} | {f"b{number}": 1_400_000 for number in range(200)}
    server = Server(sizes)
    assert names(await server.items()) == list(sizes)
    assert [request.limit for request in server.requests[:5]] == [FIRST_PAGE, 200, 50, 12, 3]
    read = [request for request in server.requests if request.limit > 1]
    assert all(request.most_bytes == MOST_BYTES for request in read)


async def test_single_object_is_read_whatever_its_size() -> None:
    server = Server({"e0": MOST_BYTES + 1})
    assert names(await server.items()) == ["e0"]


async def test_page_with_an_undecodable_object_is_read_one_at_a_time() -> None:
    server = Server({f"e{number}": 2_000 for number in range(25)}, deep=frozenset({"e3", "e12"}))
    items = await server.items()
    assert names(items) == list(server.sizes)
    assert names([item for item in items if item["kind"] == METADATA_ONLY]) == ["e3", "e12"]
    # pages without such an object are not split
    assert [request.only for request in server.requests if request.only] == [("ns", f"e{n}") for n in range(20)]


async def test_object_that_vanishes_while_its_page_is_taken_apart_is_left_out() -> None:
    server = Server({f"e{number}": 2_000 for number in range(3)}, deep=frozenset({"e0"}))
    read = server.read

    async def without(request: Request) -> Answer:
        if request.only == ("ns", "e1"):
            return Answer({"metadata": {"resourceVersion": "7"}, "items": []}, 10)
        return await read(request)

    server.read = without  # type: ignore[method-assign]
    assert names(await server.items()) == ["e0", "e2"]


async def test_one_undecodable_object_is_found_with_its_metadata() -> None:
    server = Server({"e0": 2_000}, deep=frozenset({"e0"}))
    (item,) = await server.items(limit=1, only=("ns", "e0"))
    assert item["kind"] == METADATA_ONLY


@pytest.mark.parametrize("status", [403, 410, 500])
async def test_other_errors_are_raised(status: int) -> None:
    async def read(_: Request) -> Answer:
        raise ApiError(status, "Word", "no")

    with pytest.raises(ApiError, match="Word"):
        await anext(read_pages(read, Request(1)))


@pytest.mark.parametrize(
    "body", [{}, [], "text", None, {"metadata": {}, "items": {"a": 1}}, {"metadata": None, "items": []}]
)
async def test_body_that_is_not_a_list_is_an_error(body: Any) -> None:
    async def read(_: Request) -> Answer:
        return Answer(body, 10)

    with pytest.raises(ApiError, match=UNDECODABLE):
        await anext(read_pages(read, Request(1)))


async def test_items_without_identity_are_left_out() -> None:
    fine = {"metadata": {"name": "fine", "uid": "1"}}
    items = [None, 1, {}, {"metadata": None}, {"metadata": {"name": "x"}}, {"metadata": {"name": "x", "uid": 5}}, fine]

    async def read(_: Request) -> Answer:
        return Answer({"metadata": {}, "items": items}, 10)

    assert (await anext(read_pages(read, Request(1)))).items == [fine]


def test_next_limit_stays_within_its_bounds() -> None:
    assert next_limit(10, 10) == LARGEST_PAGE
    assert next_limit(10, 10 * PAGE_BYTES) == 1
    assert next_limit(1, 100 * PAGE_BYTES) == 1
    assert next_limit(0, 0) == FIRST_PAGE
    assert next_limit(100, PAGE_BYTES) == 100


@pytest.mark.parametrize(
    ("metadata", "version"),
    [
        ({"resourceVersion": "12"}, 12),
        ({"resourceVersion": ""}, 0),
        ({"resourceVersion": "x"}, 0),
        ({"resourceVersion": 12}, 0),
        ({"resourceVersion": "9" * 5000}, 0),
        ({}, 0),
        (None, 0),
    ],
)
def test_version_of_anything(metadata: Any, version: int) -> None:
    assert version_of(metadata) == version
