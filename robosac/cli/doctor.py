"""`robosac doctor`: what this machine can do, and what is wrong with a robot folder."""

from __future__ import annotations

import importlib.util
import platform
import sys

import msgspec

from robosac import __version__
from robosac.cli.console import say
from robosac.exit_codes import EXIT_DONE, EXIT_USER


class Doctor(msgspec.Struct, frozen=True, kw_only=True):
    """Check the installation, or a robot's description and model with --robot."""

    robot: str | None = None
    """Robot to check: a name, or a folder with robot.toml and model.xml."""

    def execute(self) -> int:
        """Print what was found; exit code 2 when something is wrong."""
        return _check_machine() if self.robot is None else _check_robot(self.robot)


def _check_machine() -> int:
    say(f"robosac {__version__}, Python {platform.python_version()} on {platform.machine()}")
    for extra, modules in (
        ("base", ("numpy", "onnxruntime", "zmq", "msgspec", "gymnasium")),
        ("learn", ("torch", "onnx", "onnxscript", "safetensors", "rich", "tensorboard")),
        ("sim", ("mujoco", "dm_control", "imageio", "imageio_ffmpeg")),
    ):
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        what = f"missing {', '.join(missing)}: pip install 'robosac[{extra}]'" if missing else "ok"
        say(f"{extra:6} {what}")
    return EXIT_DONE


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
