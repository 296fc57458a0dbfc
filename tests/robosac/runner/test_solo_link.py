"""A robot without a learner."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from robosac.policy import OnnxPolicy
from robosac.runner.solo_link import SoloLink

if TYPE_CHECKING:
    from tests.robosac.conftest import PolicyMaker


def test_the_policy_of_the_file_acts_to_the_end(make_policy: PolicyMaker) -> None:
    """As version 0; no bound on rows, none of them lost, nobody to wait for."""
    link = SoloLink(OnnxPolicy(make_policy(gain=2.0)))
    link.wait_until_ready()
    first = link.acting
    link.record(np.zeros(9, np.float32))
    link.poll()
    link.finish(1)
    link.close()
    assert link.acting is first
    assert first.version == 0
    np.testing.assert_allclose(first.policy.act(np.ones(3, np.float32)), [6.0], rtol=1e-6)
    assert link.credit is None
    assert not link.enough
    assert link.dropped is None
    assert link.link_state == "no learner"
