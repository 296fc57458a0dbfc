"""A policy file: an ONNX graph followed by its contract.

Protocol Buffers let a message be extended by appending fields, so a policy file is the bytes of the
graph with one metadata entry appended.  The policy's id is the SHA-256 of the graph alone, and both
ends can check it without any ONNX library.
"""

from __future__ import annotations

import hashlib

import msgspec

from robosac.errors import PolicyError
from robosac.policy import protobuf
from robosac.policy.contract import METADATA_KEY, Contract, encode

_METADATA_FIELD = 14
"""Field number of metadata_props in ModelProto (onnx.proto)."""


def assemble(graph: bytes, contract: Contract) -> tuple[bytes, Contract]:
    """Append the contract to a graph; returns the file and the contract with its policy_id."""
    signed = msgspec.structs.replace(contract, policy_id=hashlib.sha256(graph).hexdigest())
    return graph + _entry(encode(signed)), signed


def check_digest(file: bytes, document: bytes, contract: Contract) -> None:
    """Raise PolicyError when the graph is not the one the contract was written for."""
    tail = _entry(document)
    digest = (
        hashlib.sha256(file[: -len(tail)]).hexdigest()
        if file.endswith(tail)
        else "no contract at its end"
    )
    if digest != contract.policy_id:
        raise PolicyError(
            f"policy graph is {digest}, its contract says {contract.policy_id}; export it again"
        )


def _entry(document: bytes) -> bytes:
    """One metadata_props entry: StringStringEntryProto {key = 1, value = 2}."""
    pair = protobuf.field(1, METADATA_KEY.encode()) + protobuf.field(2, document)
    return protobuf.field(_METADATA_FIELD, pair)
