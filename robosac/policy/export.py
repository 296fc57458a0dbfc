"""Make policy files from a torch actor: export once, then replace the weights in place."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robosac.errors import PolicyError
from robosac.policy import protobuf
from robosac.policy.file import assemble
from robosac.policy.onnx_policy import ROUNDING_MAX, OnnxPolicy

if TYPE_CHECKING:
    from robosac.policy.contract import Contract

Weights = Mapping[str, NDArray[np.float32]]
PARITY = 1e-5
"""Largest difference between torch and onnxruntime at export."""


class PolicyGraph(nn.Module):
    """What is exported: the actor with the scaling from [-1, 1] to output units inside."""

    def __init__(self, actor: nn.Module, contract: Contract) -> None:
        """Take the bounds from the contract."""
        super().__init__()
        lower, upper = torch.tensor(contract.action_lower), torch.tensor(contract.action_upper)
        self.actor = actor
        self.action_centre: Tensor
        self.action_half_range: Tensor
        self.register_buffer("action_centre", (lower + upper) / 2)
        self.register_buffer("action_half_range", (upper - lower) / 2)

    def forward(self, obs: Tensor, noise: Tensor) -> Tensor:
        """Action (B, A) in output units."""
        squashed: Tensor = self.actor(obs, noise)
        return self.action_centre + self.action_half_range * squashed


class PolicyTemplate:
    """An exported graph whose weights can be replaced by copying bytes.

    Exporting takes seconds; filling takes well under a millisecond, so publishing does not hold up
    learning.
    """

    def __init__(self, actor: nn.Module, contract: Contract) -> None:
        """Export the actor; raises PolicyError when onnxruntime and torch disagree."""
        self.contract = contract
        # A copy of its own: filling may run on another thread than the one that trains the actor.
        self._module = PolicyGraph(copy.deepcopy(actor).cpu(), contract).eval()
        self._precise = copy.deepcopy(self._module).double()
        # Zeros would let the exporter fold a parameter away, and there would be nothing to replace.
        with torch.no_grad():
            for name, value in _random_weights(self._module.actor, seed=1).items():
                self._module.actor.get_parameter(name).copy_(torch.from_numpy(value))
        self._graph = bytearray(_export(self._module, contract))
        self._places = _find_weights(bytes(self._graph), dict(actor.named_parameters()))
        self._check_parity()

    def fill(self, weights: Weights, contract: Contract) -> bytes:
        """Return a policy file with these weights, by the actor's parameter names.

        The contract's golden vectors get the actions of these weights.  Raises PolicyError when
        learning has diverged.
        """
        for name, value in weights.items():
            if not np.isfinite(value).all():
                raise PolicyError(
                    f"{name} is not finite after {contract.training.updates} updates; "
                    "lower the recipe's learning rates, then start a new run"
                )
        graph = self._graph.copy()
        for name, place in self._places.items():
            graph[place] = weights[name].tobytes()
        return assemble(bytes(graph), self._with_golden(contract, weights))

    def _with_golden(self, contract: Contract, weights: Weights) -> Contract:
        """Fill in the actions, and what float32 makes of them.

        Golden observations need not be any that a robot makes.  Far from those, where sums are of
        large terms that cancel, float32 is off by more than two libraries otherwise ever differ.
        """
        obs = torch.tensor([golden.obs for golden in contract.golden])
        noise = torch.zeros(len(obs), contract.action_size)
        rounded = self._act(weights, obs, noise)
        self._precise.load_state_dict(self._module.state_dict())
        with torch.no_grad():
            actions = self._precise(obs.double(), noise.double()).numpy()
        rounding = float((np.abs(rounded - actions) / np.maximum(1, np.abs(actions))).max())
        if not rounding <= ROUNDING_MAX:  # nor when it is no number
            raise PolicyError(
                f"float32 moves the policy's actions by {rounding:.1e} after "
                f"{contract.training.updates} updates; lower the recipe's learning rates, then "
                "start a new run"
            )
        golden = tuple(
            msgspec.structs.replace(one, action=action.tolist(), rounding=rounding)
            for one, action in zip(contract.golden, actions, strict=True)
        )
        return msgspec.structs.replace(contract, golden=golden)

    def _act(self, weights: Weights, obs: Tensor, noise: Tensor) -> NDArray[np.float32]:
        """Run torch with these weights."""
        with torch.no_grad():
            for name, parameter in self._module.actor.named_parameters():
                parameter.copy_(torch.from_numpy(weights[name]))
            actions: NDArray[np.float32] = self._module(obs, noise).numpy()
        return actions

    def _check_parity(self) -> None:
        """Compare torch and onnxruntime on random and extreme inputs.

        Fresh random weights prove that filling reaches every parameter.
        """
        generator = torch.Generator().manual_seed(0)
        weights = _random_weights(self._module.actor, seed=2)
        obs = torch.randn((32, self.contract.obs_size), generator=generator)
        obs[16:] *= 10
        noise = torch.randn((32, self.contract.action_size), generator=generator)
        noise[::2] = 0
        expected = self._act(weights, obs, noise)
        policy = OnnxPolicy(self.fill(weights, self.contract), source="export")
        got = np.stack([policy.act(o, n) for o, n in zip(obs.numpy(), noise.numpy(), strict=True)])
        worst = float(np.abs(got - expected).max() / max(1.0, float(np.abs(expected).max())))
        if not worst <= PARITY:  # nor when it is no number
            raise PolicyError(
                f"exported graph differs from torch by {worst:.2e}; at most {PARITY:g} is allowed"
            )


def _random_weights(module: nn.Module, *, seed: int) -> dict[str, NDArray[np.float32]]:
    """Draw new values for every parameter, of a size that keeps activations near one."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.standard_normal(tuple(value.shape), np.float32)
        / np.sqrt(value.shape[-1], dtype=np.float32)
        for name, value in module.named_parameters()
    }


def _export(graph: PolicyGraph, contract: Contract) -> bytes:
    """Serialise the graph in one piece, without the exporter's notes about source files."""
    example = (torch.zeros(1, contract.obs_size), torch.zeros(1, contract.action_size))
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            graph,
            example,
            input_names=["obs", "noise"],
            output_names=["action"],
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise PolicyError("torch.onnx.export gave no graph; expected an ONNX program")
    model = program.model_proto
    proto = model.graph
    for entry in (proto, *proto.node, *proto.input, *proto.output, *proto.value_info):
        del entry.metadata_props[:]
    serialised: bytes = model.SerializeToString()
    return serialised


def _find_weights(graph: bytes, parameters: Mapping[str, Tensor]) -> dict[str, slice]:
    """Where each parameter's bytes lie in the serialised graph.

    TensorProto stores the name (field 8) directly before the raw data (field 9), onnx.proto.
    """
    places = {}
    for name, value in parameters.items():
        key, size = f"actor.{name}".encode(), value.numel() * value.element_size()
        pattern = protobuf.field(8, key) + protobuf.header(9, size)
        if graph.count(pattern) != 1:
            raise PolicyError(f"exported graph has no parameter {name} of {size} bytes to replace")
        start = graph.index(pattern) + len(pattern)
        places[name] = slice(start, start + size)
    return places
