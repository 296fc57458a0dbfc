"""What a policy would do, tried before it may."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from robosac.errors import PolicyError
from robosac.policy import OnnxPolicy
from robosac.runner.policy_trial import check_finite, jump
from robosac.tasks.observation import Term

if TYPE_CHECKING:
    from robosac.policy import Contract
    from tests.robosac.conftest import PolicyMaker


def test_a_jump_is_the_largest_mean_over_the_joints_in_shares_of_the_range(
    contract: Contract, make_policy: PolicyMaker
) -> None:
    """Two joints of ranges 4 and 20: by hand, 2/2 and 2/10 on the first, nothing on the second."""
    two = msgspec.structs.replace(contract, action_lower=(-2.0, -10.0), action_upper=(2.0, 10.0))
    acting = OnnxPolicy(make_policy(contract=two))
    candidate = OnnxPolicy(make_policy(gain=3.0, contract=two))
    seen = [np.array([1, 0, 0], np.float32), np.array([0.5, -0.5, 0], np.float32)]
    assert jump(acting, candidate, seen) == pytest.approx((2 / 2 + 2 / 10) / 2)
    assert jump(acting, candidate, []) == 0.0
    assert jump(acting, acting, seen) == 0.0


@pytest.mark.parametrize(("clip", "finite"), [(1.0, True), (None, False)])
def test_actions_are_finite_at_the_bounds(
    contract: Contract, make_policy: PolicyMaker, *, clip: float | None, finite: bool
) -> None:
    """Those of the contract's terms, and something large where a term has none."""
    terms = (Term(name="observation", size=3, unit="", clip=clip),)
    golden = (msgspec.structs.replace(contract.golden[0], obs=[0.0] * 3),)
    bounded = msgspec.structs.replace(contract, obs=terms, golden=golden)
    policy = OnnxPolicy(make_policy(gain=1e37, contract=bounded))
    if finite:
        check_finite(policy, [np.zeros(3, np.float32)])
    else:
        with pytest.raises(PolicyError, match="not finite on the upper bounds"):
            check_finite(policy, [])


def test_trying_a_policy_that_acts_does_not_disturb_it(make_policy: PolicyMaker) -> None:
    """The control thread is in act() while another one asks for many actions."""
    policy = OnnxPolicy(make_policy())
    others = [np.full(3, 100, np.float32)] * 200
    wrong: list[float] = []

    def act() -> None:
        for number in range(2000):
            obs = np.full(3, number % 7, np.float32)
            action = float(policy.act(obs)[0])
            if action != 3 * (number % 7):
                wrong.append(action)

    thread = threading.Thread(target=act)
    thread.start()
    while thread.is_alive():
        np.testing.assert_allclose(policy.actions(others), np.full((200, 1), 300))
    assert wrong == []
