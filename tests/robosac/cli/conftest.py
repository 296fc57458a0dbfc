from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from robosac.cli import resolve
from robosac.policy.file import assemble

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from robosac.policy import Contract


@pytest.fixture(scope="session")
def go2_contract() -> Contract:
    """What a policy for go2 and walk must fulfil."""
    with resolve.make(robot="go2", task="walk", env=None) as place:
        return place.contract


@pytest.fixture
def policy_file(tmp_path: Path) -> Callable[[Contract], Path]:
    """Write a policy that always answers zero, for any contract."""

    def write(contract: Contract) -> Path:
        golden = tuple(
            msgspec.structs.replace(one, action=[0.0] * contract.action_size)
            for one in contract.golden
        )
        contract = msgspec.structs.replace(contract, golden=golden)
        path = tmp_path / "policy.onnx"
        path.write_bytes(assemble(still_graph(contract), contract))
        return path

    return write


def still_graph(contract: Contract) -> bytes:
    """Serialise a graph of the contract's shapes whose action is zero whatever it sees."""
    zeros = np.zeros((contract.obs_size, contract.action_size), np.float32)
    zero = np.zeros(1, np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["obs", "zeros"], ["still"]),
            helper.make_node("Mul", ["noise", "zero"], ["quiet"]),
            helper.make_node("Add", ["still", "quiet"], ["action"]),
        ],
        "still",
        [
            helper.make_tensor_value_info("obs", TensorProto.FLOAT, [1, contract.obs_size]),
            helper.make_tensor_value_info("noise", TensorProto.FLOAT, [1, contract.action_size]),
        ],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, [1, contract.action_size])],
        [onnx.numpy_helper.from_array(zeros, "zeros"), onnx.numpy_helper.from_array(zero, "zero")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    serialised: bytes = model.SerializeToString()
    return serialised
