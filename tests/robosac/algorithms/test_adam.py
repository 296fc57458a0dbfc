"""Adam against torch's own."""

from __future__ import annotations

import torch

from robosac.algorithms.adam import Adam

SHAPES = [(4, 3), (4,), ()]


def gradients(step: int) -> list[torch.Tensor]:
    """Gradients that differ in size and from step to step."""
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(shape, generator=generator) * 10**step for shape in SHAPES]


def test_steps_are_those_of_torch_to_the_bit() -> None:
    """Five steps with gradients from 1 to 10,000."""
    ours = [torch.ones(shape) for shape in SHAPES]
    theirs = [torch.ones(shape) for shape in SHAPES]
    mine = Adam(ours, 1e-2)
    reference = torch.optim.Adam(theirs, 1e-2, fused=True)
    for step in range(5):
        mine.step(gradients(step))
        for parameter, gradient in zip(theirs, gradients(step), strict=True):
            parameter.grad = gradient
        reference.step()
        for one, other in zip(ours, theirs, strict=True):
            assert torch.equal(one, other), f"step {step}"


def test_first_step_by_hand() -> None:
    """Algorithm 1: after bias correction the first step is the learning rate, against the sign."""
    parameter = torch.tensor([1.0, 1.0, 1.0])
    Adam([parameter], 0.25).step([torch.tensor([2.0, -0.5, 0.0])])
    assert torch.allclose(parameter, torch.tensor([0.75, 1.25, 1.0]))


def test_parameters_that_require_gradients_are_moved_in_place() -> None:
    """Leaves of the graph may be optimised, and stay the same tensors."""
    parameter = torch.tensor(1.0, requires_grad=True)
    optimiser = Adam([parameter], 0.1)
    loss = (parameter - 3) ** 2
    optimiser.step(torch.autograd.grad(loss, optimiser.parameters))
    assert optimiser.parameters[0] is parameter
    assert parameter.item() > 1
    assert parameter.requires_grad


def test_state_is_all_that_the_next_step_needs() -> None:
    """Copying the state and the parameters into a fresh optimiser continues to the bit."""
    one = [torch.ones(shape) for shape in SHAPES]
    first = Adam(one, 1e-2)
    for step in range(3):
        first.step(gradients(step))
    other = [parameter.clone() for parameter in one]
    second = Adam(other, 1e-2)
    for name, tensor in first.state().items():
        second.state()[name].copy_(tensor)
    for optimiser in (first, second):
        optimiser.step(gradients(3))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not torch.equal(one[0], torch.ones(SHAPES[0]))
