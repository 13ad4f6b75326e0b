"""Limits of a training's worker group, for manifests and for the command line."""

from __future__ import annotations

MOST_NODES = 999
MOST_PROCESSES = 256
"""Per node."""
MOST_THREADS = 1024
"""Per process."""
