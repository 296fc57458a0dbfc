"""The contract between a policy and the robot that may run it: one JSON document in the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from robosac.errors import ContractMismatchError, PolicyError
from robosac.replay.layout import RowLayout
from robosac.tasks.observation import Term

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = 1
"""Version of this document; a runner refuses any other."""
METADATA_KEY = "robosac"
"""The one metadata key of the ONNX file."""
RATE_TOLERANCE = 0.01
"""Largest relative difference between the policy's control rate and the robot's."""


class JointContract(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One joint as the policy was trained with it; rad, rad/s, N·m."""

    name: str
    default: float
    action_scale: float
    lower: float
    upper: float
    soft_lower: float
    soft_upper: float
    velocity_max: float
    effort_max: float
    kp: float
    kd: float


class Golden(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One worked example, replayed at every start: raw sensors to observation to action."""

    sensors: dict[str, list[float]]
    """Raw readings by name; empty when the environment is no robot."""
    obs: list[float]
    """Observation (O,) right after a reset on these readings."""
    action: list[float] = []
    """Deterministic action (A,) in output units; filled in by the learner."""
    rounding: float = 0.0
    """How far float32 took golden actions at the learner, at most; a share of max(1, |action|)."""


class Evaluation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the policy did when it was exported; `robosac eval` with the same seed repeats it."""

    seed: int
    episodes: int
    return_mean: float | None
    """Mean return of the episodes; None where one was no finite number."""
    return_std: float | None
    speed_mps: float | None
    falls: int


class Training(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the policy comes from."""

    recipe: str = ""
    seed: int = 0
    env_steps: int = 0
    updates: int = 0
    version: int = 0
    robosac: str = ""
    evaluation: Evaluation | None = None


class Contract(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything a runner must know and check before a policy may move a robot."""

    schema: int = SCHEMA
    policy_id: str = ""
    """SHA-256 of the ONNX graph without this document."""
    robot: str = ""
    """Name of the robot; empty when the environment is no robot."""
    env: str = ""
    """Id of the environment when it is no robot."""
    model_sha256: str = ""
    """Digest of the robot folder the policy was trained with; told, not enforced."""
    task: str = ""
    task_config: dict[str, Any] = {}
    """Numbers of the task, reward weights among them."""
    control_hz: float | None = None
    """Control rate; None when the environment has none."""
    action_delay_ms: float = 0.0
    """Latency assumed in training, ms."""
    joints: tuple[JointContract, ...] = ()
    """In the order of the action vector."""
    action_lower: tuple[float, ...]
    """Smallest output of the graph (A,); -1 for robots, whose joints scale it to rad."""
    action_upper: tuple[float, ...]
    """Largest output of the graph (A,)."""
    obs: tuple[Term, ...]
    """Terms of the observation vector, in order."""
    history: tuple[str, str] = ("oldest_first", "repeat_first")
    """Order of stacked readings, and what fills the past after a reset."""
    extra: int = 0
    """Size of the critics' own observation; the policy never sees it."""
    commands: dict[str, tuple[float, float]] = {}
    """Range of every command it was trained for; a task may ask for less, never for more."""
    safety: dict[str, float] = {}
    """Numbers of the guards it was trained under, smaller is tighter; a robot may be tighter."""
    exploration_theta: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    """Share of the exploring noise that is forgotten at every step; 1 is white noise."""
    exploration_hold: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1
    """Most steps that noise is held for, k of them with a probability ∝ 1/k²; 1 holds none."""
    training: Training = Training()
    golden: tuple[Golden, ...] = ()

    @property
    def obs_size(self) -> int:
        """Numbers in the observation vector."""
        return sum(term.size * term.history for term in self.obs)

    @property
    def row_layout(self) -> RowLayout:
        """Layout of the transitions that a robot with this contract records."""
        return RowLayout(obs=self.obs_size, extra=self.extra, action=self.action_size)

    @property
    def action_size(self) -> int:
        """Numbers in the action vector."""
        return len(self.action_lower)


def encode(contract: Contract) -> bytes:
    """Return the document as JSON with full float precision."""
    return msgspec.json.encode(contract)


def decode(document: str | bytes) -> Contract:
    """Read a document; raises PolicyError when it is none or of another schema."""
    try:
        schema = msgspec.json.decode(document, type=_Versioned).schema
        if schema != SCHEMA:
            raise PolicyError(f"policy contract has schema {schema}; this robosac reads {SCHEMA}")
        return msgspec.json.decode(document, type=Contract)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PolicyError(
            f"policy contract cannot be read ({error}); export the policy again"
        ) from None


class _Versioned(msgspec.Struct):
    schema: int


def with_training(contract: Contract, **numbers: object) -> Contract:
    """Return the contract with some of its training figures replaced."""
    training = msgspec.structs.replace(contract.training, **numbers)
    return msgspec.structs.replace(contract, training=training)


def check(policy: Contract, here: Contract) -> None:
    """Refuse a policy whose contract does not fit; `here` is what this robot and task would write.

    Everything that turns sensors into observations and actions into motion must be equal.  Commands
    may stay inside the range of training.  The robot's own guards hold whatever the policy was
    trained under, so the tighter of the two must be the robot's.
    Raises ContractMismatchError with one line per field: what the policy has, what is needed.
    """
    found = list(_differences(policy, here))
    if found:
        raise ContractMismatchError(found)


def _differences(policy: Contract, here: Contract) -> Iterator[str]:
    """Fields that do not fit, one line each."""
    strangers = list(_field_differences(policy, here, "robot", "env"))
    yield from strangers
    if strangers:
        return  # whatever else differs follows from this
    yield from _field_differences(policy, here, "task", "history", "action_lower", "action_upper")
    yield from _rate_differences(policy.control_hz, here.control_hz)
    yield from _named_differences("joints", policy.joints, here.joints)
    yield from _named_differences("obs", policy.obs, here.obs)
    yield from _command_differences(policy.commands, here.commands)
    yield from _looser_guards(policy.safety, here.safety)


def _field_differences(policy: Contract, here: Contract, *fields: str) -> Iterator[str]:
    for field in fields:
        theirs, ours = getattr(policy, field), getattr(here, field)
        if theirs != ours:
            yield f"{field}: policy has {theirs!r}, expected {ours!r}"


def _rate_differences(theirs: float | None, ours: float | None) -> Iterator[str]:
    if theirs is None or ours is None:
        if theirs is not ours:
            yield f"control_hz: policy has {theirs}, expected {ours}"
    elif not abs(theirs - ours) <= RATE_TOLERANCE * ours:
        yield f"control_hz: policy was trained at {theirs:g} Hz, this runs at {ours:g} Hz"


def _command_differences(
    theirs: dict[str, tuple[float, float]], ours: dict[str, tuple[float, float]]
) -> Iterator[str]:
    """Commands that the policy never learned to follow, or that nobody will give it."""
    for name in sorted(theirs.keys() | ours.keys()):
        got, expected = theirs.get(name), ours.get(name)
        if got is None or expected is None:
            yield f"commands.{name}: policy has {got}, expected {expected}"
        elif not got[0] <= expected[0] <= expected[1] <= got[1]:
            yield f"commands.{name}: policy was trained for {got}, this task asks for {expected}"


def _looser_guards(theirs: dict[str, float], ours: dict[str, float]) -> Iterator[str]:
    """Guards that would let this robot do more than the policy was trained under."""
    for name in sorted(theirs.keys() | ours.keys()):
        got, expected = theirs.get(name), ours.get(name)
        if got is None or expected is None:
            yield f"safety.{name}: policy has {got}, expected {expected}"
        elif not expected <= got:
            yield (
                f"safety.{name}: policy was trained under {got:g}, this robot allows {expected:g}; "
                "tighten it in robot.toml"
            )


def _named_differences(
    label: str, theirs: tuple[JointContract | Term, ...], ours: tuple[JointContract | Term, ...]
) -> Iterator[str]:
    """Compare two lists of named structs: first names and order, then every field."""
    their_names, our_names = [item.name for item in theirs], [item.name for item in ours]
    if their_names != our_names:
        missing = [name for name in our_names if name not in their_names]
        unknown = [name for name in their_names if name not in our_names]
        detail = f"missing {missing}, unknown {unknown}" if missing or unknown else "order differs"
        yield f"{label}: names do not match ({detail})"
        return
    for one, other in zip(theirs, ours, strict=True):
        for field in one.__struct_fields__:
            got, expected = getattr(one, field), getattr(other, field)
            if got != expected:
                yield f"{label}.{one.name}.{field}: policy has {got!r}, expected {expected!r}"
