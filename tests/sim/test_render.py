from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import imageio_ffmpeg
import numpy as np
import pytest

import robots
from sim.errors import RenderingError, VideoError
from sim.render import Camera, record
from sim.robots import make

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from sim.simulated_robot import SimulatedRobot

    Frame = NDArray[np.uint8]
    Open = Callable[..., Camera]


@pytest.fixture(params=["go2", "quadruped"])
def robot(request: pytest.FixtureRequest) -> Iterator[SimulatedRobot]:
    """Either simulator's robot, standing."""
    with make(robots.find(request.param)) as robot:
        yield robot


@pytest.fixture
def open_camera() -> Iterator[Open]:
    """Opens cameras that are closed afterwards; skips where there is no OpenGL."""
    opened: list[Camera] = []

    def build(robot: SimulatedRobot, **size: int) -> Camera:
        try:
            opened.append(Camera(robot, **size))
        except RenderingError as error:
            pytest.skip(str(error))
        return opened[-1]

    yield build
    for camera in opened:
        camera.close()


def move(robot: Any, x: float, y: float) -> None:  # noqa: ANN401 - either simulator
    """Shift the base."""
    import mujoco

    robot.data.qpos[:2] += (x, y)
    mujoco.mj_forward(robot.model, robot.data)


def hide(robot: Any) -> None:  # noqa: ANN401 - either simulator
    """Make every part of the robot transparent."""
    bodies = robot.model.geom_bodyid > 0
    robot.model.geom_matid[bodies] = -1
    robot.model.geom_rgba[bodies, 3] = 0


def difference(one: Frame, other: Frame) -> float:
    """Mean absolute difference of two pictures, of 255."""
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


def test_the_whole_robot_is_in_the_picture(robot: SimulatedRobot, open_camera: Open) -> None:
    """What vanishes with the robot fills a good part of the picture and stays off its edges."""
    camera = open_camera(robot)
    frame = camera.frame()
    assert frame.shape == (480, 640, 3)
    assert frame.dtype == np.uint8
    hide(robot)
    changed = np.abs(frame.astype(int) - camera.frame()).max(axis=2) > 30
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert 0.04 < changed.mean() < 0.5
    assert rows[0] > 40
    assert columns[0] > 40
    assert columns[-1] < 600
    assert abs(columns.mean() - 320) < 60


def test_the_camera_and_the_lights_go_with_the_robot(
    robot: SimulatedRobot, open_camera: Open
) -> None:
    """Whole periods of the ground away, the picture is the same, shadow included."""
    camera = open_camera(robot)
    before = camera.frame()
    move(robot, 12.0, -8.0)
    assert difference(camera.frame(), before) < 4
    move(robot, 0.5, 0.5)  # another phase of the chequers: pictures are drawn anew each time
    assert difference(camera.frame(), before) > 4


def test_frames_keep_their_content(robot: SimulatedRobot, open_camera: Open) -> None:
    """A film is a list of frames; the next one must not write over the last."""
    camera = open_camera(robot)
    first = camera.frame()
    kept = first.copy()
    robot.disarm("fall down")
    robot.wait_until(robot.now() + 500_000_000)
    assert difference(camera.frame(), kept) > 1
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(("width", "height"), [(320, 240), (1280, 720)])
def test_any_size(robot: SimulatedRobot, open_camera: Open, width: int, height: int) -> None:
    """Larger than the model's own buffer too."""
    assert open_camera(robot, width=width, height=height).frame().shape == (height, width, 3)


def test_two_cameras_do_not_disturb_each_other(robot: SimulatedRobot, open_camera: Open) -> None:
    """Not while both are open, and not when one of them closes."""
    small, large = open_camera(robot, width=320, height=240), open_camera(robot)
    first = small.frame()
    assert large.frame().shape == (480, 640, 3)
    large.close()
    np.testing.assert_array_equal(small.frame(), first)


def test_closing_may_be_repeated_and_ends_it(robot: SimulatedRobot, open_camera: Open) -> None:
    """After close() there is no picture and no crash."""
    with open_camera(robot) as camera:
        camera.frame()
    camera.close()
    with pytest.raises(RenderingError, match="the camera is closed"):
        camera.frame()


