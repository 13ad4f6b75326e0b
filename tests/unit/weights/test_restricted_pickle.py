"""Reader of pickles: plain values as they are, everything else inert, and hostile files refused within their size."""

from __future__ import annotations

import collections
import io
import os
import pickle
import struct
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from tests.unit.weights.files import Call, Ref, pickled

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.weights import pickled_containers
from maskrcnn_trainer.weights.inert import Inert, Name
from maskrcnn_trainer.weights.restricted_pickle import load_pickle

PLAIN = {
    "numbers": [0, 255, 65535, 2**31 - 1, -(2**31), 2**40, -(2**200), 2**2000, 1.5, float("inf"), True, False, None],
    "text": ["", "\u00e9", "\U0001f600", "a" * 300],
    "bytes": [b"", b"\x00\xff" * 200],
    "tuples": [(), (1,), (1, 2), (1, 2, 3), tuple(range(9))],
    "sets": [{1, 2}, frozenset({"a"}), set()],
    3: {1.5: {None: []}},
}


def read(data: bytes, **options: Any) -> Any:
    return load_pickle(io.BytesIO(data), len(data), {}, **options)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_are_read_as_pickle_reads_them(protocol: int) -> None:
    assert read(pickle.dumps(PLAIN, protocol)) == PLAIN


def test_bytearrays_of_protocol_5_become_bytes() -> None:
    assert read(pickle.dumps(bytearray(b"abc"), 5)) == b"abc"


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_dictionaries_of_collections_become_plain_ones(protocol: int) -> None:
    ordered = collections.OrderedDict(b=1, a=2)
    default = collections.defaultdict(list, {"x": [1]})
    value = read(pickle.dumps([ordered, default], protocol))
    assert value == [{"b": 1, "a": 2}, {"x": [1]}]
    assert [type(item) for item in value] == [dict, dict]
    assert list(value[0]) == ["b", "a"]


def test_shared_and_recursive_containers_stay_so() -> None:
    inner: list[Any] = []
    inner.append(inner)
    value = read(pickle.dumps({"a": inner, "b": inner}))
    assert value["a"] is value["b"] is value["a"][0]


def test_text_numbers_of_python_2_are_read() -> None:
    assert read(b"\x80\x02]q\x01(I4294967296\nI01\nI00\nL12L\nF1.5\ne.") == [2**32, True, False, 12, 1.5]


