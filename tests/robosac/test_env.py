from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import gymnasium
import msgspec
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import robots
from robosac.env import RobotEnv
from robosac.tasks import Walk, WalkConfig
from robots import (
    BaseMotion,
    Guard,
    JointCommand,
    JointSpec,
    Robot,
    RobotSpec,
    RobotState,
    SafetyStopError,
    State,
)
from sim.robots import make

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robosac.tasks import Term, Tick

    FloatArray = NDArray[np.float32]

MS = 1_000_000
PERIOD_NS = 50 * MS
HIP = JointSpec(
    name="hip",
    lower=-1.0,
    upper=1.0,
    stance=0.2,
    action_scale=0.5,
    effort_max=10.0,
    velocity_max=4.0,  # 0.2 rad, that is 0.4 of the action, in a period
    kp=20.0,
    kd=0.5,
)
SPEC = RobotSpec(
    name="cart", joints=(HIP, msgspec.structs.replace(HIP, name="knee")), crouch=(0.4, 0.4)
)


class Cart(Robot):
    """Joints that are where they are told to be, on a cart that rolls forward at 0.5 m/s.

    It cannot be placed, as a real robot cannot, unless it is told that it is simulated.
    """

    def __init__(self, *, simulated: bool = False) -> None:
        """Stand still in the stance."""
        self.simulated = simulated
        self.clock_ns = 0
        self.takes_ns = {"read": 0, "write": 0}
        self.position = SPEC.column("stance")
        self.sensors: dict[str, Any] = {}
        self.deadlines: list[int] = []
        self.written: list[JointCommand] = []
        self.limp = True

    @property
    def spec(self) -> RobotSpec:
        return SPEC

    def connect(self) -> None:
        pass

    def read(self) -> RobotState:
        self.clock_ns += self.takes_ns["read"]
        usual = {
            "position": self.position,
            "velocity": np.zeros(2, np.float32),
            "effort": np.zeros(2, np.float32),
            "quaternion": np.array([1, 0, 0, 0], np.float32),
            "gyro": np.zeros(3, np.float32),
            "accelerometer": np.array([0, 0, 9.81], np.float32),
        }
        return RobotState(stamp_ns=self.clock_ns, **(usual | self.sensors))

    def write(self, command: JointCommand) -> JointCommand:
        self.clock_ns += self.takes_ns["write"]
        self.written.append(command)
        self.position, self.limp = command.position, False
        return command

    def wait_until(self, deadline_ns: int) -> None:
        self.deadlines.append(deadline_ns)
        self.clock_ns = max(self.clock_ns, deadline_ns)

    def now(self) -> int:
        return self.clock_ns

    def disarm(self, reason: str) -> None:
        self.limp = True

    def close(self) -> None:
        pass

    def base_motion(self) -> BaseMotion:
        metres = 0.5 * self.clock_ns / 1e9
        return BaseMotion(
            position=np.array([metres, 0, 0.3], np.float32),
            velocity=np.array([0.5, 0, 0], np.float32),
            yaw=0.0,
            source="cart",
        )

    def place(self, rng: np.random.Generator) -> bool:
        if self.simulated:
            self.position, self.limp, self.sensors = SPEC.column("stance"), True, {}
        return self.simulated

    def fall(self) -> None:
        """Lie on its side from now on."""
        self.sensors = {"quaternion": np.array([math.sqrt(0.5), math.sqrt(0.5), 0, 0], np.float32)}


@pytest.fixture
def cart() -> Cart:
    """A real robot."""
    return Cart()


@pytest.fixture
def env(cart: Cart) -> RobotEnv:
    """The walk task on the cart at 20 Hz, one second an episode; not reset yet."""
    return RobotEnv(cart, walk())


def walk(**numbers: float) -> Walk:
    """The walk task with some numbers changed."""
    return Walk(WalkConfig(**({"control_hz": 20.0, "episode_s": 1.0} | numbers)))


