"""The command `robosac`: options in, exit code out; errors are one line."""

from __future__ import annotations

import io
import logging
import signal
import sys
from contextlib import contextmanager, redirect_stderr
from typing import TYPE_CHECKING, Annotated

import tyro

from robosac import __version__
from robosac.cli import attend, deploy, doctor, emulate, evaluate, export, keys, learn, sim
from robosac.cli.console import complain, say
from robosac.cli.extras import how_to_install
from robosac.cli.supervisor import ChildDiedError, ChildFailedError
from robosac.cli.usage import left_empty, one_line
from robosac.errors import CheckpointError, RobosacError
from robosac.exit_codes import (
    EXIT_DONE,
    EXIT_INCOMPLETE,
    EXIT_INTERRUPTED,
    EXIT_SAFETY,
    EXIT_USER,
)
from robosac.lifeline import send_nowhere
from robots import RobotError, SafetyStopError
from robots.errors import ServoEnableError
from sim.errors import SimError

if TYPE_CHECKING:
    from collections.abc import Iterator

_DESCRIPTION = "Soft actor-critic on real legged robots: train, export, evaluate, check."
Command = (
    Annotated[sim.Sim, tyro.conf.subcommand("sim")]
    | Annotated[learn.Learn, tyro.conf.subcommand("learn")]
    | Annotated[deploy.Deploy, tyro.conf.subcommand("deploy")]
    | Annotated[attend.Attend, tyro.conf.subcommand("attend")]
    | Annotated[evaluate.Eval, tyro.conf.subcommand("eval")]
    | Annotated[export.Export, tyro.conf.subcommand("export")]
    | Annotated[emulate.Emulate, tyro.conf.subcommand("emulate")]
    | Annotated[doctor.Doctor, tyro.conf.subcommand("doctor")]
    | Annotated[keys.Keys, tyro.conf.subcommand("keys")]
)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the console script's entry point."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments == ["--version"]:
        say(__version__)
        return EXIT_DONE
    options = _parse(arguments)
    if options is None:
        return EXIT_USER
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with _interrupted_by_signals():
        return _run(options)


def _parse(arguments: list[str]) -> Command | None:
    """Read the command line; None when it is wrong, which has been told."""
    empty = left_empty(arguments)
    if empty is not None:
        complain(empty)
        return None
    box = io.StringIO()
    try:
        with redirect_stderr(box):
            return tyro.cli(
                Command,
                prog="robosac",
                description=_DESCRIPTION,
                args=arguments,
            )
    except SystemExit as end:
        if not end.code:
            raise  # it was asked for help
    complain(one_line(box.getvalue(), arguments))
    return None


@contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Take SIGTERM for Ctrl-C, and Ctrl-C also where a script has started this with `&`."""
    usual = {
        number: signal.signal(number, signal.default_int_handler)
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


def _run(options: Command) -> int:
    """Run the command, and turn what went wrong into a line and a code."""
    try:
        return options.execute()
    except BrokenPipeError:
        send_nowhere()  # whoever read the output has had enough, as `| head` has
        return EXIT_INTERRUPTED
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
    if isinstance(error, SafetyStopError | ServoEnableError):
        return EXIT_SAFETY
    if isinstance(error, ChildFailedError):
        return error.code
    incomplete = isinstance(error, ChildDiedError | CheckpointError)
    return EXIT_INCOMPLETE if incomplete else EXIT_USER
