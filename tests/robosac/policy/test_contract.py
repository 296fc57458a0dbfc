"""Which policies a robot refuses, and what it says."""

from __future__ import annotations

import msgspec
import pytest

from robosac.errors import ContractMismatchError, PolicyError
from robosac.policy.contract import (
    SCHEMA,
    Contract,
    Evaluation,
    JointContract,
    check,
    decode,
    encode,
    with_training,
)
from robosac.tasks.observation import Term

replace = msgspec.structs.replace


def differences(policy: Contract, here: Contract) -> tuple[str, ...]:
    """What keeps a policy off a robot."""
    with pytest.raises(ContractMismatchError) as caught:
        check(policy, here)
    assert all(line in str(caught.value) for line in caught.value.differences)
    assert "\n" not in str(caught.value)
    return caught.value.differences


def test_json_keeps_every_bit(contract: Contract) -> None:
    """Floats survive in full precision; so does everything else."""
    exact = replace(contract, control_hz=100 / 3, commands={"forward_mps": (0.1 + 0.2, 1e-300)})
    evaluation = Evaluation(
        seed=1, episodes=2, return_mean=1 / 3, return_std=0.1, speed_mps=None, falls=0
    )
    told = with_training(exact, evaluation=evaluation, version=7)
    assert decode(encode(told)) == told
    assert told.training.version == 7
    assert exact.training.version == 0


def test_sizes_follow_from_the_terms(contract: Contract) -> None:
    """2 + 2·2 observations, 2 actions, 3 extra terms, and the row that they make."""
    assert (contract.obs_size, contract.action_size) == (6, 2)
    layout = contract.row_layout
    assert (layout.obs, layout.extra, layout.action) == (6, 3, 2)


@pytest.mark.parametrize("schema", [SCHEMA - 1, SCHEMA + 1, 99])
def test_another_schema_is_refused(contract: Contract, schema: int) -> None:
    """Whatever else has changed in that document; the error says which one is read."""
    document = msgspec.json.encode({"schema": schema, "new_field": 1})
    with pytest.raises(PolicyError, match=rf"schema {schema}; this robosac reads {SCHEMA}"):
        decode(document)
    with pytest.raises(PolicyError, match=f"schema {schema}"):
        decode(encode(replace(contract, schema=schema)))


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"no json",
        b"[]",
        b"{}",
        b'{"schema": "1"}',
        b'{"schema": 1}',
        b'{"schema": 1, "action_lower": [], "action_upper": [], "obs": [], "surprise": 1}',
        b'{"schema": 1, "action_lower": [null], "action_upper": [1.0], "obs": []}',
    ],
)
def test_what_is_no_contract_is_refused(document: bytes) -> None:
    """Missing, unknown and mistyped fields, in one line."""
    with pytest.raises(PolicyError, match="export the policy again") as caught:
        decode(document)
    assert "\n" not in str(caught.value)


def test_a_contract_fits_itself(contract: Contract) -> None:
    """Where it comes from, how it did and what was told does not matter."""
    check(contract, contract)
    told = replace(
        contract,
        model_sha256="another",
        task_config={"forward_weight": 2.0},
        action_delay_ms=20.0,
        policy_id="another",
        golden=(),
        extra=0,
    )
    check(with_training(told, seed=3, env_steps=10), contract)


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("robot", "fourleg", "robot: policy has 'fourleg', expected 'twoleg'"),
        ("env", "Ant-v5", "env: policy has 'Ant-v5', expected ''"),
        ("task", "jump", "task: policy has 'jump', expected 'walk'"),
        (
            "history",
            ("newest_first", "repeat_first"),
            "history: policy has ('newest_first', 'repeat_first'), expected {}",
        ),
        (
            "action_lower",
            (-2.0, -1.0),
            "action_lower: policy has (-2.0, -1.0), expected (-1.0, -1.0)",
        ),
        (
            "action_upper",
            (1.0,),
            "action_upper: policy has (1.0,), expected (1.0, 1.0)",
        ),
        (
            "control_hz",
            20.3,
            "control_hz: policy was trained at 20.3 Hz, this runs at 20 Hz",
        ),
        ("control_hz", None, "control_hz: policy has None, expected 20.0"),
    ],
)
def test_every_field_is_named(contract: Contract, field: str, value: object, line: str) -> None:
    """The message has what the policy has and what is needed."""
    expected = line.format(contract.history)
    assert differences(replace(contract, **{field: value}), contract) == (expected,)


@pytest.mark.parametrize("rate", [19.81, 20.19])
def test_rates_within_one_percent_are_the_same(contract: Contract, rate: float) -> None:
    """A clock is never exact; 2 % is another rate, slower or faster."""
    check(replace(contract, control_hz=rate), contract)
    assert differences(replace(contract, control_hz=19.7), contract)
    assert differences(replace(contract, control_hz=float("nan")), contract)


