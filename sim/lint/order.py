"""Everything that comes once per joint or leg, in the order of the joints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mujoco

from sim.lint.subject import Finding, Subject

if TYPE_CHECKING:
    from collections.abc import Iterator


def actuator_order(subject: Subject) -> Iterator[Finding]:
    """One actuator per joint, in the order of robot.toml."""
    actuators = subject.actuators()
    if not actuators:
        return
    for name in subject.joints:
        count = len(actuators.get(name, ()))
        if count != 1:
            yield Finding("order", "error", f"joint {name} has {count} actuators; expected one")
    yield from _in_order("actuators", list(actuators), list(subject.joints))


def sequence(subject: Subject) -> Iterator[Finding]:
    """Joint sensors, feet and the sites on them in the order of the joints."""
    model, joints = subject.model, list(subject.joints)
    by_id = {number: name for name, number in subject.joints.items()}
    on_joints = model.sensor_objtype == mujoco.mjtObj.mjOBJ_JOINT
    for kind in sorted(set(model.sensor_type[on_joints].tolist())):
        numbers = model.sensor_objid[model.sensor_type == kind].tolist()
        names = [by_id[number] for number in numbers if number in by_id]
        yield from _in_order("sensors on joints", names, joints)
    bodies = [int(model.geom(foot).bodyid[0]) for foot in subject.spec.feet]
    yield from _in_order("feet", _legs(subject, bodies), joints)
    yield from _in_order(
        "sites of the feet",
        _legs(subject, [body for body in model.site_bodyid.tolist() if body in bodies]),
        joints,
    )


def _in_order(what: str, names: list[str], joints: list[str]) -> Iterator[Finding]:
    """A warning when names stand in another order than the joints do."""
    found = list(dict.fromkeys(names))
    expected = [name for name in joints if name in found]
    for number, (got, wanted) in enumerate(zip(found, expected, strict=True), start=1):
        if got != wanted:
            yield Finding(
                "order",
                "warning",
                f"{what} stand in another order than the joints of robot.toml: number {number} "
                f"belongs to {got}, not {wanted}; whatever counts instead of naming mixes them up",
            )
            return


def _legs(subject: Subject, bodies: list[int]) -> list[str]:
    """The first joint, in the order of robot.toml, on the way from the base to each body."""
    found = []
    for body in bodies:
        chain, link = set(), body
        while link:
            chain.add(link)
            link = int(subject.model.body_parentid[link])
        leg = [n for n, j in subject.joints.items() if int(subject.model.jnt_bodyid[j]) in chain]
        found += leg[:1]
    return found
