"""Program of the helper process of one store, the only place that uses the library for object storage.

The library has threads of its own and hangs in a child that is forked after its use; so it is never imported in a
process that may fork. Requests arrive as frames on standard input, which is a socket, and are answered there. Bytes of
objects don't pass through it: they are written to files.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskrcnn_trainer.object_store.failures import UNUSABLE, Failure, FailureKind, failure_of
from maskrcnn_trainer.object_store.frames import BrokenFrame, FrameReader, Message, encoded
from maskrcnn_trainer.object_store.helper_errors import Failed, LocalFailure
from maskrcnn_trainer.object_store.helper_heartbeat import Heartbeat
from maskrcnn_trainer.object_store.helper_writes import (
    UploadRoom,
    delete_one,
    put_small,
    read_small,
    sign_link,
    upload_file,
)
from maskrcnn_trainer.object_store.secret_files import UnusableSecret, read_secret

if TYPE_CHECKING:
    from maskrcnn_trainer.object_store.helper_writes import Store

CHUNK = 1024 * 1024
PAGE = 1000
_RECEIVED = 256 * 1024
_TRIES_OF_A_PART = 5
_TOKEN_CODES = (
    "ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidAuthenticationInfo",
    "XAdminUserNotFound",  # versitygw: an unknown key ID, with status 404
)  # fmt: skip


class ReachedStore:
    """Store of the library, made again when its secret has changed.

    Args:
        settings: message that opens the helper.
    """

    def __init__(self, settings: Message) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._secret = self._read_secret()
        self.store = self._made()
        self._uploading: Store | None = None

    @property
    def uploading(self) -> Store:
        """Return the same store for uploads: parts are sent again by the library, and have more time."""
        with self._lock:
            if self._uploading is None:
                self._uploading = self._made(uploads=True)
            return self._uploading

    def changed(self, used: Store) -> bool:
        """Return whether the secret has changed since a store was made from it, after making a new one."""
        with self._lock:
            if self.store is not used:
                return True
            secret = self._read_secret()
            if secret == self._secret:
                return False
            self._secret = secret
            self.store, self._uploading = self._made(), None
            return True

    def failure(self, error: BaseException) -> Failure:
        """Return the facts about an exception of the library."""
        failure = _failure_of(error, self._settings)
        values = (*self._secret.values(), *self._settings["environment"].values())
        repeated = failure.code and any(failure.code in value for value in values)
        # a server may answer with what it was sent
        return replace(failure, code="") if repeated else failure

    def _read_secret(self) -> dict[str, str]:
        directory = self._settings["secretDir"]
        if directory is None:
            return {}
        try:
            return read_secret(Path(directory), self._settings["scheme"])
        except UnusableSecret as error:
            raise Failed(Failure(FailureKind.SECRET, detail=str(error))) from None

    def _made(self, *, uploads: bool = False) -> Store:
        from obstore.store import AzureStore, GCSStore, S3Store

        settings = self._settings
        client: Any = {
            "allow_http": settings["allowHttp"],
            "connect_timeout": f"{settings['connectSeconds']}s",
            # it runs while a body is sent, too
            "read_timeout": f"{settings['partSeconds' if uploads else 'readSeconds']}s",
            # of a whole answer, which may be long on a slow link: reads have a limit of their own
            "timeout": "1 day",
        }
        if settings["caBundle"]:
            client["root_certificate"] = settings["caBundle"].encode()
        # Each failure is reported: decisions about another try are not taken here, except for a part of a file.
        retries = {"max_retries": _TRIES_OF_A_PART, "retry_timeout": timedelta(seconds=settings["partSeconds"])}
        none = {"max_retries": 0, "retry_timeout": timedelta(seconds=1)}
        common: Any = {"client_options": client, "retry_config": retries if uploads else none}
        config: Any = dict(self._secret)
        if settings["scheme"] == "gs":
            endpoint = {"base_url": settings["endpoint"]} if settings["endpoint"] else {}
            config.update(endpoint)
            return GCSStore(settings["container"], config=config, **common)
        if settings["endpoint"]:
            config["endpoint"] = settings["endpoint"]
        if settings["scheme"] == "az":
            config["account_name"] = settings["account"]
            return AzureStore(settings["container"], config=config, **common)
        if settings["region"]:
            config["region"] = settings["region"]
        # the bulk deletion isn't in all stores, and reports no refusal of a single key
        config.update(
            {"virtual_hosted_style_request": "false", "conditional_put": "etag", "disable_bulk_delete": "true"}
        )
        return S3Store(settings["container"], config=config, **common)


class Helper:
    """Answers to requests on one store.

    Args:
        settings: message that opens the helper.
        send: sends a message.

    Raises:
        Failed: the store can't be made.
    """

    def __init__(self, settings: Message, send: Callable[[Message], None]) -> None:
        self._send = send
        self._heartbeat = Heartbeat(send)
        self._heartbeat.start()
        self._listings: dict[int, Iterator[Message]] = {}
        self._room = UploadRoom()
        self._operations: dict[str, Callable[[Store, Message], Message]] = {
            "head": self._head,
            "list": self._list,
            "fetch": self._fetch,
            "read": read_small,
            "put": put_small,
            "delete": delete_one,
            "link": sign_link,
            "upload": self._upload,
        }
        try:
            self._reached = ReachedStore(settings)
        except Failed:
            raise
        except ModuleNotFoundError:
            raise
        except BaseException as error:  # noqa: BLE001 - the library's panics are BaseException
            raise Failed(_unmade(error, settings)) from None

    def answer(self, request: Message) -> None:
        """Carry out a request, and send its answer, or its failure."""
        try:
            with self._heartbeat.during_request():
                done = self._carried_out(request)
            self._send({"id": request["id"], "done": done})
        except Failed as error:
            self._send({"id": request["id"], "failed": error.failure.as_record()})
        except LocalFailure as error:
            self._send({"id": request["id"], "errno": error.number, "path": error.path})

    def _carried_out(self, request: Message) -> Message:
        operation = self._operations[request["op"]]
        used = self._reached.store
        try:
            return operation(used, request)
        except (Failed, LocalFailure):
            raise
        except BaseException as error:  # noqa: BLE001 - the library's panics are BaseException
            failure = self._failure(error, request)
        # a listing that has begun can't be continued: it is requested again
        if request.get("cursor") is None and _is_refused(failure) and self._reached.changed(used):
            try:
                return operation(self._reached.store, request)
            except (Failed, LocalFailure):
                raise
            except BaseException as error:  # noqa: BLE001 - as above
                failure = self._failure(error, request)
        raise Failed(failure)

    def _failure(self, error: BaseException, request: Message) -> Failure:
        if isinstance(error, ValueError) and "key" in request:
            return Failure(FailureKind.UNLISTABLE, detail=request["key"])
        failure = self._reached.failure(error)
        if request["op"] == "link" and _cannot_sign(failure, self._reached.store):
            return Failure(FailureKind.UNSIGNABLE)
        return failure

    def _head(self, store: Store, request: Message) -> Message:
        import obstore

        try:
            meta = obstore.head(store, request["key"])
        except Exception as error:
            if not _is_answer(self._failure(error, request)):
                raise
            # An answer to HEAD has no body, and so no code: that to GET distinguishes bucket, key, and permission.
            obstore.get(store, request["key"], options={"range": (0, 1)})
            raise
        if meta["e_tag"] is None and meta["last_modified"].timestamp() == 0.0:
            # neither header was in the answer, as in that of a server which answers 200 to every request
            raise Failed(Failure(FailureKind.BAD_ANSWER))
        return {"size": meta["size"], "etag": _bare(meta["e_tag"]), "modified": meta["last_modified"].timestamp()}

    def _list(self, store: Store, request: Message) -> Message:
        cursor = request["cursor"]
        if cursor is None:
            cursor = request["id"]
            self._listings[cursor] = self._pages(store, request)
        try:
            page = next(self._listings[cursor], None)
        except BaseException:
            # an iterator that has failed ends, as if the listing were complete
            del self._listings[cursor]
            raise
        if page is None:
            del self._listings[cursor]
        return {"objects": [], "folders": [], "cursor": None} if page is None else {**page, "cursor": cursor}

    def _pages(self, store: Store, request: Message) -> Iterator[Message]:
        import obstore

        pages: Iterator[Any]
        if request["recursive"]:
            pages = obstore.list(store, request["prefix"], offset=request["after"], chunk_size=PAGE)
        else:
            found = obstore.list_with_delimiter(store, request["prefix"])
            metas = found["objects"]
            if not metas and not found["common_prefixes"]:
                self._refuse_what_is_no_store(store, request)
            yield {"objects": [], "folders": [*found["common_prefixes"]]}
            pages = (metas[start : start + PAGE] for start in range(0, len(metas), PAGE))
        count = 0
        for page in pages:
            count += len(page)
            yield {"objects": [_listed(meta) for meta in page], "folders": []}
        if request["recursive"] and not count:
            self._refuse_what_is_no_store(store, request)

    def _refuse_what_is_no_store(self, store: Store, request: Message) -> None:
        """Refuse a server that answers any request with 200; the library takes XML of anything for an empty listing."""
        import obstore

        key = "/".join(filter(None, (request["prefix"], f"absent-{secrets.token_hex(16)}")))
        try:
            obstore.get(store, key, options={"range": (0, 1)})
        except Exception as error:
            if _is_answer(self._failure(error, request)):
                return
            raise
        raise Failed(Failure(FailureKind.BAD_ANSWER))

    def _upload(self, _: Store, request: Message) -> Message:
        return upload_file(
            self._reached.uploading,
            request,
            self._room,
            lambda sent: self._send({"id": request["id"], "sent": sent}),
        )

    def _fetch(self, store: Store, request: Message) -> Message:
        import obstore

        start, end, etag = request["start"], request["end"], request["etag"]
        options: Any = {"range": (start, end)}
        if etag and not etag.startswith("W/"):
            options["if_match"] = f'"{etag}"'
        result = obstore.get(store, request["key"], options=options)
        found = _bare(result.meta["e_tag"])
        if result.meta["size"] != request["size"] or (etag and found and found != etag):
            raise Failed(Failure(FailureKind.ANSWER, status=412))
        written = start
        with _opened(request["path"]) as file:
            for chunk in result.stream(min_chunk_size=CHUNK):
                if written + len(chunk) > end:
                    raise Failed(Failure(FailureKind.BAD_ANSWER))
                _write(file, chunk, written, request["path"])
                written += len(chunk)
                if written < end:
                    self._send({"id": request["id"], "written": written})
        if written < end:
            raise Failed(Failure(FailureKind.INTERRUPTED))
        return {"written": written}


def _listed(meta: Any) -> Message:
    modified = meta["last_modified"].timestamp()
    return {"key": meta["path"], "size": meta["size"], "etag": _bare(meta["e_tag"]), "modified": modified}


def _bare(etag: str | None) -> str:
    """Return an etag without quotes, which Azure's listing leaves out; empty if there is none."""
    return etag.strip('"') if etag else ""


