from __future__ import annotations

import ctypes.util
import os
from typing import TYPE_CHECKING

import pytest

from sim import opengl

if TYPE_CHECKING:
    from collections.abc import Iterable


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A Linux machine that names no backend and has no screen."""
    for name in ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.setenv(name, "")  # so that it is restored afterwards
    monkeypatch.setattr("sys.platform", "linux")
    return monkeypatch


def install(machine: pytest.MonkeyPatch, libraries: Iterable[str]) -> None:
    """Let only these shared libraries be found."""
    have = set(libraries)
    machine.setattr(ctypes.util, "find_library", lambda name: name if name in have else None)


@pytest.mark.parametrize(
    ("libraries", "backend"),
    [(["EGL", "OSMesa"], "egl"), (["OSMesa"], "osmesa"), ([], "disabled")],
)
def test_without_a_screen_the_first_library_found_is_taken(
    machine: pytest.MonkeyPatch, libraries: list[str], backend: str
) -> None:
    """And everybody who asks later gets the same answer from the environment."""
    install(machine, libraries)
    assert opengl.choose() == backend
    assert os.environ["MUJOCO_GL"] == backend


def test_a_named_backend_is_left_alone(machine: pytest.MonkeyPatch) -> None:
    """MUJOCO_GL is the user's word."""
    install(machine, ["EGL"])
    machine.setenv("MUJOCO_GL", "OSMesa")
    assert opengl.choose() == "osmesa"
    assert os.environ["MUJOCO_GL"] == "OSMesa"


@pytest.mark.parametrize("screen", ["DISPLAY", "WAYLAND_DISPLAY"])
def test_with_a_screen_the_engines_keep_their_own_choice(
    machine: pytest.MonkeyPatch, screen: str
) -> None:
    """GLFW works there, and nothing is written."""
    install(machine, ["EGL"])
    machine.setenv(screen, ":0")
    assert opengl.choose() == "glfw"
    assert not os.environ["MUJOCO_GL"]