def test_opengl_switched_off_is_one_line(
    robot: SimulatedRobot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong and what to try."""
    monkeypatch.setenv("MUJOCO_GL", "disabled")
    with pytest.raises(RenderingError, match=r"MUJOCO_GL is 'disabled'.* set MUJOCO_GL=") as got:
        Camera(robot)
    assert "\n" not in str(got.value)


@pytest.mark.parametrize("error", [ImportError, RuntimeError, AttributeError, OSError])
def test_a_failing_driver_is_one_line(
    robot: SimulatedRobot, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """PyOpenGL, EGL and GLFW each fail with exceptions of their own."""

    class Broken:
        @staticmethod
        def GLContext(*_: int) -> None:  # noqa: N802 - MuJoCo's name
            raise error("Cannot initialize an EGL display.\nThis likely means trouble")

    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setitem(sys.modules, "mujoco.egl", Broken)
    with pytest.raises(RenderingError, match=r"egl: Cannot initialize an EGL display\. This"):
        Camera(robot)


def test_without_a_screen_it_works_although_mujoco_came_first(open_camera: Open) -> None:
    """MuJoCo settles its own OpenGL when it is imported; pictures do not depend on that."""
    with make(robots.find("go2")) as robot:
        open_camera(robot)  # skips where there is no OpenGL
    script = (
        "import mujoco, robots; from sim.robots import make; from sim.render import Camera\n"
        "with make(robots.find('go2')) as robot, Camera(robot) as camera:\n"
        "    print(camera.frame().std() > 10)"
    )
    hidden = ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY", "PYOPENGL_PLATFORM")
    clean = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env=clean,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout.strip(), done.stderr) == ("True", "")


def colours(count: int, height: int = 48, width: int = 64) -> Iterator[Frame]:
    """Plain frames that get brighter."""
    for index in range(count):
        yield np.full((height, width, 3), (20 + 10 * index) % 256, np.uint8)


def read_back(path: Path) -> tuple[str, NDArray[np.uint8]]:
    """What ffmpeg says of a film, and all its pixels."""
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    command = [ffmpeg, "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    return done.stderr.decode(), np.frombuffer(done.stdout, np.uint8)


def test_a_film_has_every_frame_in_order(tmp_path: Path) -> None:
    """H.264 at the given pace, frames as they were but for compression."""
    path = tmp_path / "walk.mp4"
    assert record(colours(12), path, fps=50) == 12
    said, pixels = read_back(path)
    assert re.search(r"Video: h264 .* yuv420p.* 64x48.* 50 fps", said)
    brightness = pixels.reshape(12, -1).mean(axis=1)
    np.testing.assert_allclose(brightness, [20 + 10 * index for index in range(12)], atol=4)
    assert list(tmp_path.iterdir()) == [path]


def test_odd_sizes_become_even(tmp_path: Path) -> None:
    """H.264 has no odd sizes; one row is a small price."""
    record(colours(3, height=49, width=65), tmp_path / "odd.mp4", fps=25)
    said, pixels = read_back(tmp_path / "odd.mp4")
    assert " 64x48" in said
    assert pixels.size == 3 * 48 * 64 * 3


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "no frames to write"),
        (
            [*colours(2), np.zeros((10, 10, 3), np.uint8)],
            r"frame 3 is \(10, 10, 3\) uint8; expected \(48, 64, 3\)",
        ),
        ([np.zeros((48, 64, 3))], "frame 1 is .* float64; expected"),
    ],
)
def test_bad_frames_leave_no_film(tmp_path: Path, frames: list[Frame], message: str) -> None:
    """Neither a whole one nor a half one."""
    with pytest.raises(VideoError, match=message):
        record(frames, tmp_path / "bad.mp4", fps=50)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """What ffmpeg complains of, in one line."""
    with pytest.raises(VideoError, match=r"walk\.mp4") as caught:
        record(colours(500), tmp_path / "nowhere" / "walk.mp4", fps=50)
    assert "\n" not in str(caught.value)


def test_a_failed_film_leaves_the_old_one(tmp_path: Path) -> None:
    """What was complete stays complete."""
    path = tmp_path / "walk.mp4"
    record(colours(3), path, fps=50)
    before = path.read_bytes()
    with pytest.raises(VideoError):
        record([], path, fps=50)
    assert path.read_bytes() == before
