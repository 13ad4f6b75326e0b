"""File names of the shards of a data set."""

from __future__ import annotations

import re

SHARD = re.compile(r"(?P<tag>.+)-(?P<shard>\d{5})-of-(?P<total>\d{5})(?P<suffix>\.[^/]*)?")
"""Shard of any data set; a conversion writes the suffix ``.tfrecord``, other programs may write another or none."""


def shard_name(tag: str, shard: int, num_shards: int) -> str:
    """Return the file name of a shard, such as ``train-00000-of-00256.tfrecord``; shards count from 0."""
    return f"{tag}-{shard:05d}-of-{num_shards:05d}.tfrecord"
