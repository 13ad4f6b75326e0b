"""Requests to the helper process of one store: several at once, sent again after failures, until they are answered."""

from __future__ import annotations

import heapq
import itertools
import os
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

from maskrcnn_trainer.errors import InvalidInput, Stopped, TaskError
from maskrcnn_trainer.object_store.connection import StoreConnection
from maskrcnn_trainer.object_store.explanations import Meaning, Operation, meaning_of, sentence
from maskrcnn_trainer.object_store.failures import Failure, FailureKind
from maskrcnn_trainer.object_store.frames import Message
from maskrcnn_trainer.object_store.helper import HelperLost, HelperProcess
from maskrcnn_trainer.object_store.permissions import Permission
from maskrcnn_trainer.object_store.retries import Episode, RetryPolicy, error_of

CONCURRENCY = 16
TICK_SECONDS = 0.2
"""Time within which a stop is noticed."""
SECONDS_OF_SILENCE = 60.0
"""Time without a message after which a helper that carries out requests is taken for lost: it sends one every 10 s."""
SECONDS_OF_A_SMALL_REQUEST = 150.0
"""Time after which a request with a short answer is ended, as its limits in the helper are about each byte."""
SECONDS_OF_LARGE_REQUESTS = 300.0
"""The same for reads of parts, uploads, and listings, since any of them has moved on: uploads wait for each other."""
_LARGE = frozenset({"fetch", "upload", "list"})


class ReadOutcome(Enum):
    """Ways in which the read of a part can end, other than by an exception."""

    DONE = auto()
    CHANGED = auto()
    """The object isn't the one that was listed."""
    ABSENT = auto()
    """There is no such object any more."""


_OUTCOMES = {Meaning.CHANGED: ReadOutcome.CHANGED, Meaning.ABSENT: ReadOutcome.ABSENT}


@dataclass
class StoreRequest:
    """A request until it is answered.

    Attributes:
        operation: what it does.
        key: key or prefix.
        message: to the helper, without its number; a read's ``start`` moves with the bytes that are written.
        on_written: called with begin and end of bytes that a read has just written.
        on_sent: called with the number of bytes that an upload has sent, from 0 again at each try.
        after_failure: changes of the message when it is sent again.
        answers_absence: whether an absent or changed object is an answer, and not an error.
        is_trial: whether it finds out what the store has, so that a refusal is one whatever was answered before.
        answer_of: returns the answer that a failure is; None: it is none.
        episode: its failures in a row.
    """

    operation: Operation
    key: str
    message: Message
    on_written: Callable[[int, int], None] = lambda _start, _end: None
    on_sent: Callable[[int], None] = lambda _sent: None
    after_failure: Message = field(default_factory=dict)
    answers_absence: bool = False
    is_trial: bool = False
    answer_of: Callable[[Failure], Enum | None] = lambda _failure: None
    episode: Episode | None = None

    def written(self, end: int) -> None:
        """Note that a read has written its bytes up to ``end``."""
        start = self.message["start"]
        if end > start:
            self.message["start"] = end
            self.episode = None
            self.on_written(start, end)


StoreAnswer = Message | Enum
"""Answer of the helper, or an outcome of the request."""


class _Run:
    """Requests of one iteration that aren't answered, and answers that aren't yielded.

    Attributes:
        sent: number of requests that the helper has.
        answers: answers that have arrived, also while another iteration read the messages.
    """

    def __init__(self) -> None:
        self.sent = 0
        self.answers: deque[tuple[StoreRequest, StoreAnswer]] = deque()
        self._waiting: list[tuple[float, int, StoreRequest]] = []
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return self.sent + len(self._waiting) + len(self.answers)

    def wait(self, request: StoreRequest, due: float) -> None:
        heapq.heappush(self._waiting, (due, next(self._numbers), request))

    def due(self, now: float) -> Iterator[StoreRequest]:
        while self._waiting and self._waiting[0][0] <= now:
            yield heapq.heappop(self._waiting)[2]

    def seconds_to_next(self, now: float) -> float:
        return max(0.0, self._waiting[0][0] - now) if self._waiting else TICK_SECONDS


