"""What may act: everything else is refused before it moves anything."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from robosac.errors import ContractMismatchError, PolicyError
from robosac.policy import onnx_policy
from robosac.policy.contract import Contract, Golden
from robosac.policy.file import assemble
from robosac.policy.onnx_policy import OnnxPolicy

replace = msgspec.structs.replace
OBS = np.linspace(-1, 1, 6, dtype=np.float32)
NOISE = np.array([0.5, -2.0], np.float32)


def refusal(file: bytes, *, here: Contract | None = None) -> str:
    """Why a file may not act, in one line that names it."""
    with pytest.raises(PolicyError) as caught:
        OnnxPolicy(file, here=here, source="mine.onnx")
    reason = str(caught.value)
    assert "\n" not in reason
    return reason


@pytest.fixture(scope="module")
def graph(file: bytes) -> bytes:
    """The graph without its contract."""
    return OnnxPolicy(file).graph


@pytest.fixture(scope="module")
def signed(file: bytes) -> Contract:
    """The contract as it stands in the file."""
    return OnnxPolicy(file).contract


def test_acting(file: bytes) -> None:
    """The same observation gives the same action; noise of one call does not reach the next."""
    policy = OnnxPolicy(file)
    calm = policy.act(OBS)
    assert calm.shape == (2,)
    assert calm.dtype == np.float32
    noisy = policy.act(OBS, NOISE)
    assert not np.array_equal(noisy, calm)
    assert np.array_equal(policy.act(OBS), calm)
    assert np.array_equal(policy.act(OBS, np.zeros(2, np.float32)), calm)
    assert np.array_equal(policy.act(OBS, NOISE), noisy)


def test_observations_of_another_type_are_float32_inside(file: bytes) -> None:
    """float64 from an environment gives the bits of float32 (trap 23).

    Put back by handing it on as it comes: onnxruntime takes nothing but float32.
    """
    policy = OnnxPolicy(file)
    action = policy.act(OBS.astype(np.float64), NOISE.astype(np.float64))
    assert action.dtype == np.float32
    assert np.array_equal(action, policy.act(OBS, NOISE))


def test_actions_are_the_callers_to_keep(file: bytes) -> None:
    """A later action does not overwrite an earlier one."""
    policy = OnnxPolicy(file)
    first = policy.act(OBS)
    kept = first.copy()
    policy.act(-OBS, NOISE)
    assert np.array_equal(first, kept)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads as Linux does")
def test_no_threads_are_started(file: bytes) -> None:
    """Everything runs on the calling thread: a pool would fight with the control loop."""
    before = set(Path("/proc/self/task").iterdir())
    policies = [OnnxPolicy(file) for _ in range(3)]
    assert set(Path("/proc/self/task").iterdir()) == before
    assert policies[0].act(OBS).shape == (2,)


def test_loading_from_disk(file: bytes, tmp_path: Path, contract: Contract) -> None:
    """A file on disk is the same policy, checked against the robot if asked to."""
    path = tmp_path / "policy.onnx"
    path.write_bytes(file)
    policy = OnnxPolicy.load(path, here=contract)
    assert np.array_equal(policy.act(OBS), OnnxPolicy(file).act(OBS))
    assert policy.sha256 == OnnxPolicy(file).sha256
    with pytest.raises(ContractMismatchError, match="robot: policy has 'twoleg', expected 'x'"):
        OnnxPolicy.load(path, here=replace(contract, robot="x"))


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """Missing files and folders, in one line with advice."""
    for path in (tmp_path / "missing.onnx", tmp_path):
        with pytest.raises(PolicyError, match=r"cannot be read .*give a file made by") as caught:
            OnnxPolicy.load(path)
        assert str(path) in str(caught.value)


def test_a_huge_file_is_not_even_read(tmp_path: Path) -> None:
    """A sparse file over the limit; bytes over the limit are refused as well."""
    path = tmp_path / "huge.onnx"
    with path.open("wb") as sparse:
        sparse.truncate(onnx_policy.SIZE_MAX + 1)
    with pytest.raises(PolicyError, match="larger than 64 MiB"):
        OnnxPolicy.load(path)
    assert "larger than 64 MiB" in refusal(bytes(onnx_policy.SIZE_MAX + 1))


@pytest.mark.parametrize("content", [b"", b"no graph", b"\x00" * 100, b'{"schema": 1}'])
def test_what_is_no_onnx_is_refused(content: bytes) -> None:
    """The reason is onnxruntime's, cut to one line."""
    assert "not an ONNX file onnxruntime can run" in refusal(content)


def test_a_graph_without_contract_is_refused(graph: bytes) -> None:
    """Policies of others may be fine graphs, but nobody knows what they are for."""
    assert "no robosac contract" in refusal(graph)
    assert "use `robosac export`" in refusal(graph)


def test_any_flipped_byte_of_the_graph_is_refused(file: bytes, graph: bytes) -> None:
    """Every byte of the first 64, then every 61st: onnxruntime or the digest finds it."""
    places = [*range(64), *range(64, len(graph), 61), len(graph) - 1]
    for place in places:
        damaged = bytearray(file)
        damaged[place] ^= 0x10
        refusal(bytes(damaged))


def test_a_damaged_frame_of_the_contract_is_refused(file: bytes, graph: bytes) -> None:
    """The bytes between graph and document are covered as well."""
    document = file.index(b'{"schema"')
    for place in range(len(graph), document):
        damaged = bytearray(file)
        damaged[place] ^= 1
        refusal(bytes(damaged))