def go2_env(**numbers: float) -> RobotEnv:
    """The walk task on the simulated Go2."""
    return RobotEnv(make(robots.find("go2")), walk(**numbers))


def act(*numbers: float) -> FloatArray:
    """An action."""
    return np.array(numbers, np.float32)


ZERO = act(0, 0)
NAN = act(math.nan, 0)


@pytest.mark.parametrize("name", ["go2", "quadruped"])
def test_gymnasium_accepts_it(name: str) -> None:
    """check_env, every warning of which is an error here."""
    check_env(RobotEnv(make(robots.find(name)), walk()), skip_render_check=True)


def test_observations_lie_in_the_space_whatever_the_robot_does() -> None:
    """Also while it falls over."""
    env = go2_env(episode_s=4.0)
    rng, fell = np.random.default_rng(3), 0
    obs, _ = env.reset(seed=3)
    for _ in range(150):
        assert env.observation_space.contains(obs)
        obs, _, terminated, truncated, _ = env.step(np.sign(rng.normal(size=12)).astype(np.float32))
        fell += terminated
        if terminated or truncated:
            obs, _ = env.reset()
    assert fell
    env.close()


def roll(env: RobotEnv, seed: int) -> list[Any]:
    """Everything that a hundred random steps give."""
    rng, found = np.random.default_rng(9), list(env.reset(seed=seed))
    for _ in range(100):
        *step, info = env.step(rng.uniform(-1, 1, 12).astype(np.float32))
        found += [*step, info["extra"], info["executed"], info["rewards"], info["motion"]]
        if step[2] or step[3]:
            found += env.reset()
    return found


def test_the_same_seed_gives_the_same_bits() -> None:
    """In a new environment and in a used one."""
    one, two = go2_env(), go2_env()
    first = roll(one, 5)
    for again in (roll(two, 5), roll(one, 5)):
        assert len(again) == len(first)
        for mine, yours in zip(first, again, strict=True):
            np.testing.assert_equal(mine, yours)
    assert not np.array_equal(roll(two, 6)[0], first[0])
    one.close()
    two.close()


def test_info_says_what_was_done(env: RobotEnv) -> None:
    """The keys that the runner records, and the reward is the sum of its terms."""
    _, info = env.reset()
    assert set(info) == {"extra", "motion", "goes_on"}
    _, reward, _, _, info = env.step(ZERO)
    keys = {"extra", "executed", "guards", "dt", "rewards", "forward_mps", "motion"}
    assert set(info) == keys
    assert reward == pytest.approx(sum(info["rewards"].values()))
    assert info["forward_mps"] == pytest.approx(0.5, rel=1e-4)
    assert (info["dt"], info["guards"]) == (0.05, Guard.NONE)


def test_a_command_in_reach_is_executed_as_requested(env: RobotEnv, cart: Cart) -> None:
    """Stance 0.2 rad, half width 0.5 rad: an action of 0.3 is 0.35 rad."""
    env.reset()
    *_, info = env.step(act(0.3, -0.3))
    np.testing.assert_allclose(cart.written[-1].position, [0.35, 0.05], rtol=1e-6)
    np.testing.assert_allclose(info["executed"], [0.3, -0.3], rtol=1e-6)
    assert info["executed"].dtype == np.float32


def test_what_the_safety_wrapper_changed_is_told_and_observed(env: RobotEnv) -> None:
    """Slew allows 0.4 of the action in a period; the policy sees that, not its wish."""
    env.reset()
    obs, *_, info = env.step(act(1, 0))
    np.testing.assert_allclose(info["executed"], [0.4, 0], atol=1e-6)
    assert info["guards"] == Guard.SLEW_LIMIT
    joints = 3 + 3 + 2 + 2
    np.testing.assert_array_equal(obs[joints : joints + 2], info["executed"])
    *_, info = env.step(act(0.4, 0))
    assert info["guards"] == Guard.NONE


