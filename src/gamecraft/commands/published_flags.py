"""The flags of the published command lines, for ``gamecraft generate`` in place of the published script.

They are accepted under their published names and mean what they say; ``docs/compatibility.md`` lists them. What is not
given is that of the model rather than the default of the published script.
"""

import argparse
import dataclasses
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gamecraft.compatibility import Compatibility
from gamecraft.errors import InputError
from gamecraft.runtime import Runtime

if TYPE_CHECKING:
    from gamecraft.published import PublishedAction

__all__ = ["PublishedRun", "add_published_flags", "is_published", "published_run"]

_PREFIX = "published_"
# Flags of which the released model knows one value; given another, they are refused.
_MODEL = "HYVideo-T/2"  # here --model is a folder
_FIXED: dict[str, str] = {
    "vae": "884-16c-hy0801",
    "text-encoder": "llava-llama-3-8b",
    "text-encoder-2": "clipL",
    "tokenizer": "llava-llama-3-8b",
    "tokenizer-2": "clipL",
    "prompt-template-video": "li-dit-encode-video",
    "flow-solver": "euler",
    "text-projection": "single_refiner",
}
_ON = ("1", "true", "yes")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublishedRun:
    """What a published command line asks for.

    Attributes:
        checkpoint, model_base: the transformer's file, and the published folder of everything else.
        weights: entry of the checkpoint, "module" or "ema".
        image, video: the start, exactly one of them.
        prompt, negative_prompt: with what is to be added to them.
        actions: one per chunk; empty if there is a pose file.
        pose_file: the camera's track instead of actions.
        output: folder for the videos.
        count: videos, whose seeds follow each other.
        height, width, frames, steps, guidance, shift: None = the model's; frames of a chunk.
    """

    checkpoint: Path
    model_base: Path
    weights: str
    image: Path | None
    video: Path | None
    prompt: str
    negative_prompt: str
    actions: "tuple[PublishedAction, ...]"
    pose_file: Path | None
    output: Path
    count: int
    seed: int
    height: int | None
    width: int | None
    frames: int | None
    steps: int | None
    guidance: float | None
    shift: float | None
    rope_axes: tuple[int, int, int]
    runtime: Runtime
    compatibility: Compatibility


def add_published_flags(parser: argparse.ArgumentParser) -> None:
    """Add the published flags; what is not given is not in the result."""
    group = parser.add_argument_group(
        "published command lines", "flags of the published script; MODEL_BASE, DISABLE_SP and CPU_OFFLOAD are read too"
    )

    def add(flag: str, help: str, **settings: Any) -> None:
        name = _PREFIX + flag.replace("-", "_")
        if settings.get("type") is int:
            settings.setdefault("metavar", "N")
        group.add_argument(f"--{flag}", dest=name, default=argparse.SUPPRESS, help=help, **settings)

    add("ckpt", "the published transformer, a .pt file", type=Path, metavar="FILE.pt")
    add("load-key", "which weights of the file", choices=("module", "ema"))
    add("image-path", "start picture", type=Path, metavar="PICTURE")
    add("video-path", "go on from the end of this video", type=Path, metavar="FILE")
    add("image-start", "start from the picture (also the default)", action="store_true")
    add("add-pos-prompt", "added to the prompt", metavar="TEXT")
    add("add-neg-prompt", "added to --neg-prompt", metavar="TEXT")
    add("pos-prompt", "added to the prompt, too", metavar="TEXT")
    add("neg-prompt", "what guidance leads away from", metavar="TEXT")
    add("video-size", "height and width in pixels", type=int, nargs="+", metavar="N")
    add("sample-n-frames", "frames of a chunk, 1 + a multiple of 4", type=int)
    add("action-list", "one action per chunk: w a s d left_rot right_rot up_rot down_rot", nargs="+", metavar="A")
    add("action-speed-list", "their speeds, 0 to 3", type=float, nargs="+", metavar="S")
    add("pose", "a pose file instead of actions", type=Path, metavar="FILE")
    add("cfg-scale", "guidance scale from 1 (none)", type=float, metavar="G")
    add("infer-steps", "denoising steps per chunk", type=int)
    add("flow-shift-eval-video", "shift of the noise schedule", type=float, metavar="S")
    add("num-images", "videos to make, with seeds that follow each other", type=int)
    add("save-path", "folder for the videos", type=Path, metavar="FOLDER")
    add("save-path-suffix", "added to --save-path", metavar="TEXT")
    add("precision", "what the networks compute in", choices=("bf16", "fp16", "fp32"))
    add("use-fp8", "store the blocks' matrices in fp8", action="store_true")
    add("use-sage", "attention by SageAttention", action="store_true")
    add("use-deepcache", "1 (default): the published step cache with 50 steps", type=int, choices=(0, 1))
    add("cpu-offload", "keep what is not in use in main memory", action="store_true")
    add("rope-axes", "rotary dimensions of a model other than the released ones", type=int, nargs=3, metavar="N")
    add("compatibility", "defects to reproduce: published, or names with commas", metavar="NAMES")
    for flag in _FIXED:
        add(flag, argparse.SUPPRESS, metavar="NAME")


def is_published(args: argparse.Namespace) -> bool:
    """Whether a command line is one of the published form."""
    return any(name.startswith(_PREFIX) for name in vars(args))


