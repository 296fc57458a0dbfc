"""`robosac doctor`: what is wrong with an installation, a robot folder, or the way to a learner."""

from __future__ import annotations

import importlib.util
import platform
import re
import sys
from importlib import metadata
from pathlib import Path

import msgspec

from robosac import __version__
from robosac.cli.console import say
from robosac.errors import ConfigError
from robosac.exit_codes import EXIT_DONE, EXIT_USER


class Doctor(msgspec.Struct, frozen=True, kw_only=True):
    """Check the installation; a robot's description with --robot; a connection with --learner."""

    robot: str | None = None
    """Robot to check: a name, or a folder with robot.toml and model.xml."""
    learner: str | None = None
    """Learner to call, HOST:PORT; with --robot or --env, whether that one could work with it."""
    keys: Path | None = None
    """This robot's folder made by `robosac keys`."""
    task: str = "walk"
    """What the robot should learn from that learner."""
    env: str | None = None
    """Environment instead of a robot: a Gymnasium id (HalfCheetah-v5) or dm_control/walker-walk."""
    footprint: bool = False
    """Say what a robot's computer needs: disk for the base installation, memory of a deployment."""

    def execute(self) -> int:
        """Print what was found; exit code 2 when something is wrong."""
        if self.footprint:
            from robosac.cli.footprint import report_footprint

            return report_footprint()
        if self.learner is not None:
            return _check_learner(self, self.learner)
        for given, name in ((self.keys, "--keys"), (self.env, "--env")):
            if given is not None:
                raise ConfigError(
                    f"{name} is about a connection; name its other end with --learner"
                )
        return _check_machine() if self.robot is None else _check_robot(self.robot)


def _check_machine() -> int:
    say(f"robosac {__version__}, Python {platform.python_version()} on {platform.machine()}")
    for extra, names in _requirements().items():
        versions = {name: _version(name) for name in names}
        missing = [name for name, version in versions.items() if version is None]
        what = f"missing {', '.join(missing)}: pip install 'robosac[{extra}]'"
        if not missing:
            what = ", ".join(f"{name} {version}" for name, version in versions.items())
        say(f"{extra:6} {what}")
    return EXIT_DONE


def _requirements() -> dict[str, list[str]]:
    """Names of the packages that each part of robosac needs, developers' tools left out."""
    found: dict[str, list[str]] = {"base": [], "learn": [], "sim": [], "fleet": []}
    for requirement in metadata.requires("robosac") or ():
        name, _, condition = requirement.partition(";")
        extra = re.search(r"extra == ['\"](\w+)", condition)
        found.get(extra[1] if extra else "base", []).append(re.split(r"[^\w.-]", name)[0])
    return found


def _version(name: str) -> str | None:
    """Version of an installed package; None when there is none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _check_robot(name: str) -> int:
    import robots

    folder = robots.find(name)
    spec = folder.spec
    say(f"{spec.name}: {spec.description}")
    say(f"{len(spec.joints)} joints, {folder.path}")
    if importlib.util.find_spec("mujoco") is None:
        say("robot.toml is fine; model.xml was not checked: pip install 'robosac[sim]'")
        return EXIT_DONE
    from sim.lint import lint

    findings = lint(folder)
    for finding in findings:
        say(f"{finding.severity:7} {finding.rule}: {finding.message}")
    errors = sum(finding.severity == "error" for finding in findings)
    say(f"{errors} errors, {sum(f.severity == 'warning' for f in findings)} warnings")
    sys.stdout.flush()
    return EXIT_USER if errors else EXIT_DONE


def _check_learner(options: Doctor, learner: str) -> int:
    from robosac.cli import doctor_learner, resolve
    from robosac.wire.address import parse_address
    from robosac.wire.keys import RobotKeys

    address = parse_address(learner)
    keys = None if options.keys is None else RobotKeys.load(options.keys)
    if options.robot is None and options.env is None:
        return doctor_learner.examine(address, keys, None)
    with resolve.make(robot=options.robot, task=options.task, env=options.env) as place:
        return doctor_learner.examine(address, keys, place.contract)
