"""All rules over one robot folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.errors import ModelError
from sim.lint.dynamics import passive, placeholder_inertia, written_inertia
from sim.lint.limits import effort, limits, model_range
from sim.lint.mirror import mirrored_limits, mirrored_model, mirrored_numbers
from sim.lint.order import actuator_order, sequence
from sim.lint.standing import standing
from sim.lint.subject import Finding, Subject
from sim.mujoco_robot import ModelIndex, load_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from robots import RobotFolder

_MODEL_RULES: tuple[Callable[[Subject], Iterator[Finding]], ...] = (
    actuator_order,
    mirrored_model,
    model_range,
    effort,
    placeholder_inertia,
    passive,
    sequence,
)

_UNUSABLE = frozenset({"inertia", "model"})
"""Rules without which there is nothing that could stand."""


def lint(folder: RobotFolder) -> list[Finding]:
    """Apply every rule that fits the folder's engine; an empty list never happens.

    Holds the stance for two simulated seconds, so it takes a moment.
    """
    found = [*limits(folder.spec), *mirrored_numbers(folder.spec)]
    if folder.spec.sim.engine == "mujoco":
        found += _model_rules(folder)
    else:
        found += mirrored_limits(folder.spec)
    if any(finding.rule in _UNUSABLE and finding.severity == "error" for finding in found):
        return found
    return [*found, *standing(folder)]


def _model_rules(folder: RobotFolder) -> Iterator[Finding]:
    """The rules that read model.xml."""
    inertia = list(written_inertia(folder))
    yield from inertia
    if inertia:
        return
    try:
        model = load_model(folder)
        ModelIndex(model, folder)
    except ModelError as error:
        yield Finding("model", "error", error.problem)
        return
    subject = Subject(folder.spec, model, {n: model.joint(n).id for n in folder.spec.joint_names})
    for rule in _MODEL_RULES:
        yield from rule(subject)
