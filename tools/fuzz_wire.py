"""Throw malformed and hostile messages at both ends of the wire while a good robot goes on working.

    python tools/fuzz_wire.py --messages 200000 --seed 0 [--light] [--json PATH]

First a real learner process (with --light only its service) is attacked by strangers and by robots
that it has let in, while another robot streams rows at 50 Hz.  Then a real uplink process is
attacked by its learner, which otherwise does its work.  Messages are mutations of genuine ones,
genuine ones with some fields replaced by extremes, bombs, and noise.  It has failed when a process
ends, when one grows by more than 50 MB after a warm-up, when a row of the good robot is missing or
there twice, or when the robot's control loop is held up.  Exit code 0 is none of this.
"""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # `tools` is no package that is installed

import msgspec

from tools.hostile.learner_side import attack_learner, serve
from tools.hostile.robot_side import attack_robot
from tools.provenance import provenance

LIBRARIES = ("robosac", "pyzmq", "msgspec")


def main() -> int:
    """Attack both sides and say what has come of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=200_000, help="for each side")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--light", action="store_true", help="only the learner's service, no torch")
    parser.add_argument("--side", choices=("learner", "robot", "both"), default="both")
    parser.add_argument("--json", type=Path, help="write the results there")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve)
        return 0
    logging.getLogger("robosac").setLevel(logging.CRITICAL)  # what the good robot thinks of it
    outcomes = []
    if options.side != "robot":
        outcomes.append(attack_learner(options.messages, options.seed, light=options.light))
        print(outcomes[-1].line(), flush=True)
    if options.side != "learner":
        outcomes.append(attack_robot(options.messages, options.seed))
        print(outcomes[-1].line(), flush=True)
    if options.json is not None:
        content = {
            **provenance(f"python {shlex.join(sys.argv)}", LIBRARIES),
            "seed": options.seed,
            "light": options.light,
            "outcomes": [msgspec.to_builtins(outcome) for outcome in outcomes],
        }
        options.json.write_text(json.dumps(content, indent=2) + "\n")
    return 1 if any(outcome.faults for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
