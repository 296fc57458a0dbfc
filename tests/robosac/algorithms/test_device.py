"""Updates are made where they are asked to be, and never wait for the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from robosac.algorithms.algorithm import CPU, Batch
from robosac.algorithms.catalogue import build
from tests.elsewhere import ELSEWHERE, Elsewhere
from tests.robosac.algorithms.conftest import SIZES, batch
from tests.robosac.algorithms.test_every_algorithm import CONFIGS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from robosac.algorithms.algorithm import Algorithm

UPDATES = 5


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    """A device that is not the processor."""
    with Elsewhere() as mode:
        yield mode


def learned(name: str, device: torch.device) -> Algorithm:
    """Make some updates on a device."""
    algorithm = build(CONFIGS[name], SIZES, seed=0, device=device)
    for number in range(UPDATES):
        algorithm.update(brought(batch(number), device))
    return algorithm


def brought(rows: Batch, device: torch.device) -> Batch:
    """Copy rows to a device."""
    return Batch(*(one.to(device) for one in rows if one is not None))


def check_alike(one: Algorithm, other: Algorithm, *, within: float) -> None:
    """Both have learned the same, wherever."""
    found, expected = one.state(), other.state()
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        gap = (found[key].cpu().double() - value.cpu().double()).abs().max().item()
        assert gap <= within, key


@pytest.mark.parametrize("name", CONFIGS)
def test_updates_are_the_same_elsewhere(name: str, elsewhere: Elsewhere) -> None:
    """All tensors of an update are on the device, and none is asked for its number.

    Fails when anything that is made on the way is the processor's, or when Python looks at a value.
    """
    algorithm = learned(name, ELSEWHERE)
    assert elsewhere.asked == 0
    state = algorithm.state()
    state.pop("generator")
    assert {value.device for value in state.values()} == {ELSEWHERE}
    check_alike(algorithm, learned(name, CPU), within=1e-5)


def test_a_state_goes_from_one_device_to_another(elsewhere: Elsewhere) -> None:
    """What was learned here goes on elsewhere, random numbers and falling rates included."""
    del elsewhere
    here = learned("flash", CPU)
    there = build(CONFIGS["flash"], SIZES, seed=1, device=ELSEWHERE)
    there.load_state(here.state(), updates=here.updates)
    check_alike(there, here, within=0)
    rows = batch(UPDATES)
    here.update(rows)
    there.update(brought(rows, ELSEWHERE))
    check_alike(there, here, within=1e-5)
    assert [one.steps for one in there.optimisers.values()] == [
        one.steps for one in here.optimisers.values()
    ]


def test_another_device_is_refused_what_is_here(elsewhere: Elsewhere) -> None:
    """The device of these tests would notice."""
    there = torch.ones(3).to(ELSEWHERE)
    with pytest.raises(RuntimeError, match="on another device"):
        there + torch.ones(3)
    assert (there + there).sum().item() == 6
    assert elsewhere.asked == 1


@pytest.mark.gpu
@pytest.mark.parametrize("name", CONFIGS)
def test_updates_are_the_same_on_a_gpu(name: str) -> None:
    """As on the processor, up to rounding."""
    check_alike(learned(name, torch.device("cuda")), learned(name, CPU), within=1e-3)
