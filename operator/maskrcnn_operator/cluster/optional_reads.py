"""Reads of objects without which steps only wait: what can't be read is unknown, and stops nothing else."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from maskrcnn_operator.cluster.answers import UNDECODABLE
from maskrcnn_operator.cluster.cache import OnUnreadable
from maskrcnn_operator.cluster.client import Client
from maskrcnn_operator.cluster.errors import ApiError, TooManyRequests
from maskrcnn_operator.cluster.resources import Object, Resource

log = logging.getLogger(__name__)

T = TypeVar("T")

UNKNOWN_SECONDS = 30.0
"""Seconds for which an object that is absent, refused, or malformed isn't read again. It equals the time after which an
experiment looks again, so that many experiments that need one object make as many calls as one."""
FAILED_READ_SECONDS = 10.0
"""The same after a read that failed, which may pass at any time; an experiment looks again after it, too."""


@dataclass(frozen=True)
class OptionalRead(Generic[T]):
    """Result of a read.

    Attributes:
        value: what the object has; None if it isn't known.
        has_failed: the read failed, other than by a refusal, so that another may succeed.
    """

    value: T | None
    has_failed: bool = False

    @property
    def unknown_seconds(self) -> float:
        """Return the seconds for which an unknown value isn't read again."""
        return FAILED_READ_SECONDS if self.has_failed else UNKNOWN_SECONDS


async def read_optional(
    client: Client,
    resource: Resource,
    namespace: str | None,
    name: str,
    value_of: Callable[[Object], T],
    *,
    on_unreadable: OnUnreadable,
) -> OptionalRead[T]:
    """Read an object.

    Args:
        client: of the API server.
        resource: kind of the object.
        namespace: of the object; None for one of the cluster.
        name: of the object.
        value_of: returns what is needed of it; raises ValueError if it is malformed.
        on_unreadable: called if it is malformed.

    Raises:
        TooManyRequests: the API server accepts no calls now. The next try follows as soon as it does.
    """
    try:
        return OptionalRead(value_of(await client.get(resource, namespace, name)))
    except TooManyRequests:
        raise
    except ApiError as error:
        if error.reason != UNDECODABLE:
            has_failed = error.status not in (403, 404)
            if has_failed:
                path = f"{namespace}/{name}" if namespace else name
                log.warning("Could not read %s %s; steps that need it wait: %s", resource.plural, path, error)
            return OptionalRead(None, has_failed)
        on_unreadable(resource, namespace or "", name, error)
    except ValueError as error:
        on_unreadable(resource, namespace or "", name, error)
    return OptionalRead(None)
