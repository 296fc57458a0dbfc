"""The log on board: every control tick and every event, in files that Foxglove opens."""
