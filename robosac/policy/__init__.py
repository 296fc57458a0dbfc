"""Policies: one ONNX file each, with the contract that says which robot may run it."""

from robosac.policy.contract import Contract
from robosac.policy.onnx_policy import OnnxPolicy

__all__ = ["Contract", "OnnxPolicy"]
