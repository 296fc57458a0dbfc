"""Dynamixel servos: bytes, frames, one bus, and the chain of servos that is a robot's joints.

Each layer is a module that can be used and tested alone: protocol (frames), control_table
(registers), port (bytes), bus (transactions), chain (joints).
"""
