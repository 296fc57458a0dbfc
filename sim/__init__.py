"""Simulated robots and environments; every module brings its own heavy library."""
