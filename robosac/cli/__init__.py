"""The commands; the only place that wires robots, simulators and learner together."""
