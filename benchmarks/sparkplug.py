"""What a Sparkplug B client would send: the baseline of B1, written from the specification's field numbers.

Rules: one DDATA payload with the metrics in order of time. Every choice favours the baseline: metrics are
named by alias (the names travel once, in a birth message that is not counted, as our dictionary is not), the
data type is left out as the specification allows in data messages, whole numbers travel as varints and only
others as doubles. Time stamps are microseconds, since both sides must carry the same; Sparkplug's own
milliseconds (`times_in_us=False`) would lose three digits of every time.

The message types are built from descriptors at run time, so that no generated code stands here.

Example:
    data = encode_payload(series_of(given), utc_start_us=utc_start_us)

Source: Eclipse Sparkplug specification 3.0, §6.4 (Payload, Metric; field numbers and types).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.batch_inputs import Series

_UINT64 = descriptor_pb2.FieldDescriptorProto.TYPE_UINT64
_UINT32 = descriptor_pb2.FieldDescriptorProto.TYPE_UINT32
_DOUBLE = descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE
_STRING = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
_MESSAGE = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE

_METRIC_FIELDS = (
    ("name", 1, _STRING),
    ("alias", 2, _UINT64),
    ("timestamp", 3, _UINT64),
    ("datatype", 4, _UINT32),
    ("long_value", 11, _UINT64),
    ("double_value", 13, _DOUBLE),
)
_PAYLOAD_FIELDS = (("timestamp", 1, _UINT64), ("seq", 3, _UINT64))
_US_IN_MS = 1_000
_WORD = 2**64  # a negative whole number travels as its two's complement


def encode_payload(series: Sequence[Series], *, utc_start_us: int, times_in_us: bool = True) -> bytes:
    """Return one payload with all samples in order of time.

    Args:
        series: the samples, times in µs since `utc_start_us`.
        utc_start_us: UTC in µs; a metric's time stamp is absolute.
        times_in_us: or in milliseconds, as the specification has it.
    """
    unit_us = 1 if times_in_us else _US_IN_MS
    samples = sorted(
        (utc_start_us + t_us, alias, value)
        for alias, one in enumerate(series)
        for t_us, value in zip(one.t_us, one.values, strict=True)
    )
    payload = _payload_type()(timestamp=samples[-1][0] // unit_us, seq=1)
    for t_us, alias, value in samples:
        if isinstance(value, int):
            payload.metrics.add(alias=alias, timestamp=t_us // unit_us, long_value=value % _WORD)
        else:
            payload.metrics.add(alias=alias, timestamp=t_us // unit_us, double_value=value)
    encoded: bytes = payload.SerializeToString()
    return encoded


def decode_metrics(data: bytes) -> list[tuple[int, int, float]]:
    """Return (time stamp, alias, value) of each metric, to check that the baseline holds what ours holds."""
    payload = _payload_type().FromString(data)
    return [(metric.timestamp, metric.alias, _value(metric)) for metric in payload.metrics]


def _value(metric: Any) -> float:  # noqa: ANN401 - a type made at run time
    if metric.HasField("double_value"):
        value: float = metric.double_value
        return value
    whole: int = metric.long_value
    return whole - _WORD if whole >= _WORD // 2 else whole


@cache
def _payload_type() -> Any:  # noqa: ANN401 - a type made at run time
    file = descriptor_pb2.FileDescriptorProto(name="sparkplug_like.proto", package="bench", syntax="proto2")
    metric = file.message_type.add(name="Metric")
    payload = file.message_type.add(name="Payload")
    optional = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
    for message, fields in ((metric, _METRIC_FIELDS), (payload, _PAYLOAD_FIELDS)):
        for name, number, kind in fields:
            message.field.add(name=name, number=number, type=kind, label=optional)
    payload.field.add(
        name="metrics",
        number=2,
        type=_MESSAGE,
        type_name=".bench.Metric",
        label=descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED,
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("bench.Payload"))
