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
    import onnxruntime
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]

SIZE_MAX = 64 * 2**20
"""Largest policy file that is read, bytes."""
GOLDEN_TOLERANCE = 1e-5
"""Largest difference of a golden vector, scaled by max(1, |expected|)."""
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
        self._check_golden(source)
        for _ in range(_WARM_UP):
            self.act(np.zeros(self.contract.obs_size, np.float32))

    @classmethod
    def load(cls, path: Path | str, *, here: Contract | None = None) -> OnnxPolicy:
        """Read a policy file from disk; raises PolicyError in one line when it cannot be used."""
        path = Path(path)
        try:
            if path.stat().st_size > SIZE_MAX:
                raise PolicyError(
                    f"{path}: larger than {SIZE_MAX >> 20} MiB; this is no policy file"
                )
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

    def _bind(self, source: str) -> dict[str, FloatArray]:
        """Preallocate the inputs; their shapes must be the contract's."""
        wanted = {
            "obs": [1, self.contract.obs_size],
            "noise": [1, self.contract.action_size],
        }
        got = {item.name: item.shape for item in self._session.get_inputs()}
        if got != wanted:
            raise PolicyError(f"{source}: graph takes {got}, its contract says {wanted}")
        return {name: np.zeros(shape, np.float32) for name, shape in wanted.items()}

    def _check_golden(self, source: str) -> None:
        """Replay the golden vectors; the runner checks their sensor half as well."""
        if not self.contract.golden:
            raise PolicyError(
                f"{source}: no golden vectors in the contract; export the policy again"
            )
        for number, golden in enumerate(self.contract.golden):
            got = self.act(np.array(golden.obs, np.float32))
            expected = np.array(golden.action, np.float32)
            if not np.isfinite(got).all():
                raise PolicyError(f"{source}: action is not finite on golden vector {number}")
            if got.shape != expected.shape or not close(got, expected):
                raise PolicyError(
                    f"{source}: golden vector {number} gives {got}, expected {expected}"
                )


def close(got: FloatArray, expected: FloatArray) -> bool:
    """Whether two vectors agree as golden vectors must."""
    return bool(
        np.all(np.abs(got - expected) <= GOLDEN_TOLERANCE * np.maximum(1, np.abs(expected)))
    )


def _session(file: bytes, source: str) -> onnxruntime.InferenceSession:
    """Open a session that runs on the calling thread alone."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises bare classes of its own  # noqa: BLE001
        reason = str(error).splitlines()[0]
        raise PolicyError(f"{source}: not an ONNX file onnxruntime can run ({reason})") from None
