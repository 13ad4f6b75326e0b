"""Requests in the log of the benchmark's server."""

from __future__ import annotations

from object_storage_server import Served, served_in

LOG = """log starts 2026-11-30 04:29:14.448851007 +0000 UTC m=+0.082563062
benchmark bench [30/November/2026:04:29:22 +0000] 127.0.0.1 benchmark EG4X s3_GetObject a/owner.json /bench/a 404 -
benchmark bench [30/November/2026:04:29:24 +0000] 127.0.0.1 benchmark C6W8 s3_ListObjectsV2 - /bench?prefix=a 200 -
"""


def test_requests_have_operation_key_and_time() -> None:
    first, second = served_in(LOG)
    assert first == Served("GetObject", "a/owner.json", second.second - 2)
    assert (second.operation, second.key) == ("ListObjectsV2", "-")
