"""Find a robot folder by name or by path."""

from __future__ import annotations

from pathlib import Path

from robots.errors import UnknownRobotError
from robots.spec import RobotFolder, read_folder

BUILT_IN = Path(__file__).parent


def names() -> list[str]:
    """Names of the robots that come with the package, sorted."""
    return sorted(path.parent.name for path in BUILT_IN.glob("*/robot.toml"))


def find(name_or_path: str) -> RobotFolder:
    """Return the robot folder of a built-in name or of a path.

    Raises UnknownRobotError when there is neither, RobotSpecError when robot.toml is unusable.
    """
    if name_or_path in names():
        return read_folder(BUILT_IN / name_or_path)
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return read_folder(path)
    raise UnknownRobotError(name_or_path, names())
