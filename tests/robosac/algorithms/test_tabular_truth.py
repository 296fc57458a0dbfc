"""The losses against a small world whose soft values are known in closed form.

Three states, two actions, deterministic moves.  Policies give each action a probability in
quarters, so a batch that repeats rows as often as the policy takes them is an exact expectation.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from robosac.algorithms.losses import (
    bellman_target,
    critic_loss,
    reinforce_loss,
    soft_value,
    value_loss,
)

GAMMA, ALPHA = 0.9, 0.4
NEXT = np.array([[1, 2], [2, 0], [2, 1]])
"""Where action a leads from state s."""
REWARD = np.array([[0.0, 1.0], [2.0, -1.0], [0.5, 0.3]])
END = np.array([[0, 0], [0, 0], [1, 0]])
"""The task ends by the first action in the last state."""
POLICY = np.array([[1, 3], [2, 2], [3, 1]]) / 4

Table = NDArray[np.float64]


def soft_q_of(policy: Table) -> Table:
    """Q of a policy by solving V = π·(Q - α log π), Q = r + γ(1-end)·V' as a linear system."""
    moves = np.zeros((3, 2, 3))
    np.put_along_axis(moves, NEXT[..., None], GAMMA * (1 - END)[..., None], axis=2)
    bonus = (policy * (REWARD - ALPHA * np.log(policy))).sum(1)
    value = np.linalg.solve(np.eye(3) - np.einsum("sa,sat->st", policy, moves), bonus)
    return REWARD + moves @ value


def soft_optimal_q() -> Table:
    """Q of the best policy by soft value iteration: V = α log Σ exp(Q/α)."""
    q = np.zeros((3, 2))
    for _ in range(500):
        value = ALPHA * np.log(np.exp(q / ALPHA).sum(1))
        q = REWARD + GAMMA * (1 - END) * value[NEXT]
    return q


def rows_of(policy: Table) -> tuple[torch.Tensor, ...]:
    """Indices (state, action, next action) of every move, as often as the policy goes on so."""
    rows = [
        (s, a, b)
        for s in range(3)
        for a in range(2)
        for b in range(2)
        for _ in range(round(4 * policy[NEXT[s, a], b]))
    ]
    return tuple(torch.tensor(column) for column in zip(*rows, strict=True))


def targets(q: torch.Tensor, policy: Table, rows: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Soft Bellman targets of the rows from a table of values."""
    s, a, b = rows
    following = torch.tensor(NEXT)[s, a]
    log_prob = torch.tensor(np.log(policy), dtype=torch.float32)[following, b]
    value = soft_value(q[following, b], log_prob, alpha=torch.tensor(ALPHA))
    discount = GAMMA * (1 - torch.tensor(END)[s, a].float())
    reward = torch.tensor(REWARD, dtype=torch.float32)[s, a]
    return bellman_target(reward=reward, discount=discount, next_value=value)


def gradient_at(table: Table, policy: Table) -> torch.Tensor:
    """Gradient of the critics' loss with respect to a table of values."""
    q = torch.tensor(table, dtype=torch.float32, requires_grad=True)
    rows = rows_of(policy)
    loss = critic_loss(q[rows[0], rows[1]][None], targets(q.detach(), policy, rows))
    (gradient,) = torch.autograd.grad(loss, q)
    return gradient


def test_evaluation_is_at_rest_at_the_true_values() -> None:
    """At the Q of the linear system the gradient vanishes; equations 2 and 5.

    Fails without the mask of ends, without the entropy, or with another discount.
    """
    truth = soft_q_of(POLICY)
    assert gradient_at(truth, POLICY).abs().max() < 1e-6
    assert gradient_at(truth + 0.1, POLICY).abs().max() > 1e-3


def test_evaluation_ends_at_the_true_values() -> None:
    """Repeated backups of a table converge to the closed form from anywhere; lemma 1."""
    q, rows = torch.full((3, 2), 50.0), rows_of(POLICY)
    for _ in range(250):
        target, fresh = targets(q, POLICY, rows), torch.zeros(3, 2)
        fresh.index_put_((rows[0], rows[1]), target, accumulate=True)
        q = fresh / 4  # every move has four rows
    assert q.numpy() == pytest.approx(soft_q_of(POLICY), abs=1e-3)


def test_state_value_is_at_rest_at_the_true_value() -> None:
    """At V = π·(Q - α log π) its gradient vanishes; arXiv 1801.01290, equation 5."""
    q = torch.tensor(soft_q_of(POLICY), dtype=torch.float32)
    states, actions = (
        torch.tensor(column)
        for column in zip(
            *[(s, a) for s in range(3) for a in range(2) for _ in range(round(4 * POLICY[s, a]))],
            strict=True,
        )
    )
    log_prob = torch.tensor(np.log(POLICY), dtype=torch.float32)[states, actions]
    target = soft_value(q[states, actions], log_prob, alpha=torch.tensor(ALPHA))
    truth = (POLICY * (soft_q_of(POLICY) - ALPHA * np.log(POLICY))).sum(1)
    value = torch.tensor(truth, dtype=torch.float32, requires_grad=True)
    (gradient,) = torch.autograd.grad(value_loss(value[states], target), value)
    assert gradient.abs().max() < 1e-6


def test_improvement_is_at_rest_at_the_exponential_of_the_values() -> None:
    """With Q/α = (0, log 3) the score function vanishes at π = (1/4, 3/4) alone; equation 4."""
    q = torch.tensor([0.0, ALPHA * np.log(3)])
    for quarters, rests in (((1, 3), True), ((2, 2), False), ((3, 1), False)):
        policy = torch.tensor(quarters) / 4
        logits = policy.log().requires_grad_()
        actions = torch.tensor([0] * quarters[0] + [1] * quarters[1])
        log_prob = torch.log_softmax(logits, 0)[actions]
        soft = q[actions] - ALPHA * log_prob.detach()
        loss = reinforce_loss(value=soft[None], log_prob=log_prob[None])
        (gradient,) = torch.autograd.grad(loss, logits)
        assert (gradient.abs().max() < 1e-6) == rests
        if not rests:
            assert gradient[1] < 0, "descending makes the better action likelier"


def test_iteration_ends_at_the_best_policy() -> None:
    """Evaluation and improvement in turn reach what soft value iteration finds; theorem 1."""
    policy = POLICY
    for _ in range(20):
        q = soft_q_of(policy)
        policy = np.exp(q / ALPHA) / np.exp(q / ALPHA).sum(1, keepdims=True)
    assert q == pytest.approx(soft_optimal_q(), abs=1e-9)
