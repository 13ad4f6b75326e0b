"""What the dashboard's picture and the tests ask of a Prometheus, over its HTTP API."""

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
    """It does not answer, or refuses the query; the message is its own."""


@dataclass(frozen=True)
class Series:
    """One series of an answer: its labels, and times (seconds since 1970) with values."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]


class Prometheus:
    """A client of one server.

    Args:
        url: such as ``http://127.0.0.1:9090``.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def instant(self, query: str, at: float | None = None) -> list[Series]:
        """The value of every series now, or at a time."""
        found = self.get("query", {"query": query, **({"time": at} if at is not None else {})})
        if found["resultType"] == "scalar":
            return [Series({}, (_point(found["result"]),))]
        return [Series(item["metric"], (_point(item["value"]),)) for item in found["result"]]

    def range(self, query: str, start: float, end: float, step: float) -> list[Series]:
        """The values of every series over a time."""
        found = self.get("query_range", {"query": query, "start": start, "end": end, "step": step})
        return [Series(item["metric"], tuple(map(_point, item["values"]))) for item in found["result"]]

    def label_values(self, selector: str, label: str) -> list[str]:
        """The values that a label has on series of a selector."""
        found: list[str] = self.get(f"label/{label}/values", {"match[]": selector})
        return found

    def get(self, path: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """The ``data`` of an answer of ``/api/v1/PATH``.

        Raises:
            PrometheusError: there is none.
        """
        address = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(arguments or {})}"
        try:
            with urllib.request.urlopen(address, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - what the user names
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise PrometheusError(f"{path} {dict(arguments or {})}: {error.code} {error.read().decode()}") from error
        except OSError as error:
            raise PrometheusError(f"{self.url} does not answer: {error}") from error


def _point(value: list[Any]) -> tuple[float, float]:
    return float(value[0]), float(value[1])