def test_actions_beyond_the_box_are_clipped_to_it(env: RobotEnv, cart: Cart) -> None:
    """Otherwise the executed action would not be what was executed."""
    env.reset()
    for _ in range(5):
        *_, info = env.step(act(1.4, -1.2))
    np.testing.assert_allclose(cart.written[-1].position, [0.7, -0.3], rtol=1e-6)
    np.testing.assert_allclose(info["executed"], [1, -1], rtol=1e-6)


@pytest.mark.parametrize(
    ("action", "guard"),
    [
        (NAN, Guard.COMMAND_NOT_FINITE),
        (act(math.inf, 0), Guard.COMMAND_NOT_FINITE),
        (act(0.3), Guard.COMMAND_SHAPE),
        (np.float32(0.3), Guard.COMMAND_SHAPE),
        (act(0.3, 0.3, 0.3), Guard.COMMAND_SHAPE),
    ],
    ids=["nan", "inf", "short", "scalar", "long"],
)
def test_an_unusable_action_is_refused_once_and_ends_the_episode_twice(
    env: RobotEnv, action: FloatArray, guard: Guard
) -> None:
    """One is held over, two in a row are the policy's end."""
    env.reset()
    env.step(act(0.2, 0))
    *_, terminated, truncated, info = env.step(action)
    assert not terminated
    assert not truncated
    assert info["guards"] == guard
    np.testing.assert_allclose(info["executed"], [0.2, 0], atol=1e-6)
    *_, terminated, truncated, info = env.step(action)
    assert (terminated, truncated) == (True, False)


