"""Operations of a graph that run on the host although there is a GPU.

TensorFlow runs an operation on the CPU if no kernel for GPUs takes its dtypes, and copies its inputs down and its
outputs up. Many kernels for GPUs also keep inputs and outputs in host memory: those of int32 nearly all, since int32 is
for shapes. Both make the GPU wait if the values come from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from tensorflow.python.ops import cond_v2, while_v2

from kernel_registrations import Kernel, Registrations

CONDITIONALS = frozenset({"Case", "If", "StatelessCase", "StatelessIf"})
LOOPS = frozenset({"StatelessWhile", "While"})
CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
OF_SHAPES = frozenset({"BroadcastGradientArgs", "NoOp", "Rank", "Shape", "ShapeN", "Size"})
"""Operations that only compute with shapes, without the values of large tensors."""

INPUTS = {"Const": "Const", "Placeholder": "_Arg"}
"""Operations that compute nothing, with the one whose kernels say where their value is."""

AXES = frozenset({"reduction_indices"})
"""Arguments with at most an entry for each axis, whose number a graph may not know."""

PACKAGE = "maskrcnn_trainer/"


@dataclass(frozen=True)
class HostOp:
    """Operation that runs on the host, or that has a large tensor in host memory.

    Attributes:
        operation: its type, such as ``AddV2``.
        name: in its graph.
        cause: why it is listed.
        computed: whether it computes on the host; otherwise only some of its tensors are there.
        constant: whether it depends on shapes and constants only, so that TensorFlow computes it once, before the first
            step.
        dtypes: of its inputs.
        shape: of its first output, or of the tensor in host memory.
        elements: of its inputs or its outputs together, the larger number; None if a size is unknown.
        place: module and line of the trainer that makes it, such as ``training/step.py:12``; ``?`` if none does.
    """

    operation: str
    name: str
    cause: str
    computed: bool
    constant: bool
    dtypes: str
    shape: str
    elements: int | None
    place: str

    def is_over(self, limit: int) -> bool:
        """Return whether it has more elements than the limit, or an unknown number."""
        return self.elements is None or self.elements > limit


def host_ops(graph: tf.Graph, registrations: Registrations, *, large: int) -> list[HostOp]:
    """Return the operations of a graph and its functions that run on the host.

    One branch of a conditional runs, so only the branch with the most elements in host memory counts.

    Args:
        graph: traced for a GPU.
        registrations: of the GPU's kernels.
        large: also list tensors in host memory with more elements than this: arguments and constants of the graph, and
            inputs and outputs of operations that run on the GPU.
    """
    found: list[HostOp] = []
    constants: set[tf.Operation] = set()
    for op in graph.get_operations():
        inner = [host_ops(function, registrations, large=large) for function in functions_of(op)]
        if op.type in CONDITIONALS:
            found += max(inner, key=_weight)
        elif inner:
            found += [one for listed in inner for one in listed]
        else:
            if _is_constant(op, constants):
                constants.add(op)
            found += _of_operation(op, registrations, large, constant=op in constants)
    return found


def operations(graph: tf.Graph) -> Iterable[tf.Operation]:
    """Yield all operations of a graph and of its functions, in every branch."""
    for op in graph.get_operations():
        yield op
        for function in functions_of(op):
            yield from operations(function)


def functions_of(op: tf.Operation) -> Sequence[tf.Graph]:
    """Return the graphs that an operation runs: branches, condition and body of a loop, or a called function."""
    if op.type in CONDITIONALS:
        return tuple(cond_v2.get_func_graphs(op))
    if op.type in LOOPS:
        return (
            while_v2._get_graph(op, "cond", "_cond_graph"),  # noqa: SLF001 - TensorFlow has no public function
            while_v2._get_graph(op, "body", "_body_graph"),  # noqa: SLF001
        )
    if op.type in CALLS:
        return (op.graph._get_function(op.get_attr("f").name).graph,)  # noqa: SLF001
    return ()


def elements_of(tensors: Iterable[tf.Tensor]) -> int | None:
    """Return the number of elements of some tensors, None if a shape is unknown; handles of variables don't count."""
    counts = [tensor.shape.num_elements() for tensor in tensors if tensor.dtype not in (tf.resource, tf.variant)]
    return None if None in counts else sum(counts)


