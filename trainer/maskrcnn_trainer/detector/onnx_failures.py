"""What ONNX Runtime raises for a file that it cannot open, as what is wrong with the file."""

from __future__ import annotations

import re

from maskrcnn_trainer.detector.metadata import EXPORTED_OPSET

_OPSET = re.compile(r"Opset (\d+) is under development.* is till opset (\d+)", re.DOTALL)
_IR_VERSION = re.compile(r"IR version: (\d+), max supported IR version: (\d+)")
_NO_OPERATOR = re.compile(r"No Op registered for (\w+) with domain_version of (-?\d+)")
_NODE = re.compile(r'In Node, \("[^"]*", (\w+),')


def what_is_wrong(error: Exception, payload: bytes, version: str) -> str:
    """Return what is wrong with a model, in words that end a sentence.

    Args:
        error: of ONNX Runtime, whose text begins with places in its source.
        payload: the ONNX file.
        version: of ONNX Runtime.
    """
    text = str(error)
    reads = f"this ONNX Runtime ({version}) reads"
    if found := _OPSET.search(text):
        return f"opset_import is {found[1]}, {reads} up to {found[2]}, and export writes {EXPORTED_OPSET}"
    if found := _IR_VERSION.search(text):
        return f"ir_version is {found[1]}, and {reads} up to {found[2]}"
    if "Missing opset" in text:
        return f"it has no opset_import, which export writes as {EXPORTED_OPSET}"
    if type(error).__name__ == "InvalidProtobuf":
        return "it is no ONNX file, or it is cut off or damaged"
    return _wrong_graph(text, _opset_of(payload))


def _wrong_graph(text: str, opset: int | None) -> str:
    if opset not in (None, EXPORTED_OPSET):
        return f"its nodes do not fit opset_import {opset}, and export writes {EXPORTED_OPSET}"
    if found := _NO_OPERATOR.search(text):
        return f"there is no operator {found[1]} in opset {found[2]}"
    if found := _NODE.search(text):
        return f"a node of type {found[1]} is not as its operator is defined"
    return "its graph is not valid"


def _opset_of(payload: bytes) -> int | None:
    """Return the opset of ONNX's own operators; None where the package onnx is absent or cannot read the file."""
    try:
        import onnx
    except ImportError:
        return None
    try:
        model = onnx.load_from_string(payload)
    except Exception:  # noqa: BLE001 - the class of protobuf's DecodeError depends on its implementation
        return None
    return next((int(one.version) for one in model.opset_import if not one.domain), None)