def test_a_truncated_file_is_refused(file: bytes) -> None:
    """Cut anywhere."""
    for length in range(0, len(file), len(file) // 40):
        refusal(file[:length])


def test_the_contract_is_checked_against_the_robot(file: bytes, contract: Contract) -> None:
    """All mismatches come in one error of their own class."""
    assert OnnxPolicy(file, here=contract).contract.robot == "twoleg"
    with pytest.raises(ContractMismatchError) as caught:
        OnnxPolicy(file, here=replace(contract, task="jump", control_hz=50.0))
    assert [line.split(":")[0] for line in caught.value.differences] == ["task", "control_hz"]


def test_weights_that_are_not_numbers_are_refused(graph: bytes, signed: Contract) -> None:
    """Whoever wrote the file: an action that is no number moves nothing."""
    model = onnx.load_from_string(graph)
    (bias,) = [one for one in model.graph.initializer if one.name == "actor.head.bias"]
    bias.raw_data = np.full(4, np.nan, np.float32).tobytes()
    file = assemble(model.SerializeToString(), signed)
    assert "not finite on golden vector 0" in refusal(file)


def test_golden_actions_must_be_met(graph: bytes, signed: Contract) -> None:
    """The error names vector and action."""
    off = replace(signed.golden[1], action=[signed.golden[1].action[0], 0.123])
    golden = (signed.golden[0], off, signed.golden[2])
    reason = refusal(assemble(graph, replace(signed, golden=golden)))
    assert "golden vector 1 gives action[1]" in reason
    assert "expected 0.123" in reason


@pytest.mark.parametrize(
    "golden", [Golden(sensors={}, obs=[0.0], action=[0.0, 0.0]), Golden(sensors={}, obs=[0.0] * 6)]
)
def test_golden_vectors_must_have_the_sizes_of_the_policy(
    graph: bytes, signed: Contract, golden: Golden
) -> None:
    """One number must not be repeated for all, and no action is no proof."""
    assert "golden vector 0 has" in refusal(assemble(graph, replace(signed, golden=(golden,))))


def test_golden_vectors_must_exist(graph: bytes, signed: Contract) -> None:
    """Without them nothing shows that this computer computes what the learner did."""
    assert "no golden vectors" in refusal(assemble(graph, replace(signed, golden=())))


def test_another_schema_is_refused(graph: bytes, signed: Contract) -> None:
    """Before anything else of the document is believed."""
    assert "schema 99" in refusal(assemble(graph, replace(signed, schema=99)))


def test_sizes_of_graph_and_contract_must_agree(graph: bytes, signed: Contract) -> None:
    """A contract for seven observations does not fit a graph that takes six."""
    longer = replace(signed, obs=(replace(signed.obs[0], size=3), signed.obs[1]))
    reason = refusal(assemble(graph, longer))
    assert "graph takes {'obs': ['tensor(float)', 1, 6]" in reason
    assert "contract says {'obs': ['tensor(float)', 1, 7]" in reason


def foreign(*, kind: int = TensorProto.FLOAT, output: str = "action", factor: int = 1) -> bytes:
    """Make a graph by hand: the action is the noise, repeated."""
    obs = helper.make_tensor_value_info("obs", kind, [1, 6])
    noise = helper.make_tensor_value_info("noise", kind, [1, 2])
    action = helper.make_tensor_value_info(output, kind, [1, 2 * factor])
    node = helper.make_node("Concat", ["noise"] * factor, [output], axis=1)
    graph = helper.make_graph([node], "foreign", [obs, noise], [action])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    serialised: bytes = model.SerializeToString()
    return serialised


@pytest.fixture(scope="module")
def still(signed: Contract) -> Contract:
    """A contract of a policy that does nothing without noise."""
    golden = tuple(replace(one, action=[0.0, 0.0]) for one in signed.golden)
    return replace(signed, golden=golden)


def test_a_graph_made_by_hand_may_act(still: Contract) -> None:
    """What counts is the contract, not the exporter."""
    policy = OnnxPolicy(assemble(foreign(), still))
    assert np.array_equal(policy.act(OBS, NOISE), NOISE)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"kind": TensorProto.DOUBLE}, r"graph takes {'obs': ['tensor(double)', 1, 6]"),
        ({"output": "actions"}, "graph gives {'actions'"),
        ({"factor": 2}, "graph gives {'action': ['tensor(float)', 1, 4]"),
    ],
)
def test_other_inputs_and_outputs_are_refused(
    still: Contract, options: dict[str, int | str], reason: str
) -> None:
    """Names, shapes and types, of inputs and of the output."""
    assert reason in refusal(assemble(foreign(**options), still))  # type: ignore[arg-type]


def test_a_graph_that_fails_when_it_runs_is_refused(still: Contract) -> None:
    """Loading succeeds; the first run does not."""
    nodes = [
        helper.make_node("Shape", ["obs"], ["shape"]),
        helper.make_node("Constant", [], ["five"], value_ints=[5]),
        helper.make_node("Gather", ["shape", "five"], ["bad"], axis=0),
        helper.make_node("Cast", ["bad"], ["as_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["noise", "as_float"], ["action"]),
    ]
    model = onnx.load_from_string(foreign())
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    reason = refusal(assemble(model.SerializeToString(), still))
    assert "graph cannot be run" in reason
