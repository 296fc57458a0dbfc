"""The log on board: every control tick, transition and event, in files that Foxglove opens."""