def _is_answer(failure: Failure) -> bool:
    return failure.kind is FailureKind.ANSWER and 400 <= failure.status < 500


def _cannot_sign(failure: Failure, store: Store) -> bool:
    """Return whether a link failed because the identity can't sign, and not since it could not be obtained."""
    from obstore.store import GCSStore

    if failure.kind is not FailureKind.CREDENTIALS:
        return failure.kind is FailureKind.OTHER
    if isinstance(store, GCSStore):
        # without a private key, the metadata server gives the account, and another service the signature
        return failure.status != 429 and failure.status < 500
    return failure.cause is None and not failure.status


def _is_refused(failure: Failure) -> bool:
    if failure.kind is FailureKind.CREDENTIALS:
        return True
    return failure.kind is FailureKind.ANSWER and (failure.status in (401, 403) or failure.code in _TOKEN_CODES)


def _unmade(error: BaseException, settings: Message) -> Failure:
    """Return why a store can't be made: its only inputs are the CA, the secret, and the environment."""
    failure = _failure_of(error, settings)
    if failure.kind is FailureKind.CA_BUNDLE:
        return failure
    if settings["secretDir"] is None:
        return Failure(FailureKind.CREDENTIALS, detail=UNUSABLE)
    return Failure(FailureKind.SECRET, detail="the library can't read the keys in it")


