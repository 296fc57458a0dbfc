"""A robot whose devices are emulated by a process, as `sim --emulate` drives it."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING

import numpy as np
import pytest

from robosac.cli.emulated import check_devices, driven, emulated
from robosac.cli.supervisor import ChildDiedError
from robosac.errors import ConfigError
from robosac.flight_log.record import read
from robots import RobotError
from tools.patient_pup import patient_pup

if TYPE_CHECKING:
    from pathlib import Path


def test_it_stands_up_by_itself_and_a_dead_emulator_ends_it(tmp_path: Path) -> None:
    """No clear brings back the ports of a process that has died: that must not go on for ever."""
    track, log = tmp_path / "track.jsonl", tmp_path / "flight.mcap"
    pup = str(patient_pup(tmp_path / "pup"))
    with (
        emulated(pup, seed=0, track=track) as emulator,
        driven(pup, "walk", emulator, log=log, stopped=lambda: False) as place,
    ):
        obs, _ = place.env.reset(seed=0)
        assert obs.shape == (place.contract.obs_size,)
        place.env.step(np.zeros(12, np.float32))
        emulator.check()
        emulator._process.send_signal(signal.SIGKILL)  # noqa: SLF001 - nobody else would kill it
        emulator._process.wait()  # noqa: SLF001 - as above
        ended = False
        while not ended:
            _, _, terminated, truncated, _ = place.env.step(np.zeros(12, np.float32))
            ended = terminated or truncated
        with pytest.raises(ChildDiedError, match="emulator has ended with exit code -9"):
            place.env.reset()
        with contextlib.suppress(RobotError):
            place.env.close()
    states = {str(state) for state in read(log).ticks["state"]}
    assert {"ramp", "active"} <= states


def test_a_robot_without_devices_is_refused() -> None:
    """Before any process is started."""
    check_devices("pup")
    with pytest.raises(ConfigError, match=r"'go2' has no devices to emulate; expected \[bus\]"):
        check_devices("go2")