def test_strings_of_python_2_are_latin_1() -> None:
    assert read(b"\x80\x02U\x02\xe9\xffT\x01\x00\x00\x00a\x86.") == ("\u00e9\u00ff", "a")


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Call(Ref("os", "system"), ("touch marker",)), "os.system"),
        (Call(Ref("posix", "system"), ("touch marker",)), "posix.system"),
        (Call(Ref("subprocess", "check_output"), (["touch", "marker"],)), "subprocess.check_output"),
        (Call(Ref("builtins", "eval"), ("open('marker', 'w')",)), "builtins.eval"),
        (Call(Ref("builtins", "exec"), ("open('marker', 'w')",)), "builtins.exec"),
        (Call(Ref("builtins", "open"), ("marker", "w")), "builtins.open"),
        (Call(Ref("builtins", "__import__"), ("hostile_module",)), "builtins.__import__"),
        (Call(Ref("hostile_module", "thing")), "hostile_module.thing"),
        (Call(Ref("builtins", "getattr"), (Ref("os", "path"), "join")), "builtins.getattr"),
        (Call(Call(Ref("builtins", "getattr"), (Ref("os", ""), "system")), ("touch marker",)), "builtins.getattr"),
        (Call(Ref("numpy", "load"), ("marker", None, True)), "numpy.load"),
        (Call(Ref("torch.storage", "_load_from_bytes"), (b"x",)), "torch.storage._load_from_bytes"),
        (Call(Ref("argparse", "Namespace"), (), {"__class__": "x", "lr": 0.1}), "argparse.Namespace"),
        (Call(Ref("copyreg", "__newobj__"), (Ref("pathlib", "Path"), "x")), "copyreg.__newobj__"),
        (
            Call(Ref("functools", "partial"), (Ref("os", "system"),), (Ref("os", "abort"), (), {}, None)),
            "functools.partial",
        ),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_calls_of_other_functions_become_inert_and_import_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Call, name: str, protocol: int
) -> None:
    (tmp_path / "hostile_module.py").write_text("open('marker', 'w')\nthing = print\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    made = read(pickled({"args": value}, protocol))["args"]
    assert (type(made), made.name) == (Inert, name)
    assert not (tmp_path / "marker").exists()
    assert "hostile_module" not in sys.modules


@pytest.mark.parametrize(
    "opcodes",
    [
        b"(cos\nsystem\nU\x01xo.",
        b"cos\nsystem\nU\x01x\x85\x81.",
        b"cos\nsystem\nU\x01x\x85}\x92.",
        b"cos\nsystem\n)R}U\x09__class__cos\nsystem\nsb.",
        b"cos\nsystem\n)R(U\x01aU\x01bu.",
        b"cos\nsystem\n)R(U\x01aU\x01be.",
        b"cos\nsystem\n)RU\x01aa.",
        b"cos\nsystem\n)R(U\x01a\x90.",
    ],
    ids=["OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD", "SETITEMS", "APPENDS", "APPEND", "ADDITEMS"],
)
def test_inert_objects_ignore_every_opcode(opcodes: bytes) -> None:
    made = read(b"\x80\x02" + opcodes)
    assert (type(made), made.name) == (Inert, "os.system")


def test_a_class_itself_is_a_name() -> None:
    made = read(pickled({"type": Ref("mmengine.config", "ConfigDict")}))["type"]
    assert (type(made), made.name, repr(made)) == (Name, "mmengine.config.ConfigDict", "<mmengine.config.ConfigDict>")


def test_objects_are_not_called_by_the_name_of_their_class() -> None:
    made = read(pickled(Call(Call(Ref("builtins", "bytes"), (1,)))))
    assert (type(made), made.name) == (Inert, "builtins.bytes")


def test_state_of_a_dictionary_sets_no_attribute() -> None:
    value = read(pickled(Call(Ref("collections", "OrderedDict"), (), {"_metadata": {}, "items": 1})))
    assert value == {}
    assert callable(value.items)


def test_keys_that_are_not_strings_or_numbers_become_inert() -> None:
    value = read(pickle.dumps({(1, 2): "a", "b": "c", 2**64: "d"}))
    assert [type(key) for key in value] == [Inert, str, Inert]


DEEP = 200_000
HOSTILE = {
    "empty": (b"", "cut off"),
    "no stop": (b"\x80\x04N", "cut off"),
    "stop without a value": (b"\x80\x04.", "damaged"),
    "unknown protocol": (b"\x80\x06N.", "protocol 6"),
    "unknown opcode": (b"\x80\x04\xff.", "opcode"),
    "extension 1": (b"\x80\x04\x82\x01.", "opcode"),
    "extension 2": (b"\x80\x04\x83\x01\x00.", "opcode"),
    "extension 4": (b"\x80\x04\x84\x01\x00\x00\x00.", "opcode"),
    "buffer out of band": (b"\x80\x05\x97.", "opcode"),
    "read-only buffer": (b"\x80\x05N\x98.", "opcode"),
    "persistent id as text": (b"\x80\x02Pabc\n.", "opcode"),
    "persistent id": (b"\x80\x02U\x01aQ.", "outside of it"),
    "instance of protocol 0": (b"(ios\nsystem\n.", "opcode"),
    "memo that was not set": (b"\x80\x04h\x05.", "damaged"),
    "long memo that was not set": (b"\x80\x04j\xff\xff\xff\xff.", "damaged"),
    "mark that was not set": (b"\x80\x04t.", "damaged"),
    "call without a function": (b"\x80\x04)R.", "damaged"),
    "call of a string": (b"\x80\x04U\x01a)R.", "damaged"),
    "call without a tuple": (b"\x80\x04cos\nsystem\nNR.", "damaged"),
    "name that isn't text": (b"\x80\x04NN\x93.", "damaged"),
    "name without an end": (b"\x80\x02cos\nsys", "without an end"),
    "odd dictionary": (b"\x80\x02}(U\x01au.", "damaged"),
    "entries of a list": (b"\x80\x02](U\x01aNu.", "damaged"),
    "items of a dictionary": (b"\x80\x02}(Ne.", "damaged"),
    "items added to a string": (b"\x80\x04U\x01a(N\x90.", "damaged"),
    "tuple of nothing": (b"\x80\x02\x87.", "damaged"),
    "text that isn't UTF-8": (b"\x80\x02X\x01\x00\x00\x00\xff.", "damaged"),
    "number that isn't one": (b"\x80\x02Iabc\n.", "damaged"),
    "number of 5,000 digits": (b"\x80\x02L" + b"9" * 5000 + b"L\n.", "without an end"),
    "negative length of a string": (b"\x80\x02T\xff\xff\xff\xffabc.", "cut off"),
    "negative length of a number": (b"\x80\x02\x8b\xff\xff\xff\xffabc.", "cut off"),
    "bytes of 2^60": (b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"abc.", "should have 1,152,921,504,606,846,976"),
    "text of 2^60": (b"\x80\x04\x8d" + struct.pack("<Q", 2**60) + b"abc.", "cut off"),
    "byte array of 2^60": (b"\x80\x05\x96" + struct.pack("<Q", 2**60) + b"abc.", "cut off"),
    "number of 2^31 bytes": (b"\x80\x04\x8b\xff\xff\xff\x7fabc.", "cut off"),
    "frame of 2^60": (b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"N.", "frame"),
    "too many opcodes": (b"\x80\x04" + b"N" * 1_000_001 + b".", "more than 1,000,000 steps"),
    "dictionary copied many times": (
        b"\x80\x02cbuiltins\nset\nq\x00(" + b"](" + b"N" * 2000 + b"etq\x010" + b"h\x00h\x01R0" * 2000 + b"N.",
        "more than 1,000,000 steps",
    ),
    "pairs copied many times": (
        b"\x80\x02ccollections\nOrderedDict\nq\x00(" + b"](" + b"NN\x86" * 2000 + b"etq\x010" + b"h\x00h\x01R0" * 2000
        + b"N.",
        "more than 1,000,000 steps",
    ),
    "string converted many times": (
        b"\x80\x02c_codecs\nencode\nq\x00(X" + struct.pack("<I", 100_000) + b"a" * 100_000 + b"U\x06latin1tq\x010"
        + b"h\x00h\x01R" * 2000 + b".",
        "many times over",
    ),
    "names of many megabytes": (b"\x80\x04X" + struct.pack("<I", 2000) + b"a" * 2000 + b"U\x01b\x93.", "damaged"),
}  # fmt: skip
HARMLESS = {
    "memo at 2^32 - 1": b"\x80\x04Nr\xff\xff\xff\xff.",
    "deep list": b"\x80\x04" + b"]" * DEEP + b"a" * (DEEP - 1) + b".",
    "deep tuple": b"\x80\x04)" + b"\x85" * DEEP + b".",
    "deep tuple as a key": b"\x80\x04})" + b"\x85" * DEEP + b"Ns.",
    "deep tuple in a set": b"\x80\x04\x8f()" + b"\x85" * DEEP + b"\x90.",
    "wide tuple as a key": b"\x80\x04})" + b"2\x86" * 100 + b"Ns.",
    "wide lists": b"\x80\x04]" + b"q\x00](h\x00h\x00e" * 100 + b".",
    "numbers with one hash": b"\x80\x04}(" + b"".join(
        b"\x8a\x10" + ((2**61 - 1) * (i << 40)).to_bytes(16, "little", signed=True) + b"N" for i in range(1, 20_000)
    ) + b"u.",
}  # fmt: skip


def peak_memory(data: bytes) -> int:
    tracemalloc.start()
    try:
        read(data)
    except InvalidInput:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


@pytest.mark.parametrize(("data", "match"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_pickles_are_refused_in_one_sentence(data: bytes, match: str) -> None:
    with pytest.raises(InvalidInput, match=match) as raised:
        read(data)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize("data", HARMLESS.values(), ids=HARMLESS)
def test_deep_and_repeating_values_are_read_without_recursion(data: bytes) -> None:
    read(data)


@pytest.mark.parametrize("name", ["bytes of 2^60", "number of 2^31 bytes", "string converted many times"])
def test_memory_for_a_hostile_pickle_is_bounded(name: str) -> None:
    data = HOSTILE[name][0]
    assert peak_memory(data) < 4 * len(data) + 20_000


@pytest.mark.parametrize("opcode", [b"\x8f", b"(", b"}", b"]"])
def test_objects_of_one_opcode_each_are_limited(monkeypatch: pytest.MonkeyPatch, opcode: bytes) -> None:
    monkeypatch.setattr(pickled_containers, "LARGEST_COUNT", 1000)
    assert peak_memory(b"\x80\x04" + opcode * 100_000 + b".") < 1000 * 300 + 20_000


def test_memory_for_a_memo_far_away_is_bounded() -> None:
    assert peak_memory(HARMLESS["memo at 2^32 - 1"]) < 100_000


def test_every_truncation_is_refused() -> None:
    data = pickle.dumps({**PLAIN, "set": {1}}, 4)
    for end in range(len(data)):
        with pytest.raises(InvalidInput):
            read(data[:end])


def test_every_changed_byte_gives_a_value_or_one_error() -> None:
    data = pickled({"a": [1, 2.5, "x", Call(Ref("os", "system"), ("x",), {"y": 1})], "b": {"c": (1, 2)}})
    for position in range(len(data)):
        for value in (0, 1, 0x28, 0x52, 0x62, 0x7D, 0xFF, data[position] ^ 0x20):
            changed = data[:position] + bytes([value]) + data[position + 1 :]
            try:
                read(changed)
            except InvalidInput:
                continue


def test_persistent_ids_go_to_their_function() -> None:
    assert read(b"\x80\x02U\x01aQ.", persistent=lambda key: f"<{key}>") == "<a>"


def test_environment_is_not_reached() -> None:
    before = dict(os.environ)
    read(pickled(Call(Ref("os", "putenv"), ("A_NAME", "x"))))
    assert dict(os.environ) == before