@dataclass
class _Sent:
    """Request that the helper has.

    Attributes:
        request: the request.
        run: its iteration.
        since: time at which it was sent.
    """

    request: StoreRequest
    run: _Run
    since: float

    def is_slow(self, now: float, moved: float) -> bool:
        """Return whether it takes too long.

        Args:
            now: time, in seconds.
            moved: time of the last message about any request.
        """
        if self.request.message["op"] in _LARGE:
            return now - max(self.since, moved) > SECONDS_OF_LARGE_REQUESTS
        return now - self.since > SECONDS_OF_A_SMALL_REQUEST


class _NotStarted(Exception):
    """A helper process that has started and can't reach its store."""

    def __init__(self, failure: Failure) -> None:
        super().__init__()
        self.failure = failure


class Exchange:
    """Exchange of messages with the helper process of one store, which is started and restarted as needed.

    The arguments are those of :class:`maskrcnn_trainer.object_store.client.StoreClient`.
    """

    def __init__(
        self,
        connection: StoreConnection,
        *,
        concurrency: int = CONCURRENCY,
        policy: RetryPolicy | None = None,
        stop: Callable[[], bool] = lambda: False,
        on_wait: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._connection = connection
        self._concurrency = concurrency
        self._policy = policy or RetryPolicy()
        self._stop = stop
        self._on_wait = on_wait
        self._clock = clock
        self._pause = pause
        self._jitter = jitter
        self._numbers = itertools.count()
        self._helper: HelperProcess | None = None
        self._sent: dict[int, _Sent] = {}
        self._heard = self._moved = 0.0
        self._answered: set[Permission] = set()

    @property
    def pid(self) -> int | None:
        """Return the number of the helper process; None: none has been started."""
        return self._helper.pid if self._helper else None

    def close(self) -> None:
        """End the helper process; a later request starts another one, and iterations that are open continue."""
        helper, self._helper = self._helper, None
        taken, self._sent = self._sent, {}
        if helper is not None:
            helper.kill()
        for sent in taken.values():
            sent.run.sent -= 1
            sent.request.message.update(sent.request.after_failure)
            sent.run.wait(sent.request, self._clock())

    def single(self, request: StoreRequest) -> StoreAnswer:
        """Return the answer to one request."""
        return next(answer for _, answer in self.run(iter([request])))

    def run(self, requests: Iterator[StoreRequest]) -> Iterator[tuple[StoreRequest, StoreAnswer]]:
        """Yield each request with its answer, in the order of the answers.

        At most ``concurrency`` requests are sent or wait for another try, so that a store that limits the rate gets
        fewer of them. When the iterator is closed before its end, the helper ends, and with it what is under way.

        Args:
            requests: are taken one by one, as others are answered.
        """
        run = _Run()
        more = True
        try:
            while more or len(run):
                if self._stop():
                    raise Stopped("Stopped while requests to the store were under way.")
                while more and len(run) < self._concurrency:
                    following = next(requests, None)
                    if following is None:
                        more = False
                    else:
                        run.wait(following, self._clock())
                for request in run.due(self._clock()):
                    self._send(request, run)
                if not run.answers:
                    self._proceed(run)
                while run.answers:
                    yield run.answers.popleft()
        finally:
            if run.sent:
                self._sent = {number: sent for number, sent in self._sent.items() if sent.run is not run}
                self.close()

    def error(self, failure: Failure, operation: Operation, key: str, *, is_trial: bool = False) -> TaskError:
        """Return the error for a failure that isn't tried again."""
        connection = self._connection
        answered = operation.permission in self._answered and not is_trial
        return error_of(failure, operation, connection.url_of(key), connection.reached, answered=answered)

    def _send(self, request: StoreRequest, run: _Run) -> None:
        number = next(self._numbers)
        try:
            helper = self._started()
            self._note_sent(number, request, run)
            helper.send({**request.message, "id": number})
        except _NotStarted as error:
            self._try_again(request, error.failure, run)
        except HelperLost as error:
            if number not in self._sent:
                self._note_sent(number, request, run)
            self._lost(error.code)
        self._heard = self._clock()

    def _note_sent(self, number: int, request: StoreRequest, run: _Run) -> None:
        self._sent[number] = _Sent(request, run, self._clock())
        run.sent += 1

    def _started(self) -> HelperProcess:
        """Return the helper of this process.

        Raises:
            HelperLost: it ended at once.
            InvalidInput: it has no library.
        """
        if self._helper is not None and self._helper.owner != os.getpid():
            # that of the parent of this process, which was forked
            self.close()
        if self._helper is None:
            helper = HelperProcess(self._connection.settings(self._concurrency), os.environ)
            if "ready" not in helper.answer:
                helper.kill()
                if "missing" in helper.answer:
                    raise InvalidInput(
                        f"{self._connection.url_of('')}: object storage needs the package obstore; install it",
                        reason="MissingPackage",
                    )
                raise _NotStarted(Failure.from_record(helper.answer["failed"]))
            self._helper = helper
        return self._helper

    def _proceed(self, run: _Run) -> None:
        """Take the next message, or let some time pass if there is none to expect."""
        seconds = min(TICK_SECONDS, run.seconds_to_next(self._clock()))
        if self._helper is None or not run.sent:
            if len(run):
                self._pause(seconds)
            return
        try:
            message = self._helper.receive(seconds)
        except HelperLost as error:
            self._lost(error.code)
            return
        if message is not None:
            self._heard = self._clock()
            self._take(message)
        elif self._clock() - self._heard > SECONDS_OF_SILENCE:
            self._lost(None)
            return
        self._end_slow_requests()

    def _end_slow_requests(self) -> None:
        """End requests that take too long, by ending the helper; send its others again."""
        now = self._clock()
        slow = [number for number, sent in self._sent.items() if sent.is_slow(now, self._moved)]
        taken = [self._sent.pop(number) for number in slow]
        if taken:
            self.close()
        for sent in taken:
            sent.run.sent -= 1
            self._try_again(sent.request, Failure(FailureKind.TIMEOUT), sent.run)

    def _take(self, message: Message) -> None:
        """Pass a message to its request."""
        if "alive" in message:
            return
        self._moved = self._clock()
        sent = self._sent[message["id"]]
        request, run = sent.request, sent.run
        if "written" in message:
            request.written(message["written"])
            return
        if "sent" in message:
            request.on_sent(message["sent"])
            return
        del self._sent[message["id"]]
        run.sent -= 1
        if "done" in message:
            self._answered.add(request.operation.permission)
            run.answers.append((request, message["done"]))
        elif "errno" in message:
            raise OSError(message["errno"], os.strerror(message["errno"]), message["path"])
        else:
            self._fail(request, Failure.from_record(message["failed"]), run)

    def _fail(self, request: StoreRequest, failure: Failure, run: _Run) -> None:
        """Decide what follows from a failure: an outcome, another try, or an error."""
        answer = request.answer_of(failure)
        meaning = meaning_of(failure, request.operation, self._connection.scheme)
        outcome = _OUTCOMES.get(meaning)
        if outcome is not None or (answer is not None and meaning is not Meaning.REFUSED):
            self._answered.add(request.operation.permission)
        if answer is None and request.answers_absence:
            answer = outcome
        if answer is not None:
            run.answers.append((request, answer))
            return
        self._try_again(request, failure, run)

    def _lost(self, code: int | None) -> None:
        """Send all again that a helper which has ended can't answer."""
        taken, self._sent = self._sent, {}
        self.close()
        for sent in taken.values():
            sent.run.sent -= 1
            failure = Failure(FailureKind.HELPER, detail="" if code is None else str(code))
            self._try_again(sent.request, failure, sent.run)

    def _try_again(self, request: StoreRequest, failure: Failure, run: _Run) -> None:
        """Let a request wait for its next try.

        Raises:
            TaskError: it is given up.
        """
        now = self._clock()
        meaning = meaning_of(failure, request.operation, self._connection.scheme)
        request.episode = Episode.of(request.episode, now, refused=meaning is Meaning.REFUSED)
        seconds = self._policy.wait(
            failure,
            request.operation,
            self._connection.scheme,
            episode=request.episode,
            now=now,
            answered=request.operation.permission in self._answered and not request.is_trial,
            in_pod=self._connection.in_pod,
            jitter=self._jitter(),
        )
        if seconds is None:
            raise self.error(failure, request.operation, request.key, is_trial=request.is_trial)
        reached = self._connection.reached
        self._on_wait(sentence(failure, request.operation, self._connection.url_of(request.key), reached))
        request.message.update(request.after_failure)
        run.wait(request, now + seconds)
