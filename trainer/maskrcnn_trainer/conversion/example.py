"""Serialized ``tf.train.Example`` messages, created without importing TensorFlow.

The message types are declared at run time in a separate descriptor pool, so that they do not conflict with
TensorFlow's. Source: tensorflow/core/example/{example,feature}.proto, a stable format.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_REPEATED = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
_OPTIONAL = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
_TYPE = descriptor_pb2.FieldDescriptorProto


@lru_cache(maxsize=1)
def example_class() -> Any:
    """Return the class of ``tf.train.Example`` messages."""
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="tensorflow", syntax="proto3")
    for name, scalar in (
        ("BytesList", _TYPE.TYPE_BYTES),
        ("FloatList", _TYPE.TYPE_FLOAT),
        ("Int64List", _TYPE.TYPE_INT64),
    ):
        file.message_type.add(name=name).field.add(name="value", number=1, type=scalar, label=_REPEATED)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, kind) in enumerate(
        (("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List")), start=1
    ):
        feature.field.add(
            name=name,
            number=number,
            type=_TYPE.TYPE_MESSAGE,
            type_name=f".tensorflow.{kind}",
            label=_OPTIONAL,
            oneof_index=0,
        )
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=_TYPE.TYPE_STRING, label=_OPTIONAL)
    entry.field.add(name="value", number=2, type=_TYPE.TYPE_MESSAGE, type_name=".tensorflow.Feature", label=_OPTIONAL)
    features.field.add(
        name="feature",
        number=1,
        type=_TYPE.TYPE_MESSAGE,
        type_name=".tensorflow.Features.FeatureEntry",
        label=_REPEATED,
    )
    example = file.message_type.add(name="Example")
    example.field.add(
        name="features", number=1, type=_TYPE.TYPE_MESSAGE, type_name=".tensorflow.Features", label=_OPTIONAL
    )
    pool: Any = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


def make_example(
    *,
    byte_lists: Mapping[str, Iterable[bytes]],
    float_lists: Mapping[str, Iterable[float]],
    int_lists: Mapping[str, Iterable[int]],
) -> bytes:
    """Return a serialized Example.

    Equal features give equal bytes. An empty list keeps its key and type.

    Args:
        byte_lists: values by feature.
        float_lists: values by feature, stored as float32.
        int_lists: values by feature, stored as int64.
    """
    example = example_class()()
    feature = example.features.feature
    for kind, lists in (("bytes_list", byte_lists), ("float_list", float_lists), ("int64_list", int_lists)):
        for key, values in lists.items():
            holder = getattr(feature[key], kind)
            holder.SetInParent()
            holder.value.extend(values)
    serialized: bytes = example.SerializeToString(deterministic=True)
    return serialized
