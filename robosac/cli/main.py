"""The command `robosac`: options in, exit code out; errors are one line."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import tyro

from robosac import __version__
from robosac.cli import doctor, evaluate, export, keys, learn, sim
from robosac.cli.console import complain, say
from robosac.cli.extras import how_to_install
from robosac.cli.supervisor import ChildDiedError, ChildFailedError
from robosac.errors import CheckpointError, RobosacError
from robosac.exit_codes import (
    EXIT_DONE,
    EXIT_INCOMPLETE,
    EXIT_INTERRUPTED,
    EXIT_SAFETY,
    EXIT_USER,
)
from robots import RobotError, SafetyStopError
from sim.errors import SimError

Command = (
    Annotated[sim.Sim, tyro.conf.subcommand("sim")]
    | Annotated[learn.Learn, tyro.conf.subcommand("learn")]
    | Annotated[evaluate.Eval, tyro.conf.subcommand("eval")]
    | Annotated[export.Export, tyro.conf.subcommand("export")]
    | Annotated[doctor.Doctor, tyro.conf.subcommand("doctor")]
    | Annotated[keys.Keys, tyro.conf.subcommand("keys")]
)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the console script's entry point."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments == ["--version"]:
        say(__version__)
        return EXIT_DONE
    options = tyro.cli(
        Command,
        prog="robosac",
        description="Soft actor-critic on real legged robots: train, export, evaluate, check.",
        args=arguments,
    )
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    return _run(options)


def _run(options: Command) -> int:
    """Run the command, and turn what went wrong into a line and a code."""
    try:
        return options.execute()
    except KeyboardInterrupt:
        complain("interrupted; the run folder is whole, go on with --resume")
        return EXIT_INTERRUPTED
    except ModuleNotFoundError as error:
        complain(how_to_install(error.name or ""))
        return EXIT_USER
    except (RobosacError, RobotError, SimError) as error:
        complain(str(error))
        return _code(error)


def _code(error: Exception) -> int:
    """Exit code of an error of ours."""
    if isinstance(error, SafetyStopError):
        return EXIT_SAFETY
    if isinstance(error, ChildFailedError):
        return error.code
    incomplete = isinstance(error, ChildDiedError | CheckpointError)
    return EXIT_INCOMPLETE if incomplete else EXIT_USER
