"""Play actions in a low-poly world and write the true video, its contact sheet and its camera poses.

Beside OUT.mp4 it writes OUT.png (pictures with the keys held) and OUT.trajectory.json.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gamecraft.commands.script_help import SCRIPT_HELP
from gamecraft.errors import InputError

if TYPE_CHECKING:
    from gamecraft.trajectory import CameraState
    from gamecraft.worlds.environment import LowPolyWorld

__all__ = ["add_arguments", "run"]

_PICTURES = 20  # on the contact sheet


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `gamecraft world`."""
    parser.add_argument("--actions", required=True, metavar="SCRIPT", help=SCRIPT_HELP)
    parser.add_argument("--output", required=True, type=Path, metavar="OUT.mp4", help="the video to write")
    parser.add_argument("--gallery", metavar="NAME", help="start where this gallery picture was taken")
    parser.add_argument("--seed", type=int, metavar="N", help="which world; default: 0")
    parser.add_argument("--theme", metavar="NAME", help="its theme, such as village; default: the seed's")
    parser.add_argument(
        "--smoothing", type=float, default=0.0, metavar="S", help="how slowly keys take effect, 0 (at once) to below 1"
    )
    parser.add_argument("--fps", type=int, default=24, metavar="N", help="default: %(default)s")
    parser.add_argument("--height", type=int, default=96, metavar="PIXELS", help="default: %(default)s")
    parser.add_argument("--width", type=int, default=160, metavar="PIXELS", help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Play and write; returns the exit code."""
    import numpy as np

    from gamecraft.actions import motion, parse_script
    from gamecraft.commands.progress import frame_progress
    from gamecraft.contact_sheet import Cell, sample_frames, write_sheet
    from gamecraft.output_files import OutputFiles
    from gamecraft.trajectory import Trajectory
    from gamecraft.trajectory_io import write_trajectory
    from gamecraft.video import VideoWriter

    output = OutputFiles(video=args.output)
    actions = parse_script(args.actions, args.fps)
    rows = motion(actions, args.smoothing)
    output.check_writable()
    world, camera, frame = _start(args)
    world.reset(camera, frame)
    wanted, cells, poses = set(sample_frames(len(actions), _PICTURES)), [], []
    with frame_progress(len(actions)) as on_progress, VideoWriter(output.video, args.fps) as writer:
        for number, (action, row) in enumerate(zip(actions, rows, strict=True)):
            picture = world.move(row)
            poses.append(world.state.pose())
            writer.add(picture[None])
            if number in wanted:
                caption = f"frame {number}, {number / args.fps:.2f} s" + (", blocked" if world.blocked else "")
                cells.append(Cell(frame=picture, caption=caption, action=action))
            on_progress(number + 1)
    write_sheet(output.sheet, cells)
    trajectory = Trajectory(poses=np.stack(poses), times=np.arange(len(poses)) / args.fps)
    path = output.video.with_suffix(".trajectory.json")
    write_trajectory(trajectory, path)
    print(f"{output.video}: {len(actions)} frames in {world.scene.theme} world {world.scene.seed}")
    print(f"{output.sheet}: contact sheet\n{path}: camera poses")
    return 0


def _start(args: argparse.Namespace) -> "tuple[LowPolyWorld, CameraState, int]":
    """The world, where the walker starts, and the index of that picture."""
    import numpy as np

    from gamecraft.gallery import gallery
    from gamecraft.worlds.environment import LowPolyWorld
    from gamecraft.worlds.renderer import Renderer

    for name in ("height", "width", "fps"):
        if not 1 <= (value := getattr(args, name)) <= 4096:
            raise InputError(f"{name} is {value}, expected 1 to 4096")
    if args.seed is not None and args.seed < 0:
        raise InputError(f"the seed is {args.seed}, expected a number from 0")
    if args.gallery is None:
        seed = args.seed or 0
        world = LowPolyWorld(seed, args.theme, renderer=Renderer(args.height, args.width))
        return world, world.spawn(np.random.default_rng([seed, 2])), 0
    if args.seed is not None or args.theme is not None:
        raise InputError("a gallery picture has its own world; give either --gallery, or --seed and --theme")
    if (picture := gallery().get(args.gallery)) is None:
        raise InputError(f"there is no gallery picture {args.gallery!r:.40}; the names are {', '.join(gallery())}")
    world = LowPolyWorld(picture.world_seed, picture.theme, renderer=Renderer(args.height, args.width))
    return world, picture.camera, picture.frame
