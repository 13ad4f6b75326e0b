"""Posts of a task whose results are published by a launcher."""

from __future__ import annotations

import json
import queue
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from maskrcnn_trainer.task import posting
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.posting import HttpPoster
from maskrcnn_trainer.task.publication import LaunchPublication, TaskPublication

pytestmark = pytest.mark.timeout(60)
PATIENCE_SECONDS = 20.0
MOMENT_SECONDS = 0.5


class Server:
    """Report server.

    Attributes:
        posts: bodies of the posts.
        statuses: answers to the next posts; then 200.
    """

    def __init__(self) -> None:
        self.posts: queue.Queue[dict[str, Any]] = queue.Queue()
        self.statuses: list[int] = []
        self.url = ""

    def post(self) -> dict[str, Any]:
        """Return the next post."""
        return self.posts.get(timeout=PATIENCE_SECONDS)


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(found.statuses.pop(0) if found.statuses else 200)
            self.end_headers()
            found.posts.put(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    found.url = f"http://127.0.0.1:{http.server_port}/report"
    yield found
    http.shutdown()
    http.server_close()


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


class Task:
    """Task whose checkpoints a launcher publishes."""

    def __init__(self, server: Server, launch_end: socket.socket, task_end: socket.socket) -> None:
        self.clock = Clock()
        self.launch = LaunchPublication(launch_end, task_end)
        self.publication = TaskPublication(task_end, clock=self.clock)
        environment = TaskEnvironment(report_url=server.url)
        self.poster = HttpPoster(environment, interval=0.0, publication=self.publication).start()


@pytest.fixture
def task(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Task]:
    monkeypatch.setattr(posting, "SECONDS_BETWEEN_CHECKS", 0.02)
    launch_end, task_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with launch_end, task_end:
        found = Task(server, launch_end, task_end)
        yield found
        found.poster.close(PATIENCE_SECONDS)


def test_post_has_the_seconds_for_which_a_checkpoint_waits(server: Server, task: Task) -> None:
    task.publication.completed(20)
    task.clock.seconds += 120.9
    task.poster.offer({"step": 25})
    assert server.post() == {"step": 25, "unpublishedSeconds": 120}


def test_usual_time_of_a_publish_is_not_posted(server: Server, task: Task) -> None:
    task.publication.completed(20)
    task.clock.seconds += 119.9
    task.poster.offer({"step": 25})
    assert server.post() == {"step": 25}


def test_last_record_is_posted_again_once_a_checkpoint_waits_longer_than_usual(server: Server, task: Task) -> None:
    task.publication.completed(20)
    task.poster.offer({"step": 20})
    assert server.post() == {"step": 20}
    task.clock.seconds += 120
    assert server.post() == {"step": 20, "unpublishedSeconds": 120}


def test_last_record_is_posted_again_once_its_checkpoint_is_published(server: Server, task: Task) -> None:
    task.publication.completed(20)
    task.clock.seconds += 120
    task.poster.offer({"step": 20})
    assert server.post() == {"step": 20, "unpublishedSeconds": 120}
    task.launch.published(20)
    assert server.post() == {"step": 20, "checkpointStep": 20}


def test_last_record_is_posted_again_until_the_server_has_accepted_the_publish(server: Server, task: Task) -> None:
    task.poster.offer({"step": 20})
    server.post()
    server.statuses = [503]
    task.launch.published(20)
    assert [server.post(), server.post()] == [{"step": 20, "checkpointStep": 20}] * 2


def test_nothing_is_posted_again_while_a_checkpoint_only_waits_longer(server: Server, task: Task) -> None:
    task.publication.completed(20)
    task.clock.seconds += 120
    task.poster.offer({"step": 20})
    server.post()
    task.clock.seconds += 3600
    with pytest.raises(queue.Empty):
        server.posts.get(timeout=MOMENT_SECONDS)


def test_nothing_is_posted_before_the_first_record(server: Server, task: Task) -> None:
    task.launch.published(20)
    with pytest.raises(queue.Empty):
        server.posts.get(timeout=MOMENT_SECONDS)
