"""Times this package against the structure of the published code, on the CPU, in processes that take turns.

    python benchmarks/side_by_side.py                                  # widths 256 and 512, a few minutes
    python benchmarks/side_by_side.py --widths 64 --rounds 1 --steps 2 --height 32 --width 48     # a try of the script

All run the same network with the same random weights (the published code itself is not here). "published" does what
its structure makes it do: text padded to 256 tokens goes through every layer, and the camera of both halves of
guidance, and that of the history, is encoded again in every step. "ours" cuts the padding and encodes once. "cached"
adds the published step cache, which takes effect with 50 steps; its error against every step in full is reported.

Each round starts a fresh process per variant, one after the other, so that a slow minute of the machine hits all.
Medians over rounds, ratios of medians, and the share of the machine's best matrix product are printed.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLHunyuanVideo, FlowMatchEulerDiscreteScheduler
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from gamecraft.denoising import Conditioning, StepCallback, denoise
from gamecraft.files import write_atomically
from gamecraft.history import History
from gamecraft.intrinsics import Intrinsics
from gamecraft.models.step_cache import apply_published_step_cache
from gamecraft.models.text import PromptEmbeds
from gamecraft.models.transformer import GameCraftTransformer3DModel
from gamecraft.models.vae_tiling import set_vae_tiling
from gamecraft.published import PublishedAction
from gamecraft.published_play import action_tracks
from gamecraft.rays import chunk_rays

VARIANTS = ("published", "published, cached", "ours", "ours, cached")
FRAMES, LATENTS, HEAD = 33, 9, 128
PARTS = ("rays", "camera", "forward", "chunk", "decode")


def main() -> int:
    """Run the rounds, print a table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[256, 512], help="multiples of 128, or 64")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=50, help="of a chunk; default: %(default)s")
    parser.add_argument("--height", type=int, default=96, help="pixels; default: %(default)s")
    parser.add_argument("--width", type=int, default=160, help="pixels; default: %(default)s")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--dtype", choices=("f32", "bf16"), default="f32", help="default: %(default)s")
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON file to write")
    parser.add_argument("--one", nargs=2, metavar=("VARIANT", "WIDTH"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one[0], int(args.one[1]), args)))
        return 0
    report = {}
    for width in args.widths:
        rounds = [{variant: fresh_process(variant, width) for variant in VARIANTS} for _ in range(args.rounds)]
        report[str(width)] = summary(rounds)
        print(table(width, report[str(width)]), flush=True)
    if args.output:
        with write_atomically(args.output) as temporary:
            temporary.write_text(json.dumps({"arguments": vars(args), **report}, indent=1, default=str) + "\n")
    return 0


