"""Simulated robots and environments; import the module you need, each brings its own heavy library."""
