"""Experiment that is being reconciled, for log lines."""

from __future__ import annotations

from contextvars import ContextVar

EXPERIMENT: ContextVar[str] = ContextVar("experiment", default="")
"""``namespace/name``; empty outside of a reconciliation."""
