"""Client of Prometheus' HTTP API, for the dashboard's picture and the tests."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TIMEOUT_SECONDS = 30.0


class PrometheusError(Exception):
    """Error of a Prometheus server that doesn't respond, or that refuses a query with the given message."""


@dataclass(frozen=True)
class Series:
    """One series of a result: its labels, and times (seconds since 1970) with values."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]


class Prometheus:
    """Client of one server.

    Args:
        url: URL of the server, such as ``http://127.0.0.1:9090``.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def instant(self, query: str, at: float | None = None) -> list[Series]:
        """Return the value of every series now, or at a time."""
        found = self.get("query", {"query": query, **({"time": at} if at is not None else {})})
        if found["resultType"] == "scalar":
            return [Series({}, (_point(found["result"]),))]
        return [Series(item["metric"], (_point(item["value"]),)) for item in found["result"]]

    def range(self, query: str, start: float, end: float, step: float) -> list[Series]:
        """Return the values of every series in a time range."""
        found = self.get("query_range", {"query": query, "start": start, "end": end, "step": step})
        return [Series(item["metric"], tuple(map(_point, item["values"]))) for item in found["result"]]

    def label_values(self, selector: str, label: str) -> list[str]:
        """Return the values of a label on the series of a selector."""
        found: list[str] = self.get(f"label/{label}/values", {"match[]": selector})
        return found

    def get(self, path: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """Return the ``data`` of a response of ``/api/v1/PATH``.

        Raises:
            PrometheusError: the server doesn't respond, or refuses the query.
        """
        address = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(arguments or {})}"
        try:
            with urllib.request.urlopen(address, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - the user gives the URL
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise PrometheusError(f"{path} {dict(arguments or {})}: {error.code} {error.read().decode()}") from error
        except OSError as error:
            raise PrometheusError(f"{self.url} doesn't respond: {error}") from error


def _point(value: list[Any]) -> tuple[float, float]:
    return float(value[0]), float(value[1])
