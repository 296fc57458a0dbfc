"""Where updates are made, by the name that people give it."""

from __future__ import annotations

import torch

from robosac.errors import ConfigError


def find(name: str) -> torch.device:
    """Return a device that is there; raises ConfigError where it is not, or is of no use here."""
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in {"cpu", "cuda"}:
        raise ConfigError(f"--device is {name!r}; expected cpu, cuda or cuda:NUMBER")
    count = torch.cuda.device_count()
    if device.type == "cuda" and not 0 <= (device.index or 0) < count:  # 255 are -1 to torch
        raise ConfigError(
            f"--device is {name}; torch {torch.__version__} finds {count} CUDA devices here; "
            "install its CUDA build and a driver, or use --device cpu"
        )
    return device
