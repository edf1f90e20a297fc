"""The one exception hierarchy of the project; the command line turns these into one line and exit code 2."""

__all__ = ["ActionError", "CheckpointError", "GameCraftError", "InputError"]


class GameCraftError(Exception):
    """Root of all errors a caller can cause. The message says what was received, what was expected, what to do."""


class InputError(GameCraftError):
    """A file, option or array from outside is missing, malformed or out of range."""


class ActionError(InputError):
    """An action script, key or speed is not valid; the message points at the offending place."""


class CheckpointError(GameCraftError):
    """A model folder or weights file is missing, truncated, or of the wrong kind."""
