"""Run a policy file with onnxruntime: one thread, checked before it may move anything."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from robosac.errors import PolicyError
from robosac.policy.contract import METADATA_KEY, Contract, check, decode
from robosac.policy.file import split

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnxruntime
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]

SIZE_MAX = 64 * 2**20
"""Largest policy file that is read, bytes."""
GOLDEN_TOLERANCE = 1e-5
"""Largest difference of a golden vector, scaled by max(1, |expected|), rounding aside."""
ROUNDING_MAX = 1e-3
"""Rounding beyond which a policy is no policy for float32."""
_ROUNDINGS = 8
"""How often the rounding seen at the learner a processor that adds in another order may have."""
_WARM_UP = 20


class OnnxPolicy:
    """A loaded policy: observation and noise in, action in output units out."""

    def __init__(
        self, file: bytes, *, here: Contract | None = None, source: str = "policy"
    ) -> None:
        """Load and check a policy file.

        `here` is the contract this robot and task would write; without it only the file itself is
        checked.  Raises PolicyError, ContractMismatchError.
        """
        if len(file) > SIZE_MAX:
            raise _too_large(source)
        self.file = file
        self.sha256 = hashlib.sha256(file).hexdigest()
        self._session = _session(file, source)
        metadata = self._session.get_modelmeta().custom_metadata_map
        if METADATA_KEY not in metadata:
            raise PolicyError(
                f"{source}: no robosac contract in this ONNX file; use `robosac export`"
            )
        document = metadata[METADATA_KEY]
        self.contract = decode(document)
        self.graph = split(file, document.encode(), self.contract)
        if here is not None:
            check(self.contract, here)
        self._inputs = self._bind(source)
        try:
            self._check_golden(source)
            for _ in range(_WARM_UP):
                self.act(np.zeros(self.contract.obs_size, np.float32))
        except PolicyError:
            raise
        except Exception as error:  # onnxruntime raises bare classes of its own  # noqa: BLE001
            raise PolicyError(f"{source}: graph cannot be run ({_first_line(error)})") from None

    @classmethod
    def load(cls, path: Path | str, *, here: Contract | None = None) -> OnnxPolicy:
        """Read a policy file from disk; raises PolicyError in one line when it cannot be used."""
        path = Path(path)
        try:
            if path.stat().st_size > SIZE_MAX:
                raise _too_large(str(path))
            return cls(path.read_bytes(), here=here, source=str(path))
        except OSError as error:
            raise PolicyError(
                f"{path}: cannot be read ({error.strerror}); give a file made by `robosac export`"
            ) from None

    def act(self, obs: FloatArray, noise: FloatArray | None = None) -> FloatArray:
        """Action (A,) for one observation (O,); no noise is the deterministic policy."""
        self._inputs["obs"][0] = obs
        self._inputs["noise"][0] = 0.0 if noise is None else noise
        action: FloatArray = self._session.run(["action"], self._inputs)[0][0]
        return action

    def actions(self, obs: Sequence[FloatArray]) -> FloatArray:
        """Deterministic actions (n, A) for observations (O,); while another thread is in act()."""
        noise = np.zeros((1, self.contract.action_size), np.float32)
        inputs = ({"obs": np.array([one], np.float32), "noise": noise} for one in obs)
        return np.array([self._session.run(["action"], one)[0][0] for one in inputs])

    def _bind(self, source: str) -> dict[str, FloatArray]:
        """Preallocate the inputs; inputs and output must be the contract's, in float32."""
        obs, action = [1, self.contract.obs_size], [1, self.contract.action_size]
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        for verb, items, expected in (
            ("takes", inputs, {"obs": obs, "noise": action}),
            ("gives", outputs, {"action": action}),
        ):
            got = {item.name: [item.type, *item.shape] for item in items}
            wanted = {name: ["tensor(float)", *shape] for name, shape in expected.items()}
            if got != wanted:
                raise PolicyError(f"{source}: graph {verb} {got}, its contract says {wanted}")
        return {"obs": np.zeros(obs, np.float32), "noise": np.zeros(action, np.float32)}

    def _check_golden(self, source: str) -> None:
        """Replay the golden vectors; the runner checks their sensor half as well."""
        if not self.contract.golden:
            raise PolicyError(
                f"{source}: no golden vectors in the contract; export the policy again"
            )
        for number, golden in enumerate(self.contract.golden):
            sizes = len(golden.obs), len(golden.action)
            if sizes != (self.contract.obs_size, self.contract.action_size):
                raise PolicyError(
                    f"{source}: golden vector {number} has {sizes} numbers, "
                    f"expected {(self.contract.obs_size, self.contract.action_size)}"
                )
            if not 0 <= golden.rounding <= ROUNDING_MAX:
                raise PolicyError(
                    f"{source}: golden vector {number} may be off by {golden.rounding:g}, expected "
                    f"at most {ROUNDING_MAX:g}; export the policy again"
                )
            got = self.act(np.array(golden.obs, np.float32))
            expected = np.array(golden.action, np.float32)
            if not np.isfinite(got).all():
                raise PolicyError(f"{source}: action is not finite on golden vector {number}")
            if not close(got, expected, rounding=golden.rounding):
                worst = int(np.argmax(np.abs(got - expected)))
                raise PolicyError(
                    f"{source}: golden vector {number} gives action[{worst}] {got[worst]:g}, "
                    f"expected {expected[worst]:g}; export the policy again"
                )


def close(got: FloatArray, expected: FloatArray, *, rounding: float = 0.0) -> bool:
    """Whether two vectors agree as golden vectors must."""
    tolerance = GOLDEN_TOLERANCE + _ROUNDINGS * rounding
    return bool(np.all(np.abs(got - expected) <= tolerance * np.maximum(1, np.abs(expected))))


def _session(file: bytes, source: str) -> onnxruntime.InferenceSession:
    """Open a session that runs on the calling thread alone."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # an arena per policy, of thousands, fragments the heap
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises bare classes of its own  # noqa: BLE001
        raise PolicyError(
            f"{source}: not an ONNX file onnxruntime can run ({_first_line(error)})"
        ) from None


def _too_large(source: str) -> PolicyError:
    return PolicyError(f"{source}: larger than {SIZE_MAX >> 20} MiB; this is no policy file")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
