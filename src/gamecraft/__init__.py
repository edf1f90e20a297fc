"""gamecraft: a picture, a prompt and your keys become a game video.

Importing the package loads nothing heavy; the names below load their module when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gamecraft.actions import Action, Key, actions_from_json, actions_to_json, format_script, parse_script
    from gamecraft.errors import ActionError, CheckpointError, GameCraftError, InputError
    from gamecraft.gallery import gallery
    from gamecraft.history import History
    from gamecraft.loading import load_pipeline
    from gamecraft.pipeline import GameCraftPipeline
    from gamecraft.rollout import Chunk
    from gamecraft.serving.client import Client
    from gamecraft.session import Session
    from gamecraft.trajectory import CameraState, Trajectory
    from gamecraft.video import read_video, write_video

__version__ = "0.1.0"

__all__ = [
    "Action",
    "ActionError",
    "CameraState",
    "CheckpointError",
    "Chunk",
    "Client",
    "GameCraftError",
    "GameCraftPipeline",
    "History",
    "InputError",
    "Key",
    "Session",
    "Trajectory",
    "__version__",
    "actions_from_json",
    "actions_to_json",
    "format_script",
    "gallery",
    "load_pipeline",
    "parse_script",
    "read_video",
    "write_video",
]

_MODULES = {
    "actions": ("Action", "Key", "actions_from_json", "actions_to_json", "format_script", "parse_script"),
    "errors": ("ActionError", "CheckpointError", "GameCraftError", "InputError"),
    "gallery": ("gallery",),
    "history": ("History",),
    "loading": ("load_pipeline",),
    "pipeline": ("GameCraftPipeline",),
    "rollout": ("Chunk",),
    "serving.client": ("Client",),
    "session": ("Session",),
    "trajectory": ("CameraState", "Trajectory"),
    "video": ("read_video", "write_video"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
