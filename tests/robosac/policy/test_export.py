"""The exported graph is the actor, and filling it is exporting it again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import onnx
import pytest
import torch

from robosac.errors import PolicyError
from robosac.policy import export
from robosac.policy.export import PARITY, PolicyTemplate
from robosac.policy.file import assemble
from robosac.policy.onnx_policy import GOLDEN_TOLERANCE, OnnxPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from robosac.algorithms.networks import Actor
    from robosac.policy import Contract

    FloatArray = NDArray[np.float32]
    Weights = dict[str, FloatArray]

replace = msgspec.structs.replace
EXTREMES = [0.0, 1.0, -1e3, 1e6, -1e6, 1e-38]


def weights_of(actor: Actor) -> Weights:
    """Copy the weights as the learner hands them over."""
    return {name: value.detach().numpy().copy() for name, value in actor.named_parameters()}


def inputs() -> list[tuple[FloatArray, FloatArray]]:
    """Random and extreme observations, each without and with noise."""
    rng = np.random.default_rng(0)
    obs = [rng.standard_normal(6).astype(np.float32) * scale for scale in (1, 1, 1, 30, 1000)]
    obs += [np.full(6, value, np.float32) for value in EXTREMES]
    noise = [np.zeros(2, np.float32), rng.standard_normal(2).astype(np.float32)]
    return [(one, other) for one in obs for other in [*noise, 5 * noise[1]]]


def eager(actor: Actor, obs: FloatArray, noise: FloatArray) -> FloatArray:
    """What torch gives."""
    with torch.no_grad():
        action: FloatArray = actor(torch.tensor(obs)[None], torch.tensor(noise)[None])[0].numpy()
    return action


def test_file_and_torch_agree(file: bytes, actor: Actor) -> None:
    """On random and extreme inputs, with noise and without, to 1e-5."""
    policy = OnnxPolicy(file)
    seen = set()
    for obs, noise in inputs():
        expected = eager(actor, obs, noise)
        assert np.abs(policy.act(obs, noise) - expected).max() <= PARITY
        seen.add(expected.round(3).tobytes())
    assert len(seen) > 10, "the test must reach different actions"


def test_filling_is_exporting_again(
    template: PolicyTemplate, contract: Contract, other_actor: Actor, file: bytes
) -> None:
    """A filled graph gives the bits that a fresh export of the same weights gives."""
    weights = weights_of(other_actor)
    filled = OnnxPolicy(template.fill(weights, contract))
    fresh = OnnxPolicy(PolicyTemplate(other_actor, contract).fill(weights, contract))
    old = OnnxPolicy(file)
    for obs, noise in inputs():
        assert np.array_equal(filled.act(obs, noise), fresh.act(obs, noise))
    obs, noise = inputs()[1]
    assert not np.allclose(filled.act(obs, noise), old.act(obs, noise), atol=1e-2)


def test_filling_leaves_the_template_and_the_actor_alone(
    template: PolicyTemplate, contract: Contract, actor: Actor, file: bytes
) -> None:
    """The same weights give the same bytes, whatever was filled in between."""
    before = weights_of(actor)
    zeros = {name: np.zeros_like(value) for name, value in before.items()}
    assert template.fill(zeros, contract) != file
    assert template.fill(before, contract) == file
    assert all(np.array_equal(before[name], value) for name, value in weights_of(actor).items())


def test_every_parameter_is_replaced(
    template: PolicyTemplate, contract: Contract, actor: Actor, file: bytes
) -> None:
    """Changing any one parameter changes the action; none was folded into a constant."""
    obs, noise = inputs()[1]
    usual = OnnxPolicy(file).act(obs, noise)
    for name in weights_of(actor):
        weights = weights_of(actor)
        weights[name] = weights[name] * 1.5 + 0.1
        assert not np.array_equal(
            OnnxPolicy(template.fill(weights, contract)).act(obs, noise), usual
        )


def test_golden_actions_are_those_of_the_weights(file: bytes, actor: Actor) -> None:
    """The learner fills in the deterministic action of every golden observation."""
    for golden in OnnxPolicy(file).contract.golden:
        expected = eager(actor, np.array(golden.obs, np.float32), np.zeros(2, np.float32))
        assert np.allclose(golden.action, expected, atol=1e-6)


def cancelling(contract: Contract, actor: Actor, *, size: float) -> Weights:
    """Weights whose first golden action is tanh(0.3), the difference of terms of this size."""
    weights = weights_of(actor)
    weights["head.weight"] = weights["head.weight"] * np.float32(size)
    weights["head.bias"] = np.zeros_like(weights["head.bias"])
    exact = {name: value.astype(np.float64) for name, value in weights.items()}
    x = np.array(contract.golden[0].obs)
    for layer in ("trunk.0", "trunk.1"):
        x = np.maximum(exact[f"{layer}.weight"] @ x + exact[f"{layer}.bias"], 0)
    actions = contract.action_size
    weights["head.bias"][:actions] = 0.3 - (exact["head.weight"] @ x)[:actions]
    return weights


def test_a_policy_of_large_terms_is_judged_by_the_rounding_of_float32(
    template: PolicyTemplate, contract: Contract, actor: Actor
) -> None:
    """It is no other policy on a computer that rounds otherwise; any other action still is one.

    So one of CrossQ was refused that had learned Hopper for 40,000 steps: far from what the robot
    sees, 0.309437 was 0.309451 elsewhere.
    """
    file = template.fill(cancelling(contract, actor, size=3e4), contract)
    policy = OnnxPolicy(file)
    first = policy.contract.golden[0]
    assert GOLDEN_TOLERANCE < first.rounding < 1e-3
    by_one = 10 * GOLDEN_TOLERANCE + 8 * first.rounding
    for change, reason in (
        ({"action": [value + by_one for value in first.action]}, "golden vector 0 gives"),
        ({"rounding": 0.5}, "golden vector 0 may be off by 0.5, expected at most 0.001"),
        ({"rounding": -1.0}, "golden vector 0 may be off by -1, expected at most 0.001"),
    ):
        golden = (replace(first, **change), *policy.contract.golden[1:])
        other = assemble(policy.graph, replace(policy.contract, golden=golden))
        with pytest.raises(PolicyError, match=reason):
            OnnxPolicy(other)


def test_weights_that_float32_cannot_hold_are_no_policy(
    template: PolicyTemplate, contract: Contract, actor: Actor
) -> None:
    """Terms of millions leave nothing of an action between -1 and 1."""
    with pytest.raises(PolicyError, match=r"float32 moves the policy's actions by .*e-0"):
        template.fill(cancelling(contract, actor, size=3e6), contract)


def test_scaling_is_inside_the_graph(contract: Contract, actor: Actor) -> None:
    """With bounds [-4, 0] and [1, 3], the squashed action x comes out as -2 + 2x and 2 + x."""
    bounds = {"action_lower": (-4.0, 1.0), "action_upper": (0.0, 3.0)}
    scaled = replace(contract, **bounds)
    policy = OnnxPolicy(PolicyTemplate(actor, scaled).fill(weights_of(actor), scaled))
    for obs, noise in inputs():
        squashed = eager(actor, obs, noise)
        expected = np.array([-2, 2]) + np.array([2, 1]) * squashed
        assert np.allclose(policy.act(obs, noise), expected, atol=1e-5)


def test_the_graph_is_one_file_with_all_its_weights(file: bytes, actor: Actor) -> None:
    """No tensor lies in a file beside it; batch 1; nothing but the default operators."""
    model = onnx.load_from_string(file)
    stored = {one.name: one for one in model.graph.initializer}
    assert all(one.data_location == onnx.TensorProto.DEFAULT for one in stored.values())
    assert not any(one.external_data for one in stored.values())
    assert {f"actor.{name}" for name in weights_of(actor)} <= stored.keys()
    shapes = {
        item.name: [dim.dim_value for dim in item.type.tensor_type.shape.dim]
        for item in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {"obs": [1, 6], "noise": [1, 2], "action": [1, 2]}
    assert {entry.domain for entry in model.opset_import} == {""}
    assert not model.functions


def test_the_file_says_nothing_about_the_machine(file: bytes) -> None:
    """No path, no stack trace, no name of a source file."""
    for trace in (b"site-packages", b".py", b'File "', b"Traceback", bytes(Path.cwd()), b"/home"):
        assert trace not in file
    model = onnx.load_from_string(file)
    graph = model.graph
    parts = [graph, *graph.node, *graph.initializer]
    parts += [*graph.input, *graph.output, *graph.value_info]
    assert not any(part.doc_string or part.metadata_props for part in parts)
    assert not model.doc_string


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_never_published(
    template: PolicyTemplate, contract: Contract, actor: Actor, value: float
) -> None:
    """An infinite bias would pass for a saturated action, so it is the weights that count."""
    weights = weights_of(actor)
    weights["head.bias"][0] = value
    with pytest.raises(PolicyError, match=r"head\.bias is not finite.*learning rates"):
        template.fill(weights, contract)


def test_a_graph_that_differs_from_torch_is_refused(
    contract: Contract, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parity check of every export really compares."""
    real: Callable[..., FloatArray] = OnnxPolicy.act

    def off(policy: OnnxPolicy, obs: FloatArray, noise: FloatArray | None = None) -> FloatArray:
        return real(policy, obs, noise) + (0.0 if noise is None else np.float32(1e-4))

    monkeypatch.setattr(OnnxPolicy, "act", off)
    with pytest.raises(PolicyError, match=r"differs from torch by 1\.00e-04"):
        PolicyTemplate(actor, contract)


def test_a_parameter_that_cannot_be_replaced_is_refused(
    contract: Contract, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exporter that renames or drops a parameter would publish stale weights for ever."""
    exported = export._export  # noqa: SLF001 -- stands for another version of torch

    def renamed(*arguments: object) -> bytes:
        return exported(*arguments).replace(b"actor.head.bias", b"actor.head.bjas")  # type: ignore[arg-type]

    monkeypatch.setattr(export, "_export", renamed)
    with pytest.raises(PolicyError, match=r"no parameter head\.bias of 16 bytes"):
        PolicyTemplate(actor, contract)