@pytest.mark.parametrize(
    "field", [name for name in JointContract.__struct_fields__ if name != "name"]
)
def test_every_number_of_a_joint_counts(contract: Contract, field: str) -> None:
    """Default, scale, limits and gains: robot.toml must say what the policy was trained with."""
    left, right = contract.joints
    policy = replace(contract, joints=(left, replace(right, **{field: 7.5})))
    expected = getattr(right, field)
    assert differences(policy, contract) == (
        f"joints.right.{field}: policy has 7.5, expected {expected!r}",
    )


@pytest.mark.parametrize("field", [name for name in Term.__struct_fields__ if name != "name"])
def test_every_property_of_an_observation_counts(contract: Contract, field: str) -> None:
    """Size, unit, scale, clip and history."""
    gyro, lean = contract.obs
    value = {"unit": "deg/s"}.get(field, 5)
    policy = replace(contract, obs=(replace(gyro, **{field: value}), lean))
    expected = getattr(gyro, field)
    assert differences(policy, contract) == (
        f"obs.gyro.{field}: policy has {value!r}, expected {expected!r}",
    )


@pytest.mark.parametrize("label", ["joints", "obs"])
def test_names_and_their_order(contract: Contract, label: str) -> None:
    """A renamed, missing, doubled or moved item is refused before numbers are compared."""
    one, other = getattr(contract, label)

    def lines(*items: object) -> tuple[str, ...]:
        return differences(replace(contract, **{label: items}), contract)

    assert lines(other, one) == (f"{label}: names do not match (order differs)",)
    assert lines(replace(one, name="new"), other) == (
        f"{label}: names do not match (missing {[one.name]}, unknown ['new'])",
    )
    assert lines(one) == (f"{label}: names do not match (missing {[other.name]}, unknown [])",)
    assert lines(one, other, other)[0].startswith(f"{label}: names do not match")
    assert lines()[0].startswith(f"{label}: names do not match")


def test_every_difference_is_told_at_once(contract: Contract) -> None:
    """Nobody has to try again to learn the next one."""
    left, right = contract.joints
    policy = replace(
        contract, task="jump", joints=(replace(left, kp=1.0, kd=2.0), right), control_hz=50.0
    )
    assert [line.split(":")[0] for line in differences(policy, contract)] == [
        "task",
        "control_hz",
        "joints.left.kp",
        "joints.left.kd",
    ]


@pytest.mark.parametrize("inside", [(0.2, 0.7), (0.3, 0.3), (0.7, 0.7)])
def test_commands_may_stay_inside_the_range_of_training(
    contract: Contract, inside: tuple[float, float]
) -> None:
    """A task that asks for less is fine."""
    check(contract, replace(contract, commands={"forward_mps": inside}))


@pytest.mark.parametrize("outside", [(0.1, 0.7), (0.2, 0.8), (1.0, 1.0), (0.6, 0.3)])
def test_commands_outside_the_range_of_training_are_refused(
    contract: Contract, outside: tuple[float, float]
) -> None:
    """The policy has never seen them."""
    here = replace(contract, commands={"forward_mps": outside})
    assert differences(contract, here) == (
        f"commands.forward_mps: policy was trained for (0.2, 0.7), this task asks for {outside}",
    )


def test_unknown_and_absent_commands_are_refused(contract: Contract) -> None:
    """Both sides must mean the same numbers."""
    here = replace(contract, commands={"yaw_rps": (0.0, 0.0)})
    assert differences(contract, here) == (
        "commands.forward_mps: policy has (0.2, 0.7), expected None",
        "commands.yaw_rps: policy has None, expected (0.0, 0.0)",
    )


def test_the_tighter_guard_wins(contract: Contract) -> None:
    """A policy trained under looser guards may run: the robot's own hold.

    One trained under tighter guards may not: the robot would be allowed what it never did.
    """
    looser = replace(contract, safety={"tilt_deg": 80.0, "soft_limit": 1.0})
    check(looser, contract)
    advice = "tighten it in robot.toml"
    assert differences(contract, looser) == (
        f"safety.soft_limit: policy was trained under 0.95, this robot allows 1; {advice}",
        f"safety.tilt_deg: policy was trained under 60, this robot allows 80; {advice}",
    )
    assert differences(replace(contract, safety={"tilt_deg": 60.0}), contract) == (
        "safety.soft_limit: policy has None, expected 0.95",
    )


def test_another_robot_is_reason_enough(contract: Contract) -> None:
    """A line that lists every joint of both robots helps nobody."""
    other = msgspec.structs.replace(contract, robot="other", joints=())
    with pytest.raises(ContractMismatchError) as caught:
        check(other, contract)
    assert len(caught.value.differences) == 1


def test_a_line_shows_five_differences_and_counts_the_rest(contract: Contract) -> None:
    """All of them stay in the error for whoever handles it."""
    error = ContractMismatchError([f"field {number}" for number in range(8)])
    assert "field 4; and 3 more;" in str(error)
    assert len(error.differences) == 8