def published_run(args: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> PublishedRun:
    """A command line of the published form in our terms.

    Raises:
        InputError: a flag is missing, has a value it cannot have, or excludes another.
    """
    given = {name.removeprefix(_PREFIX): value for name, value in vars(args).items() if name.startswith(_PREFIX)}
    _refuse_ours(args)
    _refuse_unknown_values(given)
    compatibility = Compatibility.parse(given.get("compatibility", ""))
    image, video = _start(given)
    height, width = _size(given.get("video_size"))
    added = [] if compatibility.drop_prompt_additions else [given.get("pos_prompt"), given.get("add_pos_prompt")]
    if "ckpt" not in given:
        raise InputError("--ckpt is missing; give the published transformer, a .pt file")
    time, row, column = given.get("rope_axes", (16, 56, 56))
    output = Path(f"{given.get('save_path', 'results')}".rstrip("/") + given.get("save_path_suffix", ""))
    return PublishedRun(
        checkpoint=given["ckpt"],
        model_base=_model_base(given["ckpt"], environment),
        weights=given.get("load_key", "module"),
        image=image,
        video=video,
        prompt=_joined([getattr(args, "prompt", ""), *added]),
        negative_prompt=_joined([given.get("neg_prompt"), given.get("add_neg_prompt")]),
        actions=_actions(given),
        pose_file=given.get("pose"),
        output=output,
        count=_at_least_one("num-images", given.get("num_images", 1)),
        seed=getattr(args, "seed", 0),
        height=height,
        width=width,
        frames=given.get("sample_n_frames"),
        steps=given.get("infer_steps"),
        guidance=given.get("cfg_scale"),
        shift=_positive("flow-shift-eval-video", given.get("flow_shift_eval_video")),
        rope_axes=(time, row, column),
        runtime=_runtime(args, given, environment),
        compatibility=compatibility,
    )


def _refuse_ours(args: argparse.Namespace) -> None:
    ours = (
        *("image", "video", "negative_prompt", "actions", "output", "model", "steps", "guidance", "smoothing"),
        *("speed", "turn", "height", "width", "source", "resume"),
    )
    if mixed := [name for name in ours if hasattr(args, name) and getattr(args, name) != _MODEL]:
        flag = "from" if mixed[0] == "source" else mixed[0].replace("_", "-")
        raise InputError(f"--{flag} is not a flag of the published command lines; use one form or the other")


def _refuse_unknown_values(given: Mapping[str, Any]) -> None:
    for flag, value in _FIXED.items():
        if (found := given.get(flag.replace("-", "_"), value)) != value:
            raise InputError(f"--{flag} is {found!r:.60}, but the released models know {value!r} alone")


def _start(given: Mapping[str, Any]) -> tuple[Path | None, Path | None]:
    image, video = given.get("image_path"), given.get("video_path")
    if image is not None and video is not None and not given.get("image_start"):
        raise InputError("received --image-path and --video-path; add --image-start or give one of them")
    if image is not None:
        return image, None
    if video is None or given.get("image_start"):
        raise InputError("--image-path is missing; give a start picture, or --video-path without --image-start")
    return None, video


def _size(values: list[int] | None) -> tuple[int | None, int | None]:
    if values is None:
        return None, None
    if len(values) > 2:
        raise InputError(f"--video-size has {len(values)} numbers, expected height and width, or one for both")
    return values[0], values[-1]


def _actions(given: Mapping[str, Any]) -> "tuple[PublishedAction, ...]":
    from gamecraft.published import PublishedAction, parse_action_list  # needs torch, which takes seconds

    names, speeds = given.get("action_list"), given.get("action_speed_list")
    if "pose" in given:
        if names or speeds:
            raise InputError("--pose takes the place of --action-list and --action-speed-list; give one or the other")
        return ()
    if names is None:
        raise InputError("--action-list is missing; give one action per chunk, such as w left_rot")
    return tuple(parse_action_list(names, speeds or [PublishedAction(name="w").speed] * len(names)))


def _model_base(checkpoint: Path, environment: Mapping[str, str]) -> Path:
    if base := environment.get("MODEL_BASE"):
        return Path(base)
    return (checkpoint if checkpoint.is_dir() else checkpoint.parent).parent / "stdmodels"


def _runtime(args: argparse.Namespace, given: Mapping[str, Any], environment: Mapping[str, str]) -> Runtime:
    """The published flags as options, under those that are given in our own terms."""
    from gamecraft.commands.runtime_options import runtime_from

    options: dict[str, Any] = {"dtype": given.get("precision", "bf16"), "cache": "published"}
    if given.get("use_deepcache", 1) == 0:
        options["cache"] = "none"
    if given.get("use_fp8"):
        options["weights"] = "fp8"
    if given.get("use_sage"):
        options["attention"] = "sage"
    if given.get("cpu_offload") or environment.get("CPU_OFFLOAD", "").lower() in _ON:
        options |= {"offload": "group", "branches": "sequential"}
    processes = int(environment.get("WORLD_SIZE", "1"))
    if environment.get("DISABLE_SP", "").lower() in _ON:
        if processes > 1:
            raise InputError(f"DISABLE_SP is set, so the other {processes - 1} processes have nothing to do")
    elif not {"runtime_ulysses", "runtime_ring", "runtime_branches"} & set(vars(args)):
        options["ulysses"] = processes
    return runtime_from(args, **options)


def _joined(parts: list[str | None]) -> str:
    return " ".join(part.strip() for part in parts if part and part.strip())


def _at_least_one(flag: str, value: int) -> int:
    if value < 1:
        raise InputError(f"--{flag} is {value}, expected at least 1")
    return value


def _positive(flag: str, value: float | None) -> float | None:
    if value is not None and not (value > 0 and math.isfinite(value)):
        raise InputError(f"--{flag} is {value:g}, expected a number above 0")
    return value
