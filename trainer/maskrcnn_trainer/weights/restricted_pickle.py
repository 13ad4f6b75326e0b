"""Reader of pickles that makes containers, numbers, and strings, and an inert object in place of everything else.

The module ``pickle`` finds classes and functions by name and calls them, which is how a file runs code. This reader has
its own loop over the opcodes (``pickletools`` documents them) and never looks up a name:

- GLOBAL and STACK_GLOBAL push a `Name`, which only records the two strings. Nothing is imported.
- REDUCE, NEWOBJ, NEWOBJ_EX, and OBJ call a function of this package if the recorded name is in a table of the caller;
  for all others (``os.system``, ``builtins.getattr``, ``numpy.load``) they push an `Inert` and drop the arguments.
- BUILD, SETITEM, APPEND, and ADDITEMS change dictionaries, lists, and sets; an `Inert` ignores them. No attribute of
  any object is set by its name, and no ``__setstate__`` or ``__reduce__`` of a file is involved.
- Persistent ids go to a function of the caller and are refused without one. Codes of extensions, buffers out of band,
  and the text opcodes of protocol 0 are refused, since no weight file has them.

``pickle.Unpickler`` with its own ``find_class`` wouldn't do: its memo is an array whose length the file chooses, so
four bytes of a file reserve 64 GB; it reserves declared lengths before it reads; and a deep tuple as a key of
a dictionary overflows the stack in ``hash``. Here a length is compared with the rest of the file first, the number of
opcodes is limited, a key is a string or a number, and nothing recurses.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.weights.inert import Inert, Name
from maskrcnn_trainer.weights.pickled_containers import CONTAINERS, Budget, Rebuild, plain_key

_LONGEST_NAME = 1000
_LONGEST_LINE = 4096
_NEWEST_PROTOCOL = 5


def load_pickle(
    stream: BinaryIO,
    length: int,
    rebuild: Mapping[str, Rebuild],
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """Read one pickle of protocol 2 to 5; the stream is then after its STOP.

    Args:
        stream: at the start of the pickle, buffered.
        length: bytes of the stream that the pickle may take.
        rebuild: functions by name (``numpy.dtype``), in addition to those for containers.
        persistent: returns the value of a persistent id.

    Raises:
        InvalidInput: the pickle is damaged, cut off, or has opcodes or sizes that no weight file has.
    """
    machine = _Machine(stream, length, {**CONTAINERS, **rebuild}, persistent)
    try:
        return machine.run()
    # An operand that is missing or of another type, and text or lengths that cannot be decoded.
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        detail = f"{type(error).__name__}: {error}"[:200]
        raise InvalidInput(f"the pickle is damaged near byte {machine.taken:,} ({detail})") from error


class _Machine:
    """State of the reader: a stack, the stacks below its marks, and the memo."""

    def __init__(
        self,
        stream: BinaryIO,
        length: int,
        rebuild: Mapping[str, Rebuild],
        persistent: Callable[[Any], Any] | None,
    ) -> None:
        self.taken = 0
        self._stream = stream
        self._length = length
        self._rebuild = rebuild
        self._persistent = persistent
        self._budget = Budget(length)
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        while True:
            opcode = self._take(1)
            if opcode == pickle.STOP:
                return self._stack.pop()
            self._budget.spend_count(1)
            self._step(opcode)

    def _step(self, opcode: bytes) -> None:
        if opcode in _SIZED:
            width, decode = _SIZED[opcode]
            self._stack.append(decode(self._take(self._number(width))))
        elif opcode in _FIXED:
            layout = _FIXED[opcode]
            self._stack.append(layout.unpack(self._take(layout.size))[0])
        elif opcode in _LINES:
            self._stack.append(_LINES[opcode](self._line()))
        elif opcode in _NEW:
            self._stack.append(_NEW[opcode]())
        elif opcode in _ACTIONS:
            _ACTIONS[opcode](self)
        else:
            raise InvalidInput(
                f"the pickle has the opcode {opcode!r} at byte {self.taken - 1:,}, which no weight file has"
            )

    def _take(self, count: int) -> bytes:
        if count > self._length - self.taken:
            raise InvalidInput(
                f"the pickle is damaged or cut off: at byte {self.taken:,} of {self._length:,} it should have "
                f"{count:,} more"
            )
        data = self._stream.read(count)
        if len(data) != count:
            raise InvalidInput(f"the pickle ends at byte {self.taken + len(data):,}, before its end")
        self.taken += count
        return data

    def _number(self, width: int) -> int:
        return int.from_bytes(self._take(width), "little")

    def _line(self) -> str:
        line = self._stream.readline(min(_LONGEST_LINE, self._length - self.taken))
        self.taken += len(line)
        if not line.endswith(b"\n"):
            raise InvalidInput(f"the pickle has a line at byte {self.taken - len(line):,} without an end")
        return line[:-1].decode()

    def protocol(self) -> None:
        version = self._number(1)
        if version > _NEWEST_PROTOCOL:
            raise InvalidInput(f"the pickle has protocol {version}; those up to {_NEWEST_PROTOCOL} are known")

    def frame(self) -> None:
        size = self._number(8)
        if size > self._length - self.taken:
            raise InvalidInput(f"the pickle is cut off: a frame at byte {self.taken:,} should have {size:,} bytes")

    def mark(self) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def pop(self) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._since_mark()

    def pop_mark(self) -> None:
        self._since_mark()

    def duplicate(self) -> None:
        self._stack.append(self._stack[-1])

    def memoize(self) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def put(self, width: int) -> None:
        self._memo[self._number(width)] = self._stack[-1]

    def get(self, width: int) -> None:
        self._stack.append(self._memo[self._number(width)])

    def tuple_of(self, count: int) -> None:
        if len(self._stack) < count:
            raise IndexError(f"a tuple of {count} from {len(self._stack)} values")
        items = tuple(self._stack[-count:])
        del self._stack[-count:]
        self._stack.append(items)

    def collect(self, kind: Callable[[list[Any]], Any]) -> None:
        items = self._since_mark()
        self._stack.append(kind(items))

    def append(self) -> None:
        item = self._stack.pop()
        _extend(self._stack[-1], [item])

    def appends(self) -> None:
        items = self._since_mark()
        _extend(self._stack[-1], items)

    def add_items(self) -> None:
        items = self._since_mark()
        target = self._stack[-1]
        if isinstance(target, set):
            target.update(map(plain_key, items))
        elif not isinstance(target, Inert):
            raise TypeError(f"items added to {type(target).__name__}")

    def set_item(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        _set_items(self._stack[-1], [key, value])

    def set_items(self) -> None:
        items = self._since_mark()
        _set_items(self._stack[-1], items)

    def name(self) -> None:
        module, name = self._line(), self._line()
        self._stack.append(_named(module, name))

    def stack_name(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._stack.append(_named(module, name))

    def reduce(self) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        self._stack.append(self._called(function, arguments))

    def new_object(self) -> None:
        self.reduce()

    def new_object_with_keywords(self) -> None:
        self._stack.pop()
        self.reduce()

    def object_since_mark(self) -> None:
        function, *arguments = self._since_mark()
        self._stack.append(self._called(function, tuple(arguments)))

    def build(self) -> None:
        state = self._stack.pop()
        if isinstance(self._stack[-1], Inert):
            self._stack[-1].set_state(state)

    def persistent_id(self) -> None:
        if self._persistent is None:
            raise InvalidInput("the pickle refers to data outside of it (a persistent id); it isn't complete")
        self._stack.append(self._persistent(self._stack.pop()))

    def _called(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, Inert) or not isinstance(arguments, tuple):
            raise TypeError(f"a call of {type(function).__name__} with {type(arguments).__name__}")
        rebuild = self._rebuild.get(function.name) if isinstance(function, Name) else None
        return Inert(function.name) if rebuild is None else rebuild(arguments, self._budget)


def _named(module: Any, name: Any) -> Name:
    if not isinstance(module, str) or not isinstance(name, str) or len(module) + len(name) > _LONGEST_NAME:
        raise TypeError("a class or function whose name isn't one")
    return Name(f"{module}.{name}")


def _extend(target: Any, items: list[Any]) -> None:
    if isinstance(target, list):
        target.extend(items)
    elif not isinstance(target, Inert):
        raise TypeError(f"items appended to {type(target).__name__}")


def _set_items(target: Any, items: list[Any]) -> None:
    """Set entries from a list in which keys and values alternate."""
    if isinstance(target, Inert):
        return
    if not isinstance(target, dict):
        raise TypeError(f"entries set in {type(target).__name__}")
    target.update(zip(map(plain_key, items[::2]), items[1::2], strict=True))


def _dict_of(items: list[Any]) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    _set_items(made, items)
    return made


def _utf8(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def _latin1(data: bytes) -> str:
    """Return a string of Python 2 so that every byte is one character, as ``encoding="latin1"`` does."""
    return data.decode("latin-1")


def _signed(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)


def _line_number(text: str) -> int | bool:
    return {"00": False, "01": True}[text] if text in ("00", "01") else int(text)


# A length that should be signed and is negative reads as one that no file has.
_SIZED: Mapping[bytes, tuple[int, Callable[[bytes], Any]]] = {
    pickle.SHORT_BINSTRING: (1, _latin1),
    pickle.BINSTRING: (4, _latin1),
    pickle.SHORT_BINUNICODE: (1, _utf8),
    pickle.BINUNICODE: (4, _utf8),
    pickle.BINUNICODE8: (8, _utf8),
    pickle.SHORT_BINBYTES: (1, bytes),
    pickle.BINBYTES: (4, bytes),
    pickle.BINBYTES8: (8, bytes),
    pickle.BYTEARRAY8: (8, bytes),
    pickle.LONG1: (1, _signed),
    pickle.LONG4: (4, _signed),
}
_FIXED: Mapping[bytes, struct.Struct] = {
    pickle.BININT: struct.Struct("<i"),
    pickle.BININT1: struct.Struct("<B"),
    pickle.BININT2: struct.Struct("<H"),
    pickle.BINFLOAT: struct.Struct(">d"),
}
_LINES: Mapping[bytes, Callable[[str], Any]] = {
    # cPickle of Python 2 writes integers of more than 32 bits as text in every protocol.
    pickle.INT: _line_number,
    pickle.LONG: lambda text: int(text.rstrip("L")),
    pickle.FLOAT: float,
}
_NEW: Mapping[bytes, Callable[[], Any]] = {
    pickle.NONE: lambda: None,
    pickle.NEWTRUE: lambda: True,
    pickle.NEWFALSE: lambda: False,
    pickle.EMPTY_DICT: dict,
    pickle.EMPTY_LIST: list,
    pickle.EMPTY_TUPLE: tuple,
    pickle.EMPTY_SET: set,
}
_ACTIONS: Mapping[bytes, Callable[[_Machine], None]] = {
    pickle.PROTO: _Machine.protocol,
    pickle.FRAME: _Machine.frame,
    pickle.MARK: _Machine.mark,
    pickle.POP: _Machine.pop,
    pickle.POP_MARK: _Machine.pop_mark,
    pickle.DUP: _Machine.duplicate,
    pickle.MEMOIZE: _Machine.memoize,
    pickle.BINPUT: lambda machine: machine.put(1),
    pickle.LONG_BINPUT: lambda machine: machine.put(4),
    pickle.BINGET: lambda machine: machine.get(1),
    pickle.LONG_BINGET: lambda machine: machine.get(4),
    pickle.TUPLE1: lambda machine: machine.tuple_of(1),
    pickle.TUPLE2: lambda machine: machine.tuple_of(2),
    pickle.TUPLE3: lambda machine: machine.tuple_of(3),
    pickle.TUPLE: lambda machine: machine.collect(tuple),
    pickle.LIST: lambda machine: machine.collect(list),
    pickle.DICT: lambda machine: machine.collect(_dict_of),
    pickle.FROZENSET: lambda machine: machine.collect(lambda items: frozenset(map(plain_key, items))),
    pickle.APPEND: _Machine.append,
    pickle.APPENDS: _Machine.appends,
    pickle.ADDITEMS: _Machine.add_items,
    pickle.SETITEM: _Machine.set_item,
    pickle.SETITEMS: _Machine.set_items,
    pickle.GLOBAL: _Machine.name,
    pickle.STACK_GLOBAL: _Machine.stack_name,
    pickle.REDUCE: _Machine.reduce,
    pickle.NEWOBJ: _Machine.new_object,
    pickle.NEWOBJ_EX: _Machine.new_object_with_keywords,
    pickle.OBJ: _Machine.object_since_mark,
    pickle.BUILD: _Machine.build,
    pickle.BINPERSID: _Machine.persistent_id,
}
