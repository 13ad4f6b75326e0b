"""Communication of the processes that train one model together, over Horovod (Gloo on CPUs, NCCL on GPUs).

A single process is a worker group of one: it makes the same calls but doesn't import Horovod.
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

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.launch.rendezvous import RENDEZVOUS_VARIABLE
from maskrcnn_trainer.task.cpus import task_threads, usable_cpus
from maskrcnn_trainer.task.environment import horovod_number
from maskrcnn_trainer.task.failures import lost_peer_is_try_again

if TYPE_CHECKING:
    import tensorflow as tf


class DistributedContext:
    """Rank of this process in its worker group, and the collective operations of the group.

    Attributes:
        rank: 0 .. size - 1; rank 0 logs and writes.
        size: number of processes of the whole worker group.
        local_rank: index among the processes of its node, and index of the GPU that it uses.
        threads: CPU threads of this process.
    """

    def __init__(self, rank: int = 0, size: int = 1, local_rank: int = 0, threads: int | None = None) -> None:
        self.rank = rank
        self.size = size
        self.local_rank = local_rank
        self.threads = threads or usable_cpus()

    @classmethod
    def from_environ(cls) -> DistributedContext:
        """Read the variables that ``maskrcnn launch`` sets; without them the group is this process alone.

        Raises:
            InvalidInput: the variables are invalid or contradict each other.
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

    def initialize(self) -> None:
        """Join the worker group; return when all processes have joined.

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
        """Return the mean over ranks of each tensor (float32), one fused all-reduce; works inside a ``tf.function``."""
        if self.size == 1:
            return list(tensors)
        import horovod.tensorflow as hvd

        return list(hvd.grouped_allreduce(list(tensors), op=hvd.Average))

    def average_differentiably(self, tensor: tf.Tensor) -> tf.Tensor:
        """Return the mean over ranks; its gradient is also averaged over ranks."""
        if self.size == 1:
            return tensor
        import horovod.tensorflow as hvd

        return hvd.allreduce(tensor, op=hvd.Average)

    def broadcast_variables(self, variables: Sequence[tf.Variable]) -> None:
        """Assign the values of rank 0 on every rank."""
        if self.size == 1:
            return
        import horovod.tensorflow as hvd

        with lost_peer_is_try_again():
            hvd.broadcast_variables(list(variables), root_rank=0)

    def broadcast_object(self, value: Any) -> Any:
        """Return the value of rank 0; it must be picklable and small: Horovod needs 15 times its size to send it."""
        if self.size == 1:
            return value
        import horovod.tensorflow as hvd

        with lost_peer_is_try_again():
            return hvd.broadcast_object(value, root_rank=0)

    def collect(self, payload: NDArray[np.uint8]) -> list[NDArray[np.uint8]] | None:
        """Return the bytes of every rank, by rank, on rank 0; None on the others, which receive nothing."""
        if self.size == 1:
            return [payload]
        import horovod.tensorflow as hvd
        import tensorflow as tf

        splits = [len(payload)] + [0] * (self.size - 1)
        with lost_peer_is_try_again(), tf.device("CPU:0"):
            received, lengths = hvd.alltoall(tf.constant(payload), splits=tf.constant(splits, tf.int32))
        return np.split(received.numpy(), np.cumsum(lengths.numpy())[:-1]) if self.rank == 0 else None

    def gather(self, value: Any) -> list[Any]:
        """Return every rank's value, by rank, on every rank; values must be picklable and small."""
        if self.size == 1:
            return [value]
        import horovod.tensorflow as hvd

        with lost_peer_is_try_again():
            return list(hvd.allgather_object(value))

    def barrier_and_shutdown(self) -> None:
        """Wait for all ranks, then shut Horovod down, so that no rank treats one that ends earlier as lost."""
        if self.size == 1:
            return
        import horovod.tensorflow as hvd

        self.gather(None)
        hvd.shutdown()

    @contextmanager
    def shutdown_on_failure(self) -> Iterator[None]:
        """Shut Horovod down if the block fails, so that collectives of the other ranks fail immediately.

        If the process only ended, Horovod in the other processes would print its own report of a closed connection.
        """
        try:
            yield
        except BaseException:
            if self.size > 1 and "horovod.tensorflow" in sys.modules:
                import horovod.tensorflow as hvd

                # In a thread, because shutdown waits for a reply from every rank, which a hanging rank never sends.
                shutdown = threading.Thread(target=hvd.shutdown, name="shutdown", daemon=True)
                shutdown.start()
                shutdown.join(_SHUTDOWN_SECONDS)
            raise

    @property
    def reduce_gradients(self) -> Callable[[Sequence[tf.Tensor]], list[tf.Tensor]] | None:
        """The method :meth:`average`; None for a single process."""
        return self.average if self.size > 1 else None

    @property
    def sync_moments(self) -> Callable[[tf.Tensor], tf.Tensor] | None:
        """The method :meth:`average_differentiably`, for synchronized batch norm; None for a single process."""
        return self.average_differentiably if self.size > 1 else None


# In each cycle all ranks exchange the names of the tensors that are ready. Horovod's default of 1 ms uses a seventh of
# a core on each rank. GPUs keep the default, since their steps take tens of milliseconds instead of a second.
_CPU_CYCLE_MILLISECONDS = "10"
_SHUTDOWN_SECONDS = 2.0
_LEAST = {"RANK": 0, "SIZE": 1, "LOCAL_RANK": 0}
