"""Limits of the worker group of a training, for the manifest of an experiment and for the command line."""

from __future__ import annotations

MOST_NODES = 999
MOST_PROCESSES = 256
"""Of one node."""
MOST_THREADS = 1024
"""Of one process."""
