"""A contract and policies of a small imaginary environment, made without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from robosac.policy.contract import Contract, Golden
from robosac.policy.file import assemble
from robosac.tasks.observation import Term

if TYPE_CHECKING:
    from numpy.typing import NDArray

OBS, ACTION = 3, 1


class PolicyMaker(Protocol):
    """Makes policy files whose action is gain · sum(obs), or whatever spoils them."""

    def __call__(self, *, gain: float = ..., contract: Contract | None = ...) -> bytes:
        """Return a file; it has its own contract's golden actions."""


@pytest.fixture(scope="session")
def contract() -> Contract:
    """What a robot with three observations and one action writes."""
    return Contract(
        env="Small-v0",
        action_lower=(-2.0,) * ACTION,
        action_upper=(2.0,) * ACTION,
        obs=(Term(name="observation", size=OBS, unit="", clip=None),),
        golden=(Golden(sensors={}, obs=[0.5, 0.25, -0.5]),),
    )


@pytest.fixture(scope="session")
def make_policy(contract: Contract) -> PolicyMaker:
    """Files for the contract, or for another one."""
    here = contract

    def make(*, gain: float = 1.0, contract: Contract | None = None) -> bytes:
        told = here if contract is None else contract
        weights = np.full((told.obs_size, told.action_size), gain, np.float32)
        claimed = gain if np.isfinite(gain) else 1.0
        golden = tuple(
            msgspec.structs.replace(one, action=[claimed * sum(one.obs)] * told.action_size)
            for one in told.golden
        )
        told = msgspec.structs.replace(told, golden=golden)
        return assemble(_graph(weights), told)

    return make


def _graph(weights: NDArray[np.float32]) -> bytes:
    """Serialise action = obs @ weights + 0 · noise."""
    obs, action = weights.shape
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["obs", "weights"], ["mean"]),
            helper.make_node("Mul", ["noise", "zero"], ["quiet"]),
            helper.make_node("Add", ["mean", "quiet"], ["action"]),
        ],
        "linear",
        [
            helper.make_tensor_value_info("obs", TensorProto.FLOAT, [1, obs]),
            helper.make_tensor_value_info("noise", TensorProto.FLOAT, [1, action]),
        ],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, [1, action])],
        [
            onnx.numpy_helper.from_array(weights, "weights"),
            onnx.numpy_helper.from_array(np.zeros(1, np.float32), "zero"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    serialised: bytes = model.SerializeToString()
    return serialised