def fresh_process(variant: str, width: int) -> dict[str, Any]:
    """What `measure` gives, in a new process with the same options."""
    command = [sys.executable, __file__, *sys.argv[1:], "--one", variant, str(width)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    figures: dict[str, Any] = json.loads(output.splitlines()[-1])
    return figures


@torch.no_grad()
def measure(variant: str, width: int, args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each part, operations of a forward pass, the peak, and numbers of the result to compare."""
    torch.set_num_threads(args.threads)
    autocast = torch.bfloat16 if args.dtype == "bf16" else None
    model = build(width)
    if variant.endswith("cached"):
        apply_published_step_cache(model)
    rows, columns = args.height // 8, args.width // 8
    random = torch.Generator().manual_seed(0)
    clip = torch.randn(1, 16, LATENTS, rows, columns, generator=random)
    noise = torch.randn(1, 16, LATENTS, rows, columns, generator=random)
    tracks = action_tracks([PublishedAction(name="w"), PublishedAction(name="w", speed=0.0)], FRAMES)
    history = History(clips=(clip,), poses=(tracks[1],))
    prompts = [prompt(length, random) for length in (20, 60)]
    padded = variant.startswith("published")

    def rays(track: Any) -> Tensor:
        return chunk_rays(track, history.last_pose, Intrinsics(), args.height, args.width)[None]

    moving, still = (rays(track) for track in tracks)

    def camera() -> Tensor:
        if not padded:
            both = [model.encode_actions(each, num_history_latents=LATENTS) for each in (still, moving)]
        else:  # the history's camera is a whole chunk of zero rays
            both = [
                torch.cat([model.action_encoder(torch.zeros_like(each)), model.action_encoder(each)], dim=1)
                for each in (still, moving)
            ]
        return torch.cat(both)

    def conditioning() -> Conditioning:
        return Conditioning.of(prompts, camera(), attend_to_padding=padded)

    def chunk() -> Tensor:
        return steps(args.steps, conditioning(), (lambda *given: (camera(), given[2])[1]) if padded else None)

    def steps(count: int, branch: Conditioning, on_step: StepCallback | None = None) -> Tensor:
        return denoise(
            model,
            FlowMatchEulerDiscreteScheduler(shift=5.0),
            noise,
            history,
            [("both", branch)],
            num_inference_steps=count,
            guidance_scale=2.0,
            autocast=autocast,
            on_step=on_step,
        )

    branch = conditioning()

    def forward() -> Tensor:
        return steps(1, branch)

    with FlopCounterMode(display=False) as counter:
        forward()
    vae = AutoencoderKLHunyuanVideo(block_out_channels=(32, 64, 128, 128), norm_num_groups=8).eval()
    set_vae_tiling(vae, True)
    seconds = {
        "rays": timed(lambda: rays(tracks[0])),
        "camera": timed(camera),
        "forward": timed(forward),
        "decode": timed(lambda: vae.decode(noise).sample),
    }
    started = time.perf_counter()
    result = chunk()
    seconds["chunk"] = time.perf_counter() - started
    return {
        "seconds": seconds,
        "forward_flop": counter.get_total_flops(),
        "peak_flops": matmul_peak(autocast or torch.float32),
        "result": result.flatten()[::7].tolist(),
    }


def build(width: int) -> GameCraftTransformer3DModel:
    """Two dual and four single blocks of a width; the released axes where heads have 128 features."""
    torch.manual_seed(0)
    head = HEAD if width % HEAD == 0 else 64
    axes = (16, 56, 56) if head == HEAD else (8, 28, 28)
    model = GameCraftTransformer3DModel(
        num_attention_heads=width // head,
        attention_head_dim=head,
        num_layers=2,
        num_single_layers=4,
        text_embed_dim=512,
        rope_axes_dim=axes,
    )
    return model.eval()


def prompt(length: int, random: torch.Generator) -> PromptEmbeds:
    """256 text tokens, of which ``length`` are valid."""
    mask = (torch.arange(256) < length).long()[None]
    return PromptEmbeds(torch.randn(1, 256, 512, generator=random), mask, torch.randn(1, 768, generator=random))


def timed(work: Callable[[], Any]) -> float:
    """Seconds of the faster of two calls after a warm-up."""
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])


def matmul_peak(dtype: torch.dtype, size: int = 1024) -> float:
    """Operations per second of the fastest of some square matrix products."""
    a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
    return 2 * size**3 / min(timed(lambda: a @ b) for _ in range(3))


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the rounds, ratios to the published structure, shares of the peak, and the cache's error."""
    medians = {
        variant: {part: statistics.median(each[variant]["seconds"][part] for each in rounds) for part in PARTS}
        for variant in VARIANTS
    }
    peak = max(each[variant]["peak_flops"] for each in rounds for variant in VARIANTS)
    plain, cached = (torch.tensor(rounds[0][variant]["result"]) for variant in ("ours", "ours, cached"))
    return {
        "seconds": medians,
        "ratio": {
            variant: {part: medians["published"][part] / medians[variant][part] for part in PARTS}
            for variant in VARIANTS
        },
        "share_of_peak": {
            variant: rounds[0][variant]["forward_flop"] / medians[variant]["forward"] / peak for variant in VARIANTS
        },
        "peak_flops": peak,
        "cache_error": float((cached - plain).norm() / plain.norm()),
    }


def table(width: int, figures: dict[str, Any]) -> str:
    """Seconds, and how many times as fast as the published structure."""
    lines = [f"width {width}" + "".join(f"{variant:>24}" for variant in VARIANTS)]
    for part in PARTS:
        cells = (f"{figures['seconds'][v][part]:.4f} s  x{figures['ratio'][v][part]:.2f}" for v in VARIANTS)
        lines.append(f"{part:<10}" + "".join(f"{cell:>24}" for cell in cells))
    shares = "".join(f"{100 * figures['share_of_peak'][variant]:.0f} %".rjust(24) for variant in VARIANTS)
    lines.append(f"{'of peak':<10}{shares}   (forward; peak {figures['peak_flops'] / 1e9:.0f} GFLOP/s)")
    lines.append(f"relative error of the step cache: {figures['cache_error']:.3g}\n")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
