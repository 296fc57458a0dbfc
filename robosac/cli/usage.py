"""What is wrong with a command line, in one line: tyro draws a box of many."""

from __future__ import annotations

import re
from itertools import pairwise

_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_RULE = re.compile(r"^[─-]{3,}$", re.MULTILINE)
_OPTION = re.compile(r"^ {4}(--\S+|[A-Z]\S*)(?: (\S+))?\n((?: {5,}.*\n?)*)", re.MULTILINE)
"""An option's name, or what it is where it has none; what it takes; and what it is for."""
_COMMANDS = "Available subcommands:"


def left_empty(arguments: list[str]) -> str | None:
    """Say which list of files is empty, as where a pattern of the shell matched nothing.

    To tyro an empty list is a list, and a run would go its way without what it was to start from.
    """
    for option, following in pairwise([*arguments, "--"]):
        if option == "--prior" and following.startswith("--"):
            return f"{option}: got nothing, expected at least one run folder or flight log"
    return None


def one_line(box: str, arguments: list[str]) -> str:
    """Sum up tyro's box: what was got, what was expected, and where help is."""
    told, *further = _sections(box)
    words = " ".join(told.split()).removesuffix(".")
    known = _OPTION.findall("".join(further))
    if words.startswith("Missing from"):
        words = f"missing {', '.join(_described(*one) for one in _OPTION.findall(told))}"
    elif words.startswith("Error parsing"):
        option = words.split()[2].removesuffix(":")
        kinds = {name: kind.replace("{None}|", "") for name, kind, _ in known}
        words = f"{option}: {_got(option, arguments)}, expected {kinds.get(option, 'another')}"
    elif words.startswith("Unrecognized options"):
        near = list(dict.fromkeys(name for name, *_ in known))
        words += f"; perhaps {' or '.join(near)}" if near else ""
        for part in further:
            _, found, commands = part.partition(_COMMANDS)
            words += f"; expected {' '.join(commands.split())}" if found else ""
    return f"{words[:1].lower()}{words[1:]}; see {_help(further[-1])}"


def _sections(box: str) -> list[str]:
    """What stands between the rules; a terminal without Unicode has no box but its indentation."""
    lines = _COLOUR.sub("", box).splitlines()[1:]  # the first one is a title
    inside = "\n".join(line[2:].rstrip(" │") for line in lines if not line.startswith("╰"))
    return [section for section in _RULE.split(inside) if section.strip()]


def _described(name: str, kind: str, purpose: str) -> str:
    """An option that is missing; one without a name is told by what it is for."""
    if name.startswith("--"):
        return f"{name} {kind}".rstrip()
    return f"{name} ({' '.join(purpose.split()).removesuffix('. (required)')})"


def _got(option: str, arguments: list[str]) -> str:
    """What stands behind an option on the command line."""
    after = arguments[arguments.index(option) + 1 :] if option in arguments else []
    return f"got {after[0]!r}" if after else "got something else"


def _help(last: str) -> str:
    """The command that the last section recommends."""
    found = re.search(r"robosac(?: \w+)? --help", last)
    return found[0] if found else "robosac --help"
