"""Soft actor-critic on real legged robots: the same code in simulation and on the machine."""

__version__ = "0.1.0"
