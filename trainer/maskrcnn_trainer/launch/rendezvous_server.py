"""Server of the rendezvous: Horovod's key-value store, with limits for what any process that reaches its port can do.

It imports Horovod, so it's imported by node 0 alone, and only for several processes.
"""

from __future__ import annotations

import http
import logging
import sys
from typing import Any

from horovod.runner.http.http_server import RendezvousHandler, RendezvousHTTPServer

log = logging.getLogger(__name__)

MOST_OTHER_BYTES = 65_536
"""Most bytes of a value, apart from the addresses of the processes."""
MOST_ADDRESS_BYTES = 1024
"""Most bytes of one address: Gloo's limit. Each process stores a value with one address for each other process."""


class LimitedRendezvousHandler(RendezvousHandler):
    """Handler of one request, which refuses values that are larger than those of a worker group."""

    server: LimitedRendezvousServer

    def do_PUT(self) -> None:  # noqa: N802 - named by http.server
        """Store a value."""
        length = self.headers["Content-Length"] or ""
        if not (length.isascii() and length.isdecimal()):
            self._refuse(http.HTTPStatus.LENGTH_REQUIRED)
        elif len(length) > len(str(self.server.most_bytes)) or int(length) > self.server.most_bytes:
            self._refuse(http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        else:
            super().do_PUT()

    def _refuse(self, status: http.HTTPStatus) -> None:
        # the value isn't read, so no other request can follow on this connection
        self.close_connection = True
        self.send_status_code(status)


class LimitedRendezvousServer(RendezvousHTTPServer):
    """Server whose end waits for no client.

    Attributes:
        most_bytes: size of the largest value that is stored.
    """

    # a client that sends a byte now and then would keep node 0 from publishing its results
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], processes: int) -> None:
        """Listen on an address.

        Args:
            address: host and port; port 0 for any free one.
            processes: number of processes of the worker group.

        Raises:
            OSError: this process cannot listen on the port.
        """
        super().__init__(address, LimitedRendezvousHandler, 0)
        self.most_bytes = MOST_OTHER_BYTES + processes * MOST_ADDRESS_BYTES

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what a request has failed with, in one line: a client that breaks off isn't an error of this process."""
        del request
        log.debug("A request of %s at the rendezvous has failed: %s", client_address, sys.exc_info()[1])