def place_of(op: tf.Operation) -> str:
    """Return module and line of the innermost function of the trainer that makes an operation, ``?`` if none does."""
    for frame in reversed(op.traceback):
        if PACKAGE in frame.filename:
            return f"{frame.filename.rpartition(PACKAGE)[2]}:{frame.lineno}"
    return "?"


def _weight(listed: Iterable[HostOp]) -> tuple[int, int, int]:
    """Return the largest and the total number of elements, and the number of operations; unknown ones weigh most."""
    sizes = [2**40 if one.elements is None else one.elements for one in listed]
    return max(sizes, default=0), sum(sizes), len(sizes)


def _is_constant(op: tf.Operation, constants: set[tf.Operation]) -> bool:
    """Return whether an operation depends on shapes and constants only, given those before it that do."""
    if op.type in OF_SHAPES and all(tensor.shape.is_fully_defined() for tensor in op.inputs):
        return True
    depends_on_values = op.type in INPUTS or op.op_def.is_stateful or not op.inputs
    return op.type == "Const" or (not depends_on_values and all(tensor.op in constants for tensor in op.inputs))


def _of_operation(op: tf.Operation, registrations: Registrations, large: int, *, constant: bool) -> list[HostOp]:
    if op.type in OF_SHAPES:
        return []
    kernel = registrations.kernel_for(INPUTS.get(op.type, op.type), _attributes(op))
    cause = _why_on_host(op, kernel)
    if kernel is None or cause:
        sizes = [elements_of(op.inputs), elements_of(op.outputs)]
        elements = None if None in sizes else max(size for size in sizes if size is not None)
        return [_host_op(op, cause, op.outputs[:1], elements, computed=True, constant=constant)]
    found = []
    for direction in ("input", "output"):
        for name, tensors in _named(op, direction):
            size = elements_of(tensors)
            if name in kernel.host_arguments - AXES and (size is None or size > large):
                why = f"{direction} {name} in host memory"
                found.append(_host_op(op, why, tensors[:1], size, computed=False, constant=constant))
    return found


def _why_on_host(op: tf.Operation, kernel: Kernel | None) -> str:
    """Return why an operation runs on the host, an empty text if it doesn't."""
    if "CPU" in op.device:
        return f"placed on {op.device}"
    if kernel is None:
        return "no GPU kernel"
    makes_host_values = any(name in kernel.host_arguments for name, _ in _named(op, "output"))
    return "host memory" if makes_host_values and op.type not in INPUTS else ""


def _host_op(
    op: tf.Operation, cause: str, shown: Sequence[tf.Tensor], elements: int | None, *, computed: bool, constant: bool
) -> HostOp:
    dtypes = ",".join(tensor.dtype.name for tensor in op.inputs)
    shape = str(shown[0].shape) if shown else ""
    return HostOp(op.type, op.name, cause, computed, constant, dtypes, shape, elements, place_of(op))


def _attributes(op: tf.Operation) -> dict[str, list[str]]:
    """Return the values of an operation's attributes as texts, dtypes by name."""
    if op.type == "Placeholder":
        return {"T": [op.outputs[0].dtype.name]}
    found = {}
    for name, value in op.node_def.attr.items():
        kind = value.WhichOneof("value")
        if kind == "type":
            found[name] = [tf.as_dtype(value.type).name]
        elif kind == "list" and value.list.type:
            found[name] = [tf.as_dtype(number).name for number in value.list.type]
        elif kind == "s":
            found[name] = [value.s.decode(errors="replace")]
        elif kind in ("b", "i"):
            found[name] = [str(getattr(value, kind))]
    return found


def _named(op: tf.Operation, direction: str) -> list[tuple[str, list[tf.Tensor]]]:
    """Return the tensors of an operation by the names of its inputs or outputs; a name may stand for several."""
    arguments: Sequence[Any] = getattr(op.op_def, f"{direction}_arg")
    tensors = list(op.inputs if direction == "input" else op.outputs)
    named = []
    for argument in arguments:
        count = 1
        if argument.number_attr:
            count = op.get_attr(argument.number_attr)
        elif argument.type_list_attr:
            count = len(op.get_attr(argument.type_list_attr))
        named.append((argument.name, tensors[:count]))
        tensors = tensors[count:]
    return named
