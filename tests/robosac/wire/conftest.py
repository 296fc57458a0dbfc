"""Keys of a learner and two robots, and a context that must be left empty."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
import zmq

from robosac.wire.gatekeeper import Gatekeeper
from robosac.wire.keys import LearnerKeys, RobotKeys
from robosac.wire.keysmith import make_learner, make_robot
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from robosac.wire.sockets import Context


class KeyFolders:
    """A folder of keys as `robosac keys pup-1 pup-2` leaves it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.learner_folder = folder / "learner"
        self.allowed = self.learner_folder / "allowed"
        make_learner(self.learner_folder)
        self.learner = LearnerKeys.load(self.learner_folder)
        self.robot("pup-1")
        self.robot("pup-2")

    def robot(self, name: str) -> RobotKeys:
        """Keys of a robot, made when there are none."""
        make_robot(self.folder / name, self.learner_folder)
        return RobotKeys.load(self.folder / name)

    def stranger(self) -> RobotKeys:
        """A key that nobody has heard of, of somebody who knows the learner's."""
        public, secret = zmq.curve_keypair()
        return RobotKeys("stranger", public, secret, self.learner.public)


@pytest.fixture
def key_folders(tmp_path: Path) -> KeyFolders:
    """Make keys in a new folder."""
    return KeyFolders(tmp_path / "keys")


@pytest.fixture
def context() -> Iterator[Context]:
    """End the context; a test that leaves a socket or a thread behind fails here."""
    before = threading.enumerate()
    context: Context = zmq.Context()
    yield context
    ending = threading.Thread(target=context.term, daemon=True)  # it waits for every socket
    ending.start()
    for thread in {ending, *threading.enumerate()}.difference(before):
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), thread.name


@pytest.fixture
def gatekeeper(context: Context, key_folders: KeyFolders) -> Iterator[Gatekeeper]:
    """Guard the context."""
    gatekeeper = Gatekeeper(context, key_folders.learner)
    yield gatekeeper
    gatekeeper.close()
