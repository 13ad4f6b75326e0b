"""Thin asynchronous client that adds paths, rate limit, timeouts, and errors to the official client's connection.

Objects are plain JSON values. The official client's model classes are not used: converting one Job to these pydantic
models takes longer than all other work for it, and there is no model of the custom resource.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, Protocol
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client import ApiClient, ApiException
from kubernetes.aio.config import ConfigException

from maskrcnn_operator.api.base import API_VERSION, KIND
from maskrcnn_operator.cluster.answers import decoded, retry_seconds
from maskrcnn_operator.cluster.budget import CallBudget, CallPurpose
from maskrcnn_operator.cluster.errors import ApiError, api_error
from maskrcnn_operator.cluster.paging import FIRST_PAGE, TOO_LARGE, Answer, Page, Request, read_pages
from maskrcnn_operator.cluster.resources import EXPERIMENTS, OBJECT_EVENTS, TOKEN_REVIEWS, Object, Resource

STATUS_MANAGER = "maskrcnn-operator"
"""Field manager of the status."""
PROGRESS_MANAGER = "maskrcnn-operator-progress"
"""Field manager of ``status.progress``."""
CONDITIONS_MANAGER = "maskrcnn-operator-conditions"
"""Field manager of conditions that are written alone because the whole status is rejected or cannot be read."""

REQUEST_TIMEOUT = 15.0
MOST_EVENTS = 500
"""Most events of one object that are read. Repeated events are one object, and each expires after an hour."""
MOST_EVENT_BYTES = 2**21

_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_JSON = "application/json"
_METADATA_ALONE = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

_WITH_AN_OBJECT = frozenset({"POST", "PUT", "PATCH"})
_NO_WARNINGS = {"fieldValidation": "Ignore"}
"""Without it the API server parses each object twice, for a warning on unknown fields that the client ignores."""

OnCall = Callable[[str, str, int, float], None]
"""Called after every call: verb, resource (plural), HTTP status (0: none), duration in seconds."""

Propagation = Literal["Foreground", "Background"]


class Limit(Protocol):
    """Rate limiter."""

    async def acquire(self, purpose: CallPurpose) -> None:
        """Wait until one more call of ``purpose`` may be made."""

    def hold_back(self, seconds: float) -> None:
        """Make no call for this many seconds."""


class Client:
    """Client of the API server with the calls that the operator needs. All methods raise :class:`ApiError`.

    Args:
        api: connection of the official client; see :func:`maskrcnn_operator.cluster.connection.connect`.
        limit: rate limiter that every call waits for.
        on_call: see :data:`OnCall`.
    """

    def __init__(
        self,
        api: ApiClient,
        *,
        limit: Limit | None = None,
        on_call: OnCall | None = None,
    ) -> None:
        self._api, self._on_call = api, on_call
        self._limit: Limit = limit or CallBudget(qps=50.0, burst=100)

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()  # type: ignore[no-untyped-call] # the client has few types

    async def get(
        self, resource: Resource, namespace: str | None, name: str, *, purpose: CallPurpose = CallPurpose.RECONCILE
    ) -> Object:
        """Return one object."""
        return await self._call("GET", "get", resource, resource.path(namespace, name), purpose=purpose)

    async def list(
        self, resource: Resource, namespace: str | None = None, *, page_size: int = FIRST_PAGE
    ) -> AsyncIterator[Page]:
        """Yield all objects of a kind, page by page; at least one page.

        Args:
            resource: kind of the objects.
            namespace: None for all namespaces.
            page_size: number of objects of the first page.

        Raises:
            Gone: the list took so long that the API server no longer has its version; start again.
        """
        async for page in read_pages(partial(self._page, resource, namespace), Request(page_size)):
            yield page

    async def list_metadata(self, resource: Resource, namespace: str | None = None) -> AsyncIterator[Page]:
        """Yield the metadata of all objects, in pages as :meth:`list`."""
        request = Request(FIRST_PAGE, metadata_only=True)
        async for page in read_pages(partial(self._page, resource, namespace), request):
            yield page

    async def find(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """Return one object, read by a list, so that permission to list is enough; None if it does not exist."""
        async for page in read_pages(partial(self._page, resource, namespace), Request(1, only=(namespace, name))):
            for item in page.items:
                return item
        return None

    async def events_about(self, namespace: str, uid: str) -> Sequence[object]:
        """Return the events about the object of that uid, at most :data:`MOST_EVENTS`."""
        answer = await self._call(
            "GET",
            "list",
            OBJECT_EVENTS,
            OBJECT_EVENTS.path(namespace),
            query={"fieldSelector": f"involvedObject.uid={uid}", "limit": str(MOST_EVENTS)},
            purpose=CallPurpose.DIAGNOSIS,
            most_bytes=MOST_EVENT_BYTES,
        )
        return answer["items"] or ()

    async def create(
        self,
        resource: Resource,
        namespace: str | None,
        body: Mapping[str, Any],
        *,
        purpose: CallPurpose = CallPurpose.RECONCILE,
    ) -> Object:
        """Create an object and return it; raise Conflict if one of that name exists."""
        return await self._call("POST", "create", resource, resource.path(namespace), body=body, purpose=purpose)

    async def replace(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Mapping[str, Any],
        *,
        purpose: CallPurpose = CallPurpose.RECONCILE,
    ) -> Object:
        """Replace the object; raise Conflict if it has changed since the resourceVersion in ``body``."""
        return await self._call("PUT", "update", resource, resource.path(namespace, name), body=body, purpose=purpose)

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        uid: str,
        resource_version: str | None = None,
        propagation: Propagation = "Foreground",
    ) -> Object | None:
        """Delete an object; return it if it still exists after that, such as with a finalizer, else None.

        Args:
            resource: kind of the object.
            namespace: its namespace.
            name: its name.
            uid: delete the object only if it has this uid.
            resource_version: delete it only if it has this version; None for any.
            propagation: Foreground deletes the objects that it owns before it, Background after it.

        Raises:
            NotFound: it does not exist.
            Conflict: the object of that name has another uid, or has changed since ``resource_version``.
        """
        preconditions = {"uid": uid, **({"resourceVersion": resource_version} if resource_version else {})}
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": propagation,
            "preconditions": preconditions,
        }
        answer = await self._call("DELETE", "delete", resource, resource.path(namespace, name), body=options)
        return None if answer.get("kind") == "Status" else answer

    async def apply_status(
        self, namespace: str, name: str, status: Mapping[str, Any], resource_version: str | int
    ) -> Object:
        """Apply an experiment's status, except progress, server-side; return only the object's metadata.

        Raises:
            Conflict: the experiment has changed since ``resource_version``, so the status may be outdated.
        """
        body = _applied(namespace, name, {"status": dict(status)})
        # without it, a forced apply of an outdated status could set a succeeded step back to running
        body["metadata"]["resourceVersion"] = str(resource_version)
        # only metadata is needed: the rest equals what was sent, since the version did not change in between
        return await self._apply(namespace, name, body, STATUS_MANAGER, accept=_METADATA_ALONE)

    async def patch_conditions(
        self,
        namespace: str,
        name: str,
        conditions: Sequence[Mapping[str, Any]],
        resource_version: str | int,
        *,
        metadata_only: bool = False,
    ) -> Object:
        """Replace only ``status.conditions`` by a JSON merge patch; return the object, or only its metadata.

        The whole list is replaced, so ``conditions`` must include those of other writers.

        Raises:
            Conflict: the experiment has changed since ``resource_version``, so the list may lack a new condition.
        """
        body = {
            "metadata": {"resourceVersion": str(resource_version)},
            "status": {"conditions": [dict(condition) for condition in conditions]},
        }
        return await self._call(
            "PATCH",
            "patch",
            EXPERIMENTS,
            EXPERIMENTS.path(namespace, name, "status"),
            body=body,
            query={"fieldManager": CONDITIONS_MANAGER},
            content_type=_MERGE,
            accept=_METADATA_ALONE if metadata_only else _JSON,
        )

    async def apply_progress(self, namespace: str, name: str, progress: Mapping[str, Any] | None) -> Object:
        """Apply ``status.progress`` server-side with its own field manager; None removes it."""
        status = {"status": {"progress": dict(progress)}} if progress is not None else {}
        body = _applied(namespace, name, status)
        return await self._apply(namespace, name, body, PROGRESS_MANAGER, purpose=CallPurpose.PROGRESS)

    async def token_review(self, token: str, audience: str) -> Object:
        """Create a TokenReview and return its ``status``: authenticated, user, audiences, error."""
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        }
        path = TOKEN_REVIEWS.path()
        answer = await self._call("POST", "create", TOKEN_REVIEWS, path, body=review, purpose=CallPurpose.REVIEW)
        status: Object = answer.get("status") or {}
        return status

    async def _page(self, resource: Resource, namespace: str | None, request: Request) -> Answer:
        query = {"limit": str(request.limit)}
        if request.position:
            query["continue"] = request.position
        if resource.selector:
            query["labelSelector"] = resource.selector
        if request.only is not None:
            namespace, name = request.only
            query["fieldSelector"] = f"metadata.name={name}"
        sizes: list[int] = []
        body = await self._call(
            "GET",
            "list",
            resource,
            resource.path(namespace),
            query=query,
            accept=_METADATA_LIST if request.metadata_only else _JSON,
            purpose=CallPurpose.LIST,
            most_bytes=request.most_bytes,
            on_size=sizes.append,
        )
        return Answer(body, sum(sizes))

    async def _apply(
        self,
        namespace: str,
        name: str,
        body: Object,
        manager: str,
        *,
        accept: str = _JSON,
        purpose: CallPurpose = CallPurpose.RECONCILE,
    ) -> Object:
        return await self._call(
            "PATCH",
            "patch",
            EXPERIMENTS,
            EXPERIMENTS.path(namespace, name, "status"),
            body=body,
            query={"fieldManager": manager, "force": "true"},
            content_type=_APPLY,
            accept=accept,
            purpose=purpose,
        )

    async def _call(
        self,
        method: str,
        verb: str,
        resource: Resource,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        content_type: str = _JSON,
        accept: str = _JSON,
        purpose: CallPurpose = CallPurpose.RECONCILE,
        most_bytes: int | None = None,
        on_size: Callable[[int], None] | None = None,
    ) -> Object:
        headers = {"Accept": accept, "Content-Type": content_type, "User-Agent": STATUS_MANAGER}
        await self._limit.acquire(purpose)
        started, status = time.monotonic(), 0
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                status, text, retry_after = await self._exchange(
                    method, path, query, body, headers, most_bytes=most_bytes
                )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise api_error(0, type(error).__name__, str(error) or f"{method} {path}") from error
        finally:
            if self._on_call is not None:
                self._on_call(verb, resource.plural, status, time.monotonic() - started)
        if status < 400:
            if on_size is not None:
                on_size(len(text))
            return decoded(status, text, verb, resource, metadata_only=accept in (_METADATA_ALONE, _METADATA_LIST))
        refused = _error_of(status, text, retry_after)
        if status == 429:
            self._limit.hold_back(refused.retry_after or 1.0)
        raise refused

    async def _exchange(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
        headers: dict[str, str],
        *,
        most_bytes: int | None,
    ) -> tuple[int, bytes, float | None]:
        if method in _WITH_AN_OBJECT:
            query = {**(query or {}), **_NO_WARNINGS}
        url = self._api.configuration.host + path + (f"?{urlencode(query)}" if query else "")
        try:
            # this reads the token file again; an empty or damaged file raises ConfigException or ValueError
            await self._api.update_params_for_auth(headers, None, ["BearerToken"], path, method, None)
            answer = await self._api.call_api(
                method, url, header_params=headers, body=body, _request_timeout=REQUEST_TIMEOUT
            )
            if most_bytes is not None and answer.status < 400:
                text = await _read_bounded(answer.response, most_bytes)
            else:
                text = await answer.read()  # type: ignore[no-untyped-call] # the client has few types
        except (ApiException, ConfigException, ValueError) as error:
            raise aiohttp.ClientError(str(error)) from error
        return answer.status, text, retry_seconds(answer.headers.get("Retry-After"))


async def _read_bounded(response: aiohttp.ClientResponse, most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > most:
            response.close()
            raise api_error(response.status, TOO_LARGE, f"the response is larger than {most} bytes")
        parts.append(part)
    response.release()
    return b"".join(parts)


def _applied(namespace: str, name: str, content: Mapping[str, Any]) -> Object:
    metadata: Object = {"namespace": namespace, "name": name}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, **content}


def _error_of(status: int, text: bytes, retry_after: float | None) -> ApiError:
    try:
        answer = json.loads(text)
        reason, message = str(answer.get("reason") or ""), str(answer.get("message") or "")
        asked = retry_seconds((answer.get("details") or {}).get("retryAfterSeconds"))
    except (ValueError, AttributeError, RecursionError):
        reason, message, asked = "", text[:200].decode("utf-8", "replace"), None
    return api_error(status, reason or "Error", message, retry_after if retry_after is not None else asked)
