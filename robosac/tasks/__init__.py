"""Tasks: what is observed, what is rewarded, and when an episode ends."""

from robosac.tasks.observation import Observer, Term
from robosac.tasks.task import Task, Tick
from robosac.tasks.walk import Walk, WalkConfig

__all__ = ["Observer", "Task", "Term", "Tick", "Walk", "WalkConfig"]
