"""Runners spread over a Ray cluster."""
