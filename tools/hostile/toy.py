"""A contract and the sizes of a run that is attacked."""

from __future__ import annotations

from robosac.policy.contract import Contract, Golden
from robosac.policy.contract import encode as encode_contract
from robosac.tasks.observation import Term

CONTRACT = Contract(
    env="fuzz",
    action_lower=(-1.0,),
    action_upper=(1.0,),
    obs=(Term(name="observation", size=3, unit="", clip=None),),
    golden=(Golden(sensors={}, obs=[0.0, 0.5, 1.0]),),
)
DOCUMENT = encode_contract(CONTRACT)
WIDTH = CONTRACT.row_layout.width
HERTZ = 50
GROWTH_MAX_MB = 50.0
WARM_UP = 0.1
"""Share of the messages that come before memory is measured, at most 10,000."""
HELD_UP_S = 0.02
LATE_ANYWAY = 5
"""Ticks that may be late besides one in a hundred: a short attack has few, on a busy machine."""
LOG_MAX = 1_000_000
STUCK_S = 5.0
PATIENCE_S = 60.0
ATTACKERS = 12
GOOD_RUN = "f" * 32
"""Run of the robot that its learner attacks."""
