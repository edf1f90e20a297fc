"""Real game footage with its true camera: ViZDoom playing the Freedoom maps that ship with it.

One game tic is one frame. The lens and the unit of length are the engine's: 90 degrees across a 4:3 picture, more
across wider ones, and 32 map units to the metre. Doom draws heights 1.2 times as tall as widths; the poses have the
heights as drawn, so that a camera with square pixels explains the picture. There is no pitch: the engine shears.
"""

from __future__ import annotations

import math
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from gamecraft.actions import Action, motion
from gamecraft.curation.extras import require
from gamecraft.errors import InputError
from gamecraft.intrinsics import Intrinsics
from gamecraft.trajectory import CameraState

__all__ = ["SIZES", "DoomWorld", "doom_intrinsics", "doom_maps"]

SIZES = ((320, 180), (400, 225), (512, 288), (640, 360), (800, 450), (1024, 576), (1280, 720))
"""Picture sizes (width, height) that the engine offers at 16:9."""

_UNITS_PER_METRE = 32.0
_HEIGHT_STRETCH = 1.2
# Walking at v metres a frame needs this many times 32 v of the engine's thrust, against its friction.
_THRUST = 3.75
# The engine ignores the player for a moment after a map has started.
_DEAF_TICS = 10


def doom_maps() -> list[str]:
    """The maps, as ``freedoom1/e1m1`` and ``freedoom2/map01``."""
    first = [f"freedoom1/e{episode}m{number}" for episode in range(1, 5) for number in range(1, 10)]
    return first + [f"freedoom2/map{number:02d}" for number in range(1, 33)]


def doom_intrinsics(width: int, height: int) -> Intrinsics:
    """The engine's lens: the vertical field of view is that of 90 degrees across 4:3, whatever the width."""
    return Intrinsics(fx=0.5 * (4 / 3) / (width / height), fy=0.5 * 4 / 3)


class DoomWorld:
    """A playable Freedoom map: ``reset()`` and ``step(action)``, as ``LowPolyWorld``.

    Attributes:
        state: the camera's position in metres (y down) and yaw.
        blocked: whether the player wanted to walk and hardly moved.
        ended: whether the last step ended the map; ``reset`` starts it again.
    """

    def __init__(self, map_name: str, *, seed: int = 0, hud: bool = False, width: int = 640, height: int = 360) -> None:
        vizdoom = require("vizdoom", "recording Doom")
        if map_name not in doom_maps():
            raise InputError(f"no map {map_name!r}; the maps are freedoom1/e1m1 to e4m9 and freedoom2/map01 to map32")
        if (width, height) not in SIZES:
            raise InputError(f"Doom has no size {width}x{height}; choose of {', '.join(f'{w}x{h}' for w, h in SIZES)}")
        self.intrinsics = doom_intrinsics(width, height)
        self.state, self.blocked, self.ended = CameraState(), False, False
        wad, level = map_name.split("/")
        # The engine writes its settings and saved games, by default to the current folder.
        self._folder = tempfile.TemporaryDirectory(prefix="gamecraft-doom-")
        self._game = _engine(vizdoom, wad, level, hud)
        self._game.add_game_args(f"-savedir {self._folder.name}")
        self._game.set_doom_config_path(str(Path(self._folder.name) / "vizdoom.ini"))
        self._game.set_screen_resolution(getattr(vizdoom.ScreenResolution, f"RES_{width}X{height}"))
        self._game.set_seed(seed)
        self._game.init()
        self._guard = _guard(self._folder.name)

    def reset(self) -> NDArray[np.uint8]:
        """Start the map and return the first picture [H, W, 3]."""
        self._game.new_episode()
        self._game.send_game_command("god")
        self._game.make_action([0.0] * 4, _DEAF_TICS)
        self.ended = self.blocked = False
        return self._look()

    def step(self, action: Action, *, use: bool = False) -> NDArray[np.uint8]:
        """Play one frame's action and return the picture [H, W, 3] after it; ``use`` opens doors.

        The pitch of the action is ignored. The player has momentum, so that walking starts and stops gradually.
        """
        right, _, forward, yaw, _ = motion([action])[0]
        thrust = _UNITS_PER_METRE * _THRUST
        before = np.array(self.state.position)
        self._game.make_action([math.degrees(yaw), thrust * forward, thrust * right, float(use)])
        if self._game.is_episode_finished():
            self.ended = True
            return np.zeros((self._game.get_screen_height(), self._game.get_screen_width(), 3), np.uint8)
        picture = self._look()
        wanted = math.hypot(right, forward)
        self.blocked = wanted > 0 and float(np.hypot(*(np.array(self.state.position) - before)[[0, 2]])) < wanted / 8
        return picture

    def close(self) -> None:
        """End the engine's process."""
        self._guard.kill()
        self._guard.communicate()
        self._game.close()
        self._folder.cleanup()
        with suppress(OSError):  # the engine makes this folder wherever it runs and leaves it empty
            Path("_vizdoom").rmdir()

    def __enter__(self) -> DoomWorld:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _look(self) -> NDArray[np.uint8]:
        state = self._game.get_state()
        x, y, z, angle = (float(value) for value in state.game_variables)
        # The map's plane has x east and y north, angles turn left from east; ours has x right and z forward.
        position = (x / _UNITS_PER_METRE, -z * _HEIGHT_STRETCH / _UNITS_PER_METRE, y / _UNITS_PER_METRE)
        self.state = CameraState(position=position, yaw=math.remainder(math.radians(90 - angle), 2 * math.pi))
        return np.array(state.screen_buffer, dtype=np.uint8)


def _guard(folder: str) -> subprocess.Popen[bytes]:
    """A process that ends the engine which saves its games in ``folder``, and removes that, once this one is gone.

    Killed, this process has no chance to; then the guard's input ends.
    """
    (engine,) = (child for child in psutil.Process().children() if folder in child.cmdline())
    command = ["sh", "-c", 'read -r _; kill -9 "$0"; rm -rf "$1"', str(engine.pid), folder]
    # A group of its own, so that what Ctrl-C or a time limit sends to the whole group spares it.
    return subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)


def _engine(vizdoom: Any, wad: str, level: str, hud: bool) -> Any:
    game, button, variable = vizdoom.DoomGame(), vizdoom.Button, vizdoom.GameVariable
    game.set_doom_scenario_path(str(Path(vizdoom.__file__).parent / f"{wad}.wad"))
    game.set_doom_map(level)
    game.set_screen_format(vizdoom.ScreenFormat.RGB24)
    game.set_window_visible(False)
    game.set_sound_enabled(False)
    game.set_mode(vizdoom.Mode.PLAYER)
    game.set_episode_timeout(0)
    game.set_doom_skill(1)
    game.set_render_hud(hud)
    game.set_render_weapon(hud)
    game.set_render_messages(False)
    game.set_render_corpses(False)
    game.set_available_buttons(
        [button.TURN_LEFT_RIGHT_DELTA, button.MOVE_FORWARD_BACKWARD_DELTA, button.MOVE_LEFT_RIGHT_DELTA, button.USE]
    )
    game.set_available_game_variables(
        [
            variable.CAMERA_POSITION_X,
            variable.CAMERA_POSITION_Y,
            variable.CAMERA_POSITION_Z,
            variable.CAMERA_ANGLE,
        ]
    )
    # Monsters would kill the player, who does not defend himself.
    # Or else it caches what it prepares of some maps in the current folder.
    game.add_game_args("+sv_cheats 1 -nomonsters +gl_cachenodes 0")
    return game
