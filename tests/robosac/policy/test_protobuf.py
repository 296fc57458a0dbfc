"""Our few lines of Protocol Buffers against those of onnx."""

from __future__ import annotations

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robosac.policy import protobuf


@pytest.mark.parametrize("size", [0, 1, 127, 128, 129, 16_383, 16_384, 2**21 - 1, 2**21])
def test_sizes_around_every_length_of_the_prefix(size: int) -> None:
    """A string of this many bytes is read back whole, and nothing is left over."""
    encoded = protobuf.field(1, b"key") + protobuf.field(2, b"v" * size)
    entry = onnx.StringStringEntryProto.FromString(encoded)
    assert (entry.key, len(entry.value)) == ("key", size)
    assert entry.SerializeToString(deterministic=True) == encoded
    assert protobuf.field(2, b"v" * size) == protobuf.header(2, size) + b"v" * size


@given(st.text(max_size=300), st.integers(1, 10_000))
def test_fields_are_what_onnx_writes(value: str, dim: int) -> None:
    """Known fields are byte-equal to onnx's own; those of any other number are skipped."""
    ours = protobuf.field(2, value.encode())
    assert onnx.StringStringEntryProto(value=value).SerializeToString() == ours
    unknown = protobuf.field(1000 + dim, b"unknown")
    assert onnx.StringStringEntryProto.FromString(unknown + ours).value == value
