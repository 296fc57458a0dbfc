"""Exit codes of every command; part of what users' scripts rely on."""

EXIT_DONE = 0
EXIT_USER = 2
"""The user's input: one line says what was got, what was expected, what to do."""
EXIT_SAFETY = 3
"""Refused for safety."""
EXIT_INCOMPLETE = 4
"""Finished, but something is missing."""
EXIT_INTERRUPTED = 130
"""Interrupted, cleanly."""
