"""Small policies for the emulated pup: files that are right, or wrong in one thing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from robosac.policy.describe import describe_robot
from robosac.policy.file import assemble

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from robosac.env import RobotEnv
    from robosac.policy import Contract

    FloatArray = NDArray[np.float32]


def contract_of(env: RobotEnv) -> Contract:
    """What this robot and task ask of a policy."""
    return describe_robot(env)


def holding_policy(contract: Contract, *, action: float = 0.0) -> bytes:
    """A policy file whose action is this number for every joint, whatever it observes."""
    graph = _graph(contract.obs_size, np.full(contract.action_size, action, np.float32))
    golden = tuple(
        msgspec.structs.replace(one, action=[float(np.float32(action))] * contract.action_size)
        for one in contract.golden
    )
    return assemble(graph, msgspec.structs.replace(contract, golden=golden))


class ScriptedPolicy:
    """A policy that computes nothing: a function of the tick says what it gives."""

    def __init__(self, script: Callable[[], FloatArray]) -> None:
        """Ask this function at every tick."""
        self._script = script

    def act(self, obs: FloatArray, noise: FloatArray | None = None) -> FloatArray:
        """Give what the script says."""
        del obs, noise
        return self._script()


def _graph(obs: int, action: FloatArray) -> bytes:
    """Serialise action = 0 · obs + 0 · noise + a constant."""
    size = len(action)
    constants = {
        "weights": np.zeros((obs, size), np.float32),
        "zero": np.zeros(1, np.float32),
        "constant": action,
    }
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["obs", "weights"], ["mean"]),
            helper.make_node("Mul", ["noise", "zero"], ["quiet"]),
            helper.make_node("Add", ["mean", "quiet"], ["sum"]),
            helper.make_node("Add", ["sum", "constant"], ["action"]),
        ],
        "holding",
        [
            helper.make_tensor_value_info("obs", TensorProto.FLOAT, [1, obs]),
            helper.make_tensor_value_info("noise", TensorProto.FLOAT, [1, size]),
        ],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, [1, size])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    serialised: bytes = model.SerializeToString()
    return serialised
