"""Pictures of simulated robots without a screen, and films of pictures."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mujoco
import numpy as np

from robots.closing import Closing
from sim.errors import RenderingError, VideoError
from sim.opengl import choose

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from sim.simulated_robot import SimulatedRobot

    Frame = NDArray[np.uint8]

_VIEW_IN_SIZES = 2.1
"""Distance of the camera in sizes of the robot; fills most of the picture."""
_SHADOW_PIXELS = 1024
_LIGHT_M = 4.0
"""Distance of the lights from the robot, m."""
_HEADLESS = ("egl", "osmesa")
_NAMED_OFF = ("disable", "disabled", "off", "false", "0")


class Camera(Closing):
    """Looks at a simulated robot from its front right and goes with its base.

    The lights go with it, so that the shadow stays under a robot that walks away.
    """

    def __init__(self, robot: SimulatedRobot, *, width: int = 640, height: int = 480) -> None:
        """Open an OpenGL context for frames of this size in pixels; raises RenderingError."""
        self._model, self._data = robot.model, robot.data
        self._base = self._model.body(robot.spec.base).id
        buffer = self._model.vis.global_
        buffer.offwidth, buffer.offheight = (
            max(buffer.offwidth, width),
            max(buffer.offheight, height),
        )
        # Where there is no GPU the processor draws: these two cost most and show least in a film.
        quality = self._model.vis.quality
        quality.offsamples, quality.shadowsize = 0, min(quality.shadowsize, _SHADOW_PIXELS)
        self._view = mujoco.MjvCamera()
        self._view.distance = _VIEW_IN_SIZES * _size(self._model, self._data, self._base)
        self._view.azimuth, self._view.elevation = 140.0, -20.0
        self._rect = mujoco.MjrRect(0, 0, width, height)
        self._scene = mujoco.MjvScene(self._model, maxgeom=2000)
        self._option = mujoco.MjvOption()
        self._gl: Any = None
        self._open(width, height)

    def frame(self) -> Frame:
        """Draw the robot as it is now (height, width, 3), RGB.

        Raises RenderingError after close().
        """
        if self._gl is None:
            raise RenderingError("the camera is closed")
        self._gl.make_current()
        self._view.lookat[:] = self._data.xpos[self._base]
        every = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(
            self._model, self._data, self._option, None, self._view, every, self._scene
        )
        self._take_lights_along()
        pixels = np.empty((self._rect.height, self._rect.width, 3), dtype=np.uint8)
        mujoco.mjr_render(self._rect, self._scene, self._context)
        mujoco.mjr_readPixels(pixels, None, self._rect, self._context)
        return pixels[::-1].copy()

    def close(self) -> None:
        """Release OpenGL; may be called any number of times."""
        if self._gl is not None:
            self._gl.make_current()
            self._context.free()
            self._gl.free()
            self._gl = None

    def _take_lights_along(self) -> None:
        """Shine every light on the robot.

        Directional ones become wide spots: their shadow map speckles a floor they meet aslant.
        """
        for light in self._scene.lights[: self._scene.nlight]:
            if light.headlight:
                continue
            light.pos[:] = self._view.lookat - _LIGHT_M * np.array(light.dir)
            if light.type == mujoco.mjtLightType.mjLIGHT_DIRECTIONAL:
                light.type = mujoco.mjtLightType.mjLIGHT_SPOT
                light.cutoff, light.exponent = 78.0, 0.0
                light.attenuation[:] = [1, 0, 0]

    def _open(self, width: int, height: int) -> None:
        backend = choose()
        if backend in _NAMED_OFF:
            raise RenderingError(f"MUJOCO_GL is {backend!r}, or no OpenGL library was found")
        try:
            module = importlib.import_module(
                f"mujoco.{backend if backend in _HEADLESS else 'glfw'}"
            )
            self._gl = module.GLContext(width, height)
            self._gl.make_current()
            scale = mujoco.mjtFontScale.mjFONTSCALE_150.value
            self._context = mujoco.MjrContext(self._model, scale)
            mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        except Exception as error:  # noqa: BLE001 - every driver fails in a way of its own
            raise RenderingError(f"{backend}: {error}") from None


def _size(model: mujoco.MjModel, data: mujoco.MjData, base: int) -> float:
    """Radius about the base that holds the whole robot, m."""
    bodies = np.flatnonzero(model.body_rootid == model.body_rootid[base])
    geoms = np.flatnonzero(np.isin(model.geom_bodyid, bodies))
    offsets = np.linalg.norm(data.geom_xpos[geoms] - data.xpos[base], axis=1)
    return float((offsets + model.geom_rbound[geoms]).max(initial=0.1))


def record(frames: Iterable[Frame], path: Path | str, *, fps: float) -> int:
    """Write RGB frames (H, W, 3) as an H.264 film that every browser plays; returns their number.

    Odd sizes lose their last row or column.  The file appears only when it is complete.  Raises
    VideoError when there are no frames, when they differ in size, or when ffmpeg fails.
    """
    path = Path(path)
    unfinished = path.with_name(f"{path.stem}.unfinished{path.suffix}")
    try:
        count = _encode(frames, unfinished, fps)
        unfinished.replace(path)
    except (OSError, RuntimeError, ValueError) as error:
        raise VideoError(path, str(error)) from None
    finally:
        unfinished.unlink(missing_ok=True)
    return count


def _encode(frames: Iterable[Frame], path: Path, fps: float) -> int:
    """Feed the frames to ffmpeg; raises ValueError for bad frames, OSError when ffmpeg fails."""
    import imageio_ffmpeg

    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise ValueError("no frames to write; expected at least one")
    height, width = (size - size % 2 for size in first.shape[:2])
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps))
    film = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "20", "-movflags", "+faststart")
    program = (imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y")
    command = (*program, *raw, "-i", "-", *film, str(path))
    count = 0
    with subprocess.Popen(  # noqa: S603 - our own command, no shell
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as ffmpeg:
        assert ffmpeg.stdin is not None
        for count, frame in enumerate(itertools.chain([first], frames), start=1):
            if frame.shape != first.shape or frame.dtype != np.uint8:
                got = f"frame {count} is {frame.shape} {frame.dtype}"
                raise ValueError(f"{got}; expected {first.shape} uint8")
            with contextlib.suppress(BrokenPipeError):  # ffmpeg says below why it hung up
                ffmpeg.stdin.write(frame[:height, :width].tobytes())
        _, complaint = ffmpeg.communicate()
    if ffmpeg.returncode != 0:
        raise OSError(f"ffmpeg: {complaint.decode(errors='replace')}")
    return count
