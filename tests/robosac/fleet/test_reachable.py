"""Under which address the nodes of a cluster find the learner."""

from __future__ import annotations

import pytest

from robosac.errors import ConfigError
from robosac.fleet.cluster import reachable

OWN = "10.0.0.1"


@pytest.mark.parametrize(
    ("endpoint", "called"),
    [
        ("tcp://0.0.0.0:5555", "tcp://10.0.0.1:5555"),
        ("tcp://*:5555", "tcp://10.0.0.1:5555"),
        ("tcp://[::]:5555", "tcp://10.0.0.1:5555"),
        ("tcp://10.0.0.7:5555", "tcp://10.0.0.7:5555"),
        ("tcp://[fe80::1]:5555", "tcp://[fe80::1]:5555"),
        ("tcp://workstation.local:5555", "tcp://workstation.local:5555"),
    ],
)
def test_every_node_can_call(endpoint: str, called: str) -> None:
    """Every address of this machine becomes the one that the nodes know it by."""
    assert reachable(endpoint, own=OWN, others={"10.0.0.2"}) == called


def test_a_node_whose_address_is_ipv6() -> None:
    """It stands in brackets."""
    assert reachable("tcp://[::]:5555", own="fe80::1", others=set()) == "tcp://[fe80::1]:5555"


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
def test_a_learner_for_this_machine_only(host: str) -> None:
    """It is enough for a cluster of this machine; another machine would call itself."""
    assert reachable(f"tcp://{host}:5", own=OWN, others=set()) == f"tcp://{host}:5"
    with pytest.raises(
        ConfigError, match=r"nodes at 10\.0\.0\.2, 10\.0\.0\.3; .* --bind"
    ) as caught:
        reachable(f"tcp://{host}:5", own=OWN, others={"10.0.0.3", "10.0.0.2"})
    assert f"{host}:5" in str(caught.value)
