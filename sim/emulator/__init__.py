"""Emulated devices at byte level: what a driver talks to when there is no hardware."""
