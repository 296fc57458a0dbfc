"""Which OpenGL to draw with, settled before MuJoCo or dm_control look for one."""

from __future__ import annotations

import ctypes.util
import os
import sys

_OFF = "disabled"


def choose() -> str:
    """Name the OpenGL backend: what MUJOCO_GL says, or one that needs no screen when there is none.

    The answer is written to MUJOCO_GL where that was empty and there is no screen: dm_control would
    otherwise take GLFW, which warns and then fails.  "disabled" means that no library was found;
    physics works without one.
    """
    named = os.environ.get("MUJOCO_GL", "").strip().lower()
    if named:
        return named
    if not sys.platform.startswith("linux") or _has_screen():
        return "glfw"
    found = next((name for name in ("egl", "osmesa") if _library(name)), _OFF)
    os.environ["MUJOCO_GL"] = found
    return found


def _has_screen() -> bool:
    """Whether a display server is named."""
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _library(backend: str) -> str | None:
    """File name of the shared library behind a backend; None when it is not installed."""
    return ctypes.util.find_library({"egl": "EGL", "osmesa": "OSMesa"}[backend])
