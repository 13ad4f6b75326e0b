"""Translation of ONNX Runtime's errors about a file that it cannot open into the fault of the file."""

from __future__ import annotations

import re

from maskrcnn_trainer.detector.metadata import EXPORTED_OPSET

_OPSET = re.compile(r"Opset (\d+) is under development.* is till opset (\d+)", re.DOTALL)
_IR_VERSION = re.compile(r"IR version: (\d+), max supported IR version: (\d+)")
_NO_OPERATOR = re.compile(r"No Op registered for (\w+) with domain_version of (-?\d+)")
_NODE = re.compile(r'In Node, \("[^"]*", (\w+),')


def what_is_wrong(error: Exception, payload: bytes, version: str) -> str:
    """Return the fault of a model, as the end of a sentence.

    Args:
        error: of ONNX Runtime, whose text begins with locations in its source code.
        payload: the ONNX file.
        version: of ONNX Runtime.
    """
    text = str(error)
    reads = f"this ONNX Runtime ({version}) reads"
    if found := _OPSET.search(text):
        return f"opset_import is {found[1]}, but {reads} up to {found[2]}, and export writes {EXPORTED_OPSET}"
    if found := _IR_VERSION.search(text):
        return f"ir_version is {found[1]}, but {reads} up to {found[2]}"
    if "Missing opset" in text:
        return f"it has no opset_import, which export writes as {EXPORTED_OPSET}"
    if type(error).__name__ == "InvalidProtobuf":
        return "it isn't an ONNX file, or it is cut off or damaged"
    return _wrong_graph(text, _opset_of(payload))


def _wrong_graph(text: str, opset: int | None) -> str:
    if opset not in (None, EXPORTED_OPSET):
        return f"its nodes do not match opset_import {opset}; export writes {EXPORTED_OPSET}"
    if found := _NO_OPERATOR.search(text):
        return f"there is no operator {found[1]} in opset {found[2]}"
    if found := _NODE.search(text):
        return f"a node of type {found[1]} does not match the definition of its operator"
    return "its graph is not valid"


def _opset_of(payload: bytes) -> int | None:
    """Return the opset of ONNX's standard operators; None if the package onnx is missing or cannot read the file."""
    try:
        import onnx
    except ImportError:
        return None
    try:
        model = onnx.load_from_string(payload)
    except Exception:  # noqa: BLE001 - the class of protobuf's DecodeError depends on the implementation
        return None
    return next((int(one.version) for one in model.opset_import if not one.domain), None)