def test_a_fall_terminates(env: RobotEnv, cart: Cart) -> None:
    """60 ms on its side: at 20 Hz the third reading; it is no truncation."""
    env.reset()
    cart.fall()
    ends = [env.step(ZERO)[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (True, False)]


def test_the_time_limit_truncates(env: RobotEnv) -> None:
    """One second at 20 Hz is the 20th step, and it is no termination."""
    env.reset()
    ends = [env.step(ZERO)[2:4] for _ in range(20)]
    assert ends == [(False, False)] * 19 + [(False, True)]


def test_a_fall_at_the_time_limit_is_a_fall(env: RobotEnv, cart: Cart) -> None:
    """Never both."""
    env.reset()
    for _ in range(17):
        env.step(ZERO)
    cart.fall()
    ends = [env.step(ZERO)[2:4] for _ in range(3)]
    assert ends[-1] == (True, False)


def test_the_end_of_the_task_terminates(env: RobotEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task may know more falls than the safety wrapper."""
    env.reset()
    monkeypatch.setattr(env.task, "fallen", lambda tick: True)
    assert env.step(ZERO)[2:4] == (True, False)


@pytest.mark.parametrize(
    ("sensors", "guard"),
    [
        ({"imu_age_s": 0.1}, Guard.STALE_STATE),
        ({"gyro": np.array([0, math.nan, 0], np.float32)}, Guard.STATE_NOT_FINITE),
        ({"quaternion": np.zeros(4, np.float32)}, Guard.STATE_NOT_FINITE),
        ({"position": np.array([math.inf, 0], np.float32)}, Guard.STATE_NOT_FINITE),
    ],
    ids=["stale", "nan", "no attitude", "inf"],
)
def test_failing_sensors_truncate_and_never_reach_the_learner(
    env: RobotEnv, cart: Cart, sensors: dict[str, Any], guard: Guard
) -> None:
    """The policy is not to blame, and what it learns from are numbers."""
    env.reset()
    env.step(act(0.1, 0))
    cart.sensors = sensors
    obs, reward, terminated, truncated, info = env.step(act(0.2, 0))
    assert (terminated, truncated) == (False, True)
    assert info["guards"] == guard
    assert env.observation_space.contains(obs)
    assert math.isfinite(reward)
    assert np.isfinite(info["extra"]).all()


def test_an_operators_stop_truncates(env: RobotEnv) -> None:
    """It says nothing about the policy."""
    env.reset()
    env.robot.stop()
    *_, terminated, truncated, info = env.step(ZERO)
    assert (terminated, truncated) == (False, True)
    assert info["guards"] == Guard.OPERATOR_STOP


def test_a_robot_that_somebody_put_to_rest_truncates(env: RobotEnv) -> None:
    """No guard has fired and nobody is to blame."""
    env.reset()
    env.robot.rest()
    *_, terminated, truncated, info = env.step(ZERO)
    assert (terminated, truncated, info["guards"]) == (False, True, Guard.NONE)


def test_steps_end_on_an_absolute_grid(env: RobotEnv, cart: Cart) -> None:
    """Whatever reading and writing take, as long as it is less than a period."""
    env.reset()
    cart.takes_ns = {"read": 3 * MS, "write": 7 * MS}
    cart.deadlines.clear()
    start = cart.clock_ns
    for _ in range(10):
        env.step(ZERO)
    assert cart.deadlines == [start + PERIOD_NS * step for step in range(1, 11)]
    assert env.overruns == 0


@pytest.mark.parametrize(
    ("takes_ms", "skipped"), [(49, 0), (50, 0), (62, 0), (63, 1), (100, 1), (101, 2), (260, 5)]
)
def test_whole_periods_are_skipped_when_a_step_is_late(
    env: RobotEnv, cart: Cart, takes_ms: int, skipped: int
) -> None:
    """The grid stays, nothing is made up for in a burst, and what was missed is counted."""
    env.reset()
    start = cart.clock_ns
    cart.deadlines.clear()
    cart.takes_ns["write"] = takes_ms * MS
    env.step(ZERO)
    cart.takes_ns["write"] = 0
    env.step(ZERO)
    assert env.overruns == skipped
    first = start + (1 + skipped) * PERIOD_NS
    assert cart.deadlines == [first, first + PERIOD_NS]


def test_a_tick_that_is_a_little_late_goes_at_once(env: RobotEnv, cart: Cart) -> None:
    """It counts as late, and the next tick is due where it always was."""
    env.reset()
    start = cart.clock_ns
    cart.takes_ns["write"] = 60 * MS
    env.step(ZERO)
    assert cart.clock_ns == start + 60 * MS
    cart.takes_ns["write"] = 0
    env.step(ZERO)
    assert cart.clock_ns == start + 2 * PERIOD_NS
    report = env.lateness.report()
    assert report is not None
    assert report["wake"]["max_us"] == 10_000


def test_lateness_is_counted_from_when_a_tick_was_due(env: RobotEnv, cart: Cart) -> None:
    """Skipped periods hide nothing; acting is measured from the reading to the command."""
    env.reset()
    assert env.lateness.report() is None
    cart.takes_ns["write"] = 260 * MS
    env.step(ZERO)
    cart.takes_ns["write"] = 7 * MS
    env.step(ZERO)
    report = env.lateness.report()
    assert report is not None
    assert report["wake"]["max_us"] == 250_000
    assert report["wake"]["p50_us"] < 1
    assert report["act"]["max_us"] == 260_000
    assert report["act"]["count"] == 2
    assert 7000 <= report["act"]["p50_us"] <= 1.25 * 7000


def test_the_length_of_a_step_is_the_time_between_its_readings(env: RobotEnv, cart: Cart) -> None:
    """Time that the policy takes before step() belongs to the step whose displacement it is."""
    env.reset()
    env.step(ZERO)
    cart.clock_ns += 30 * MS
    cart.takes_ns["read"] = 5 * MS
    *_, info = env.step(ZERO)
    assert info["dt"] == pytest.approx(0.055)
    assert info["forward_mps"] == pytest.approx(0.5, rel=1e-3)


def test_the_critic_sees_the_true_velocity_and_the_actor_does_not(
    env: RobotEnv, cart: Cart, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The actor's observation is the same whatever the base does."""
    env.reset()
    obs, *_, info = env.step(ZERO)
    np.testing.assert_allclose(info["extra"], [0.5, 0, 0])
    still = BaseMotion(
        position=np.zeros(3, np.float32), velocity=np.zeros(3, np.float32), yaw=2.0, source="cart"
    )
    monkeypatch.setattr(cart, "base_motion", lambda: still)
    same, *_, info = env.step(ZERO)
    np.testing.assert_array_equal(same, obs)
    np.testing.assert_allclose(info["extra"], [0, 0, 0])


def test_a_robot_without_odometry_has_no_speed(
    env: RobotEnv, cart: Cart, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And still gives observations and a reward."""
    monkeypatch.setattr(cart, "base_motion", lambda: None)
    env.reset()
    _, reward, _, _, info = env.step(ZERO)
    assert (info["forward_mps"], info["motion"]) == (0.0, None)
    assert math.isfinite(reward)


def test_one_observation_is_that_after_a_reset(env: RobotEnv) -> None:
    """Golden vectors are made and replayed with it; it leaves the episode's history alone."""
    obs, _ = env.reset()
    state = env.robot.read()
    np.testing.assert_array_equal(env.observe_once(state, ZERO), obs)


class Remembering(Walk):
    """The walk task with three readings of the joints, and nothing else, for actor and critic."""

    def __init__(self, config: WalkConfig) -> None:
        """No episode has begun."""
        super().__init__(config)
        self.begun: list[tuple[FloatArray, float]] = []

    def actor_terms(self, spec: RobotSpec) -> tuple[Term, ...]:
        (joints,) = (term for term in super().actor_terms(spec) if term.name == "joint_position")
        return (msgspec.structs.replace(joints, history=3),)

    def critic_terms(self, spec: RobotSpec) -> tuple[Term, ...]:
        return self.actor_terms(spec)

    def begin(self, tick: Tick, rng: np.random.Generator) -> None:
        self.begun.append((tick.state.position, rng.uniform()))


def test_a_task_begins_with_the_first_tick_and_the_seeded_generator(cart: Cart) -> None:
    """Whatever it draws is drawn again with the same seed."""
    task = Remembering(WalkConfig(control_hz=20.0))
    env = RobotEnv(cart, task)
    for seed in (1, 1, 2):
        env.reset(seed=seed)
    (position, first), (_, again), (_, other) = task.begun
    np.testing.assert_array_equal(position, SPEC.column("stance"))
    assert first == again != other


def test_time_before_a_reset_is_no_overrun(env: RobotEnv, cart: Cart) -> None:
    """The grid begins with the episode."""
    cart.clock_ns = 10_000 * MS
    env.reset()
    env.step(ZERO)
    assert env.overruns == 0


def test_an_episode_starts_without_a_past() -> None:
    """What the last episode did is not in the first observation of the next, nor the critic's."""
    task = Remembering(WalkConfig(control_hz=20.0, episode_s=0.15))
    env = RobotEnv(Cart(simulated=True), task)
    env.reset()
    for _ in range(3):
        obs, *_ = env.step(act(1, 1))
    assert len(set(obs.tolist())) == 3
    obs, info = env.reset()
    assert len(set(obs.tolist())) == 1
    np.testing.assert_array_equal(info["extra"], obs)


def test_steps_need_a_reset(env: RobotEnv, cart: Cart) -> None:
    """Also after a reset that failed."""
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(ZERO)
    env.reset()
    cart.fall()
    env.robot.stop()
    with pytest.raises(SafetyStopError):
        env.reset()
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(ZERO)


def test_a_latched_robot_is_not_moved_by_reset(env: RobotEnv, cart: Cart) -> None:
    """It ends the damping, says what must be cleared, and waits for an operator."""
    env.reset()
    cart.fall()
    for _ in range(3):
        env.step(ZERO)
    written = len(cart.written)
    for _ in range(2):
        with pytest.raises(SafetyStopError, match="tilt"):
            env.reset()
    assert env.robot.state is State.FAULT
    assert cart.limp
    assert all(not command.kp.any() for command in cart.written[written:])
    cart.sensors = {}
    env.robot.clear()
    obs, _ = env.reset()
    assert env.observation_space.contains(obs)


def test_a_robot_that_an_operator_stopped_sits_down_and_stays_down(
    env: RobotEnv, cart: Cart
) -> None:
    """Reset is no operator: it lets the stop come to its end and does not stand up again."""
    env.reset()
    env.robot.stop()
    env.step(ZERO)
    with pytest.raises(SafetyStopError, match="operator_stop"):
        env.reset()
    np.testing.assert_allclose(cart.written[-1].position, [0.4, 0.4])
    assert cart.limp
    written = len(cart.written)
    with pytest.raises(SafetyStopError, match="operator_stop"):
        env.reset()
    assert len(cart.written) == written
    env.robot.enable()
    env.reset()
    np.testing.assert_allclose(cart.written[-1].position, SPEC.column("stance"))


def test_a_real_robot_goes_on_after_the_time_limit(env: RobotEnv, cart: Cart) -> None:
    """Nothing stops it, and nothing needs to."""
    env.reset()
    for _ in range(20):
        env.step(act(0.3, 0.3))
    written = len(cart.written)
    env.reset()
    assert len(cart.written) == written
    assert env.robot.state is State.ACTIVE


def test_a_robot_in_mid_stride_remembers_its_stride(cart: Cart, env: RobotEnv) -> None:
    """A time limit is no event of the world: neither the last action nor the past is forgotten."""
    env.reset()
    for _ in range(20):
        env.step(act(0.3, -0.2))
    _, info = env.reset()
    assert info["goes_on"]
    *_, info = env.step(act(0.3, -0.2))
    assert info["rewards"]["smooth"] == pytest.approx(0, abs=1e-9)
    remembering = RobotEnv(cart, Remembering(WalkConfig(control_hz=20.0, episode_s=0.15)))
    remembering.reset()
    for number in (0.1, 0.5, 0.9):
        obs, *_ = remembering.step(act(number, number))
    again, _ = remembering.reset()
    np.testing.assert_array_equal(again.reshape(-1, 2)[:-1], obs.reshape(-1, 2)[1:])


def test_a_simulated_robot_is_placed_and_cleared() -> None:
    """A fall in training is no matter for an operator."""
    cart = Cart(simulated=True)
    env = RobotEnv(cart, walk())
    env.reset()
    cart.fall()
    for _ in range(3):
        env.step(ZERO)
    env.reset()
    assert env.robot.state is State.ACTIVE
    assert env.step(ZERO)[2:4] == (False, False)


def test_what_happens_while_standing_up_belongs_to_no_transition(env: RobotEnv, cart: Cart) -> None:
    """A sensor that was late during the ramp of another attempt, for example."""
    cart.sensors = {"joint_age_s": 0.05}
    with pytest.raises(SafetyStopError):
        env.reset()
    cart.sensors = {}
    env.reset()
    *_, info = env.step(ZERO)
    assert info["guards"] == Guard.NONE


def test_a_robot_that_falls_while_standing_up_is_not_used(cart: Cart) -> None:
    """The ramp takes 0.2 rad at 1 rad/s; on its side it is damped before that is over."""
    env = RobotEnv(cart, walk())
    cart.position = SPEC.column("stance") + np.float32(0.5)
    ticks = iter(range(100))

    def tip(deadline_ns: int) -> None:
        cart.clock_ns = deadline_ns
        if next(ticks) == 2:
            cart.fall()

    cart.wait_until = tip  # type: ignore[method-assign]
    with pytest.raises(SafetyStopError, match="tilt"):
        env.reset()
    assert env.robot.state is State.DAMP


def test_closing_sits_down_and_may_be_repeated(env: RobotEnv, cart: Cart) -> None:
    """The end of a run is no fall."""
    env.reset()
    env.close()
    np.testing.assert_allclose(cart.written[-1].position, [0.4, 0.4])
    assert cart.limp
    env.close()


def test_a_robot_that_is_safe_already_is_not_wrapped_again(cart: Cart) -> None:
    """One state machine, not two."""
    env = RobotEnv(cart, walk())
    assert RobotEnv(env.robot, walk()).robot is env.robot
