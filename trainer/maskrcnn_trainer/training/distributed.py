"""The processes that train one model together, over Horovod (Gloo on CPUs, NCCL where there are GPUs).

One process alone is a gang of one: the same calls, and Horovod is not even imported.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.environment import horovod_number
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.failures import lost_peer_is_try_again
from maskrcnn_trainer.launch.cpus import task_threads, usable_cpus
from maskrcnn_trainer.launch.rendezvous import RENDEZVOUS_VARIABLE

if TYPE_CHECKING:
    import tensorflow as tf


class Ranks:
    """This process's place in the gang, and what the gang does together.

    Attributes:
        rank: 0 .. size - 1; rank 0 logs and writes.
        size: processes of the whole gang.
        local_rank: which process of its node; the GPU it uses.
        threads: CPU threads of this process.
    """

    def __init__(self, rank: int = 0, size: int = 1, local_rank: int = 0, threads: int | None = None) -> None:
        self.rank = rank
        self.size = size
        self.local_rank = local_rank
        self.threads = threads or usable_cpus()

    @classmethod
    def from_environ(cls) -> Ranks:
        """Read what ``maskrcnn launch`` set; without it the gang is this process alone.

        Raises:
            InvalidInput: the variables are not those of one process of a gang.
        """
        number = {name: horovod_number(name, least=least) for name, least in _LEAST.items()}
        if number["RANK"] >= number["SIZE"]:
            raise InvalidInput(
                f"HOROVOD_RANK: {number['RANK']} must be less than HOROVOD_SIZE, {number['SIZE']}; maskrcnn launch "
                "sets both, unset them for a single process"
            )
        if number["SIZE"] > 1 and not os.environ.get(RENDEZVOUS_VARIABLE):
            raise InvalidInput(
                f"HOROVOD_SIZE: {number['SIZE']} processes without {RENDEZVOUS_VARIABLE}; start them with maskrcnn "
                "launch, or unset HOROVOD_SIZE for a single process"
            )
        return cls(number["RANK"], number["SIZE"], number["LOCAL_RANK"], task_threads())

    def initialise(self) -> None:
        """Joins the gang; returns when all of it has.

        Raises:
            TryAgain: a peer was lost while joining.
        """
        if self.size == 1:
            return
        import horovod.tensorflow as hvd
        import tensorflow as tf

        if not tf.config.list_physical_devices("GPU"):
            os.environ.setdefault("HOROVOD_CYCLE_TIME", _CPU_CYCLE_MILLISECONDS)
        with lost_peer_is_try_again():
            hvd.init()

    def average(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """The mean over the ranks of each tensor (float32), as one fused reduction; inside a ``tf.function`` too."""
        if self.size == 1:
            return list(tensors)
        import horovod.tensorflow as hvd

        return list(hvd.grouped_allreduce(list(tensors), op=hvd.Average))

    def average_one(self, tensor: tf.Tensor) -> tf.Tensor:
        """The mean over the ranks, differentiable: its gradient is averaged as well."""
        if self.size == 1:
            return tensor
        import horovod.tensorflow as hvd

        return hvd.allreduce(tensor, op=hvd.Average)

    def broadcast(self, variables: Sequence[tf.Variable]) -> None:
        """Gives every rank the values of rank 0."""
        if self.size == 1:
            return
        import horovod.tensorflow as hvd

        with lost_peer_is_try_again():
            hvd.broadcast_variables(list(variables), root_rank=0)

    def share(self, value: Any) -> Any:
        """The value that rank 0 gives (picklable, small: Horovod needs fifteen times its size to pass it on)."""
        if self.size == 1:
            return value
        import horovod.tensorflow as hvd

        with lost_peer_is_try_again():
            return hvd.broadcast_object(value, root_rank=0)

    def collect(self, payload: NDArray[np.uint8]) -> list[NDArray[np.uint8]] | None:
        """The bytes of every rank, in the order of the ranks, on rank 0; None on the others, which receive nothing."""
        if self.size == 1:
            return [payload]
        import horovod.tensorflow as hvd
        import tensorflow as tf

        splits = [len(payload)] + [0] * (self.size - 1)
        with lost_peer_is_try_again(), tf.device("CPU:0"):
            received, lengths = hvd.alltoall(tf.constant(payload), splits=tf.constant(splits, tf.int32))
        return np.split(received.numpy(), np.cumsum(lengths.numpy())[:-1]) if self.rank == 0 else None

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, in the order of the ranks, on every rank (picklable, small)."""
        if self.size == 1:
            return [value]
        import horovod.tensorflow as hvd

        with lost_peer_is_try_again():
            return list(hvd.allgather_object(value))

    def leave_together(self) -> None:
        """Waits for all ranks, then takes Horovod down: to the others, one that left early would look lost."""
        if self.size == 1:
            return
        import horovod.tensorflow as hvd

        self.gather(None)
        hvd.shutdown()

    @contextmanager
    def left_on_failure(self) -> Iterator[None]:
        """Take Horovod down when the block fails, so that what the other ranks wait for ends with an error at once.

        A process that only ended would make Horovod in the others print its own account of a closed connection.
        """
        try:
            yield
        except BaseException:
            if self.size > 1 and "horovod.tensorflow" in sys.modules:
                import horovod.tensorflow as hvd

                # in a thread: it waits for a reply of every rank, which one that hangs never gives
                leaving = threading.Thread(target=hvd.shutdown, name="leave", daemon=True)
                leaving.start()
                leaving.join(_SECONDS_TO_LEAVE)
            raise

    @property
    def reduce_gradients(self) -> Callable[[Sequence[tf.Tensor]], list[tf.Tensor]] | None:
        """:meth:`average`, or None where there is nothing to reduce."""
        return self.average if self.size > 1 else None

    @property
    def reduce_moments(self) -> Callable[[tf.Tensor], tf.Tensor] | None:
        """:meth:`average_one`, or None where there is nothing to reduce."""
        return self.average_one if self.size > 1 else None


# In each cycle all ranks exchange the names of the tensors that are ready. Horovod's default of 1 ms costs each rank a
# seventh of a core. GPUs keep it: their steps take tens of milliseconds and not a second.
_CPU_CYCLE_MILLISECONDS = "10"
_SECONDS_TO_LEAVE = 2.0
_LEAST = {"RANK": 0, "SIZE": 1, "LOCAL_RANK": 0}
