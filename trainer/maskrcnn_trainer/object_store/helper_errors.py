"""Errors by which an operation of the helper process ends; each becomes an answer."""

from __future__ import annotations

from maskrcnn_trainer.object_store.failures import Failure


class Failed(Exception):
    """A request that failed, with its facts."""

    def __init__(self, failure: Failure) -> None:
        super().__init__()
        self.failure = failure


class LocalFailure(Exception):
    """An error of the file system of this machine."""

    def __init__(self, error: OSError, path: str) -> None:
        super().__init__()
        self.number, self.path = error.errno or 0, path
