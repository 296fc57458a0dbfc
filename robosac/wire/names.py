"""Names of robots, as they stand on the wire and in the names of files; words of strangers."""

from __future__ import annotations

import re

_PLAIN_MAX = 48


def robot_name(name: str, index: int) -> str:
    """Return the name of runner `index` of a robot or environment; always one that is accepted.

    Whatever is no letter or digit of ASCII becomes a hyphen: dm_control/walker-walk and 0 give
    dm-control-walker-walk-0.
    """
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:_PLAIN_MAX]
    return f"{plain or 'robot'}-{index}"


def printable(text: str, most: int = 1000) -> str:
    """Return what a peer says as one line that no terminal and no log takes for anything else."""
    return "".join(one if one.isprintable() else " " for one in text[:most])