def _failure_of(error: BaseException, settings: Message) -> Failure:
    """Return the facts about an exception of the library."""
    raised, scheme, endpoint = type(error).__name__, settings["scheme"], settings["endpoint"]
    return failure_of(raised, str(error), scheme, endpoint, settings["tokenService"])


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    """Open a file to write parts of it; a link in its place is refused."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise LocalFailure(error, path) from error
    try:
        yield file
    finally:
        os.close(file)


def _write(file: int, chunk: bytes, offset: int, path: str) -> None:
    left = memoryview(chunk)
    try:
        while left:
            count = os.pwrite(file, left, offset)
            left, offset = left[count:], offset + count
    except OSError as error:
        raise LocalFailure(error, path) from error


def _messages(connection: socket.socket) -> Iterator[Message]:
    """Yield messages until the other side closes."""
    reader = FrameReader()
    while piece := connection.recv(_RECEIVED):
        reader.add(piece)
        while (message := reader.next()) is not None:
            yield message


def main() -> int:
    """Serve requests until standard input ends; return the exit code."""
    # Ctrl-C reaches all processes of a terminal: the parent decides what ends
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    connection = socket.socket(fileno=0)
    sending = threading.Lock()

    def send(message: Message) -> None:
        with sending, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(encoded(message))

    messages = _messages(connection)
    settings = next(messages, None)
    if settings is None:
        return 0
    # Here, and not in the environment that it is started with, which other processes of this user can read.
    os.environ.update(settings["environment"])
    try:
        helper = Helper(settings, send)
    except Failed as error:
        send({"failed": error.failure.as_record()})
        return 0
    except ModuleNotFoundError:
        send({"missing": "obstore"})
        return 0
    send({"ready": True})
    workers = ThreadPoolExecutor(settings["concurrency"])
    for request in messages:
        workers.submit(helper.answer, request)
    # the parent has ended or has given up: requests that are under way have no reader
    os._exit(0)


if __name__ == "__main__":
    with contextlib.suppress(BrokenFrame, OSError):
        sys.exit(main())
    sys.exit(1)
