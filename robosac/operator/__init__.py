"""The operator: the one person who decides whether a robot moves, and what speaks for them."""

from robosac.operator.operator import Operator, Request
from robosac.operator.source import Source

__all__ = ["Operator", "Request", "Source"]
