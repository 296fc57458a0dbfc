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


def assemble(graph: bytes, contract: Contract) -> bytes:
    """Return the policy file: the graph, and the contract with the graph's id."""
    signed = msgspec.structs.replace(contract, policy_id=hashlib.sha256(graph).hexdigest())
    return graph + _entry(encode(signed))


def split(file: bytes, document: bytes, contract: Contract) -> bytes:
    """Return the graph without its contract.

    Raises PolicyError when the graph is not the one that the contract was written for.
    """
    tail = _entry(document)
    graph = file.removesuffix(tail)
    digest = hashlib.sha256(graph).hexdigest()
    if digest != contract.policy_id:
        raise PolicyError(
            f"policy graph is {digest}, its contract says {contract.policy_id}; export it again"
        )
    return graph


def _entry(document: bytes) -> bytes:
    """One metadata_props entry: StringStringEntryProto {key = 1, value = 2}."""
    pair = protobuf.field(1, METADATA_KEY.encode()) + protobuf.field(2, document)
    return protobuf.field(_METADATA_FIELD, pair)
