"""A policy file is a graph and its contract, and either end can prove that they belong together."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec
import onnx
import pytest

from robosac.errors import PolicyError
from robosac.policy import protobuf
from robosac.policy.contract import METADATA_KEY, decode
from robosac.policy.file import assemble, split

if TYPE_CHECKING:
    from robosac.policy import Contract


def document_of(file: bytes) -> str:
    """Return the contract as onnx reads it."""
    (entry,) = onnx.load_from_string(file).metadata_props
    assert entry.key == METADATA_KEY
    text: str = entry.value
    return text


def test_onnx_reads_what_was_assembled(file: bytes, contract: Contract) -> None:
    """One metadata entry with the whole contract; the graph passes onnx's checker."""
    read = decode(document_of(file))
    assert read.joints == contract.joints
    assert read.obs == contract.obs
    onnx.checker.check_model(onnx.load_from_string(file), full_check=True)


def test_the_id_is_the_digest_of_the_graph(file: bytes, contract: Contract) -> None:
    """Anyone can check it without an ONNX library."""
    document = document_of(file)
    read = decode(document)
    graph = split(file, document.encode(), read)
    assert file.startswith(graph)
    assert read.policy_id == hashlib.sha256(graph).hexdigest()
    assert assemble(graph, read) == file
    assert msgspec.structs.replace(read, policy_id="", golden=()) == msgspec.structs.replace(
        contract, golden=()
    )


def test_a_new_contract_keeps_the_graph(file: bytes) -> None:
    """Writing an evaluation into the contract changes neither graph nor id."""
    document = document_of(file)
    read = decode(document)
    graph = split(file, document.encode(), read)
    again = assemble(graph, msgspec.structs.replace(read, task="run", policy_id="stale"))
    assert decode(document_of(again)).policy_id == read.policy_id
    assert split(again, document_of(again).encode(), decode(document_of(again))) == graph


@pytest.mark.parametrize("place", [0, 100, -1])
def test_another_graph_is_refused(file: bytes, place: int) -> None:
    """One flipped bit of the graph, and the contract no longer covers it."""
    document = document_of(file)
    read = decode(document)
    graph = bytearray(split(file, document.encode(), read))
    graph[place] ^= 1
    tail = file[len(graph) :]
    with pytest.raises(PolicyError, match=rf"contract says {read.policy_id}; export it again"):
        split(bytes(graph) + tail, document.encode(), read)


def test_a_second_contract_is_refused(file: bytes) -> None:
    """Nothing can be hidden between the graph and the contract that is read."""
    document = document_of(file)
    read = decode(document)
    graph = split(file, document.encode(), read)
    pair = protobuf.field(1, b"robosac") + protobuf.field(2, b"{}")
    hidden = graph + protobuf.field(14, pair) + file[len(graph) :]
    with pytest.raises(PolicyError, match="export it again"):
        split(hidden, document.encode(), read)
