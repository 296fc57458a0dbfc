"""A command line that cannot be read is answered in one line, like everything else."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from robosac.cli.main import main
from robosac.exit_codes import EXIT_USER

COMMANDS = "sim, learn, deploy, attend, eval, export, emulate, doctor, keys"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("sim --stepz 5", "unrecognized options: --stepz, 5; perhaps --steps; see robosac --help"),
        ("sim --steps five", "--steps: got 'five', expected INT; see robosac --help"),
        ("sim --steps=five", "--steps: got something else, expected INT; see robosac --help"),
        ("sim --steps", "missing value for argument '--steps'. Expected 1 values; see robosac sim"),
        ("sim --seed 1.5", "--seed: got '1.5', expected INT; see robosac --help"),
        ("sim --pace fast", "'--pace'. Expected one of ('learner', 'realtime', 'free'); see"),
        ("sim --prior", "--prior: got nothing, expected at least one run folder or flight log"),
        ("learn --prior --seed 3", "--prior: got nothing, expected at least one run folder or"),
        ("sim extra", "unrecognized options: extra; see robosac --help"),
        ("deploy", "missing --port STR, --imu STR; see robosac deploy --help"),
        ("eval", "missing PATH (Policy file, or a run folder, whose final policy is taken); see"),
        ("sym", f"unrecognized options: sym; expected {COMMANDS}; see robosac --help"),
        ("", f"expected one of {{{COMMANDS}}}; see robosac --help"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(
    arguments: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was got, what was expected, and the help that says more."""
    assert main(arguments.split()) == EXIT_USER
    out, error = capsys.readouterr()
    assert out == ""
    (line,) = error.splitlines()
    assert line.startswith("robosac: ")
    assert expected in line


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_box_may_be_drawn_either_way(encoding: str) -> None:
    """As tyro does where output is known to show its lines, and where it is not."""
    environment = os.environ | {"PYTHONIOENCODING": encoding, "COLUMNS": "60"}
    command = [sys.executable, "-m", "robosac", "sim", "--pace", "fast"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == EXIT_USER
    assert ended.stderr == (
        "robosac: invalid choice 'fast' for argument '--pace'. Expected one of ('learner', "
        "'realtime', 'free'); see robosac sim --help\n"
    )


def test_help_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    """It goes to standard output, whole."""
    with pytest.raises(SystemExit) as ended:
        main(["sim", "--help"])
    assert not ended.value.code
    out, error = capsys.readouterr()
    assert "--recipe" in out
    assert error == ""
