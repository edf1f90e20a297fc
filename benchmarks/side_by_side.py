"""Times this package against the structure of the published code, on the CPU, in processes that take turns.

    python benchmarks/side_by_side.py --output runs/side_by_side.json           # widths 256, 512 and 1024
    python benchmarks/side_by_side.py --widths 512 --height 176 --width 304     # as the published code was once timed
    python benchmarks/side_by_side.py --widths 3072 --blocks 1 1 --dtype bf16   # the released width
    python benchmarks/side_by_side.py --widths 64 --rounds 1 --steps 2 --height 32 --width 48     # a try of the script

All run the same network with the same random weights (the published code itself is not here). "published" does what
its structure makes it do: text padded to 256 tokens goes through every layer, the padding attends to itself, rays are
spelled out for every pixel, and the camera of both halves of guidance, and that of the history, is encoded again in
every step. "ours" cuts the padding, spells no rays out and encodes once; it must give the same numbers, which is
reported. The others add a step cache, whose error against "ours" is reported; "published, cached" and "ours, cached"
are the published schedule, which takes effect with 50 steps alone. With random weights the errors of caches say nothing
about those of a trained model.

"full rays" are those of 33 frames of a picture of the published size, for both halves of guidance. A chunk is
everything from poses and encoded prompts to pixels: 9 latents after 9 of history, with guidance. Each round starts a
fresh process per variant, one after the other, so that a slow minute of the machine hits all. Medians over rounds,
ratios of medians, and the share of the machine's best matrix product are printed.
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
from diffusers.models.attention_dispatch import dispatch_attention_fn
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from gamecraft.apply_runtime import set_step_cache
from gamecraft.denoising import Conditioning, denoise
from gamecraft.files import write_atomically
from gamecraft.history import History
from gamecraft.intrinsics import Intrinsics
from gamecraft.models import rotary
from gamecraft.models.text import PromptEmbeds
from gamecraft.models.transformer import GameCraftTransformer3DModel
from gamecraft.models.vae_tiling import set_vae_tiling
from gamecraft.published import PublishedAction
from gamecraft.published_play import action_tracks
from gamecraft.rays import CameraRays, pixel_directions
from gamecraft.runtime import Runtime

CACHES = {
    "published": "none",
    "published, cached": "published",
    "ours": "none",
    "ours, cached": "published",
    "ours, first-block": "first-block",
    "ours, taylorseer-lite": "taylorseer-lite",
}
VARIANTS = tuple(CACHES)
FRAMES, LATENTS, HEAD = 33, 9, 128
TEXT, VALID = 256, (20, 60)  # tokens of a padded prompt, and those of the two prompts that are not padding
PARTS = ("full rays", "rays", "camera", "forward", "decode", "chunk")


def main() -> int:
    """Run the rounds, print a table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[256, 512, 1024], help="multiples of 128, or 64")
    parser.add_argument("--blocks", type=int, nargs=2, default=[2, 4], metavar=("DUAL", "SINGLE"), help="default: 2 4")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=50, help="of a chunk; default: %(default)s")
    parser.add_argument("--height", type=int, default=96, help="pixels; default: %(default)s")
    parser.add_argument("--width", type=int, default=160, help="pixels; default: %(default)s")
    parser.add_argument(
        "--full-size", type=int, nargs=2, default=[704, 1216], metavar=("HEIGHT", "WIDTH"), help='of "full rays"'
    )
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--dtype", choices=("f32", "bf16"), default="f32", help="default: %(default)s")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS, help="default: all")
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON file to write")
    parser.add_argument("--one", nargs=2, metavar=("VARIANT", "WIDTH"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one[0], int(args.one[1]), args)))
        return 0
    variants = [name for name in VARIANTS if name in {*args.variants, "published", "ours"}]
    report = {}
    for width in args.widths:
        rounds: list[dict[str, Any]] = [{} for _ in range(args.rounds)]
        turns = [(figures, variant) for figures in rounds for variant in variants]
        for figures, variant in track(turns, f"width {width}", console=Console(stderr=True)):
            figures[variant] = fresh_process(variant, width)
        report[str(width)] = summary(rounds)
        print(table(width, report[str(width)]), flush=True)
        if args.output:  # after each width, so that an interruption loses no other
            with write_atomically(args.output) as temporary:
                temporary.write_text(json.dumps({"arguments": vars(args), **report}, indent=1, default=str) + "\n")
    return 0


def fresh_process(variant: str, width: int) -> dict[str, Any]:
    """What `measure` gives, in a new process with the same options."""
    command = [sys.executable, __file__, *sys.argv[1:], "--one", variant, str(width)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    figures: dict[str, Any] = json.loads(output.splitlines()[-1])
    return figures


class Case:
    """One variant: the same networks, history, prompts and noise for all of them."""

    def __init__(self, variant: str, width: int, args: argparse.Namespace) -> None:
        self.published = variant.startswith("published")
        self.autocast = torch.bfloat16 if args.dtype == "bf16" else None
        self.count = args.steps
        self.model = build(width, *args.blocks)
        set_step_cache(self.model, Runtime(cache=CACHES[variant]))
        rotary.dispatch_attention_fn = attend_apart if self.published else dispatch_attention_fn
        self.vae = AutoencoderKLHunyuanVideo(block_out_channels=(32, 64, 128, 128), norm_num_groups=8).eval()
        set_vae_tiling(self.vae, True)
        random = torch.Generator().manual_seed(0)
        shape = (1, 16, LATENTS, args.height // 8, args.width // 8)
        clip, self.noise = (torch.randn(shape, generator=random) for _ in range(2))
        walk, still = action_tracks([PublishedAction(name="w"), PublishedAction(name="w", speed=0.0)], FRAMES)
        self.tracks = [torch.from_numpy(track) for track in (still, walk)]  # without prompt first, as published
        self.history = History(clips=(clip,), poses=(still,))
        self.prompts = [prompt(length, random) for length in VALID]
        self.size, self.full_size = (args.height, args.width), tuple(args.full_size)

    def rays(self) -> list[CameraRays] | list[Tensor]:
        """Of both halves of guidance."""
        return self.rays_of(*self.size)

    def rays_of(self, height: int, width: int) -> list[CameraRays] | list[Tensor]:
        """The same for pictures of another size."""
        directions = pixel_directions(Intrinsics(), height, width)
        seen = [CameraRays.along(track[None], directions) for track in self.tracks]
        return [each.spelled_out() for each in seen] if self.published else seen

    def camera(self, rays: list[CameraRays] | list[Tensor]) -> Tensor:
        """Action features of history and chunk for both halves; published, the history is a chunk of zero rays."""
        if not self.published:
            return torch.cat([self.model.encode_actions(each, num_history_latents=LATENTS) for each in rays])
        both = torch.cat([each for each in rays if isinstance(each, Tensor)])
        encode = self.model.action_encoder
        return torch.cat([encode(torch.zeros_like(both)), encode(both)], dim=1)

    def steps(self, count: int, rays: list[CameraRays] | list[Tensor]) -> Tensor:
        """Denoise; the published structure encodes the camera in each step."""

        def again(step: int, timestep: Tensor, latents: Tensor) -> Tensor:
            if step + 1 < count:
                self.camera(rays)
            return latents

        return denoise(
            self.model,
            FlowMatchEulerDiscreteScheduler(shift=5.0),
            self.noise,
            self.history,
            [("both", Conditioning.of(self.prompts, self.camera(rays), attend_to_padding=self.published))],
            num_inference_steps=count,
            guidance_scale=2.0,
            autocast=self.autocast,
            on_step=again if self.published else None,
        )

    def forward(self, rays: list[CameraRays] | list[Tensor], camera: Tensor) -> Tensor:
        """A pass of both halves. The published one contains the camera network."""
        given = self.camera(rays) if self.published else camera
        branch = Conditioning.of(self.prompts, given, attend_to_padding=self.published)
        scheduler = FlowMatchEulerDiscreteScheduler(shift=5.0)
        options: dict[str, Any] = {"num_inference_steps": 1, "guidance_scale": 2.0, "autocast": self.autocast}
        return denoise(self.model, scheduler, self.noise, self.history, [("both", branch)], **options)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents of a chunk as pixels."""
        video: Tensor = self.vae.decode(latents).sample
        return video


@torch.no_grad()
def measure(variant: str, width: int, args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each part, operations of a forward pass, the peak, and numbers of the result to compare."""
    torch.set_num_threads(args.threads)
    case = Case(variant, width, args)
    rays = case.rays()
    camera = case.camera(rays)
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    with FlopCounterMode(display=False, custom_mapping={attention: attention_flop}) as counter:
        case.forward(rays, camera)
    seconds = {
        "full rays": timed(lambda: case.rays_of(*case.full_size)),
        "rays": timed(case.rays),
        "camera": timed(lambda: case.camera(rays)),
        "forward": timed(lambda: case.forward(rays, camera)),
        "decode": timed(lambda: case.decode(case.noise)),
    }
    started = time.perf_counter()
    result = case.steps(args.steps, case.rays())
    case.decode(result)
    seconds["chunk"] = time.perf_counter() - started
    return {
        "seconds": seconds,
        "forward_flop": counter.get_total_flops(),
        "peak_flops": matmul_peak(case.autocast or torch.float32),
        "result": result.flatten()[::7].tolist(),
    }


def attend_apart(
    query: Tensor, key: Tensor, value: Tensor, *, attn_mask: Tensor | None = None, **options: Any
) -> Tensor:
    """The published attention [B, S, heads, D]: image and valid text among themselves, padding among itself."""
    del attn_mask, options
    samples = []
    for row, valid in enumerate(VALID):
        border = query.shape[1] - TEXT + valid
        parts = []
        for piece in (slice(None, border), slice(border, None)):
            q, k, v = (x[row : row + 1, piece].transpose(1, 2) for x in (query, key, value))
            parts.append(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2))
        samples.append(torch.cat(parts, dim=1))
    return torch.cat(samples)


def attention_flop(*shapes: Any, **_: Any) -> int:
    """PyTorch's counter knows the attention of GPUs alone."""
    flop: int = sdpa_flop_count(*shapes[:3])
    return flop


def build(width: int, dual: int, single: int) -> GameCraftTransformer3DModel:
    """Some blocks of a width; the released axes where heads have 128 features."""
    torch.manual_seed(0)
    head = HEAD if width % HEAD == 0 else 64
    axes = (16, 56, 56) if head == HEAD else (8, 28, 28)
    model = GameCraftTransformer3DModel(
        num_attention_heads=width // head,
        attention_head_dim=head,
        num_layers=dual,
        num_single_layers=single,
        text_embed_dim=512,
        rope_axes_dim=axes,
    )
    return model.eval()


def prompt(length: int, random: torch.Generator) -> PromptEmbeds:
    """256 text tokens, of which ``length`` are valid."""
    mask = (torch.arange(TEXT) < length).long()[None]
    return PromptEmbeds(torch.randn(1, TEXT, 512, generator=random), mask, torch.randn(1, 768, generator=random))


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
    """Medians over the rounds, ratios to the published structure, shares of the peak, and errors against "ours"."""
    variants = list(rounds[0])
    medians = {
        variant: {part: statistics.median(each[variant]["seconds"][part] for each in rounds) for part in PARTS}
        for variant in variants
    }
    peak = max(each[variant]["peak_flops"] for each in rounds for variant in variants)
    results = {variant: torch.tensor(rounds[0][variant]["result"]) for variant in variants}
    exact = results["ours"]
    return {
        "seconds": medians,
        "ratio": {
            variant: {part: medians["published"][part] / medians[variant][part] for part in PARTS}
            for variant in variants
        },
        "share_of_peak": {
            variant: rounds[0][variant]["forward_flop"] / medians[variant]["forward"] / peak for variant in variants
        },
        "peak_flops": peak,
        "error": {variant: float((found - exact).norm() / exact.norm()) for variant, found in results.items()},
    }


def table(width: int, figures: dict[str, Any]) -> str:
    """A line per variant: seconds, and how many times as fast as the published structure."""
    heads = (*PARTS, "of peak", "error")
    lines = [
        f"width {width}, best matrix product {figures['peak_flops'] / 1e9:.0f} GFLOP/s",
        " " * 22 + "".join(f"{head:>18}" for head in heads),
    ]
    for variant, seconds in figures["seconds"].items():
        cells = [f"{seconds[part]:.4g} s x{figures['ratio'][variant][part]:.2f}" for part in PARTS]
        cells += [f"{100 * figures['share_of_peak'][variant]:.0f} %", f"{figures['error'][variant]:.2g}"]
        lines.append(f"{variant:<22}" + "".join(f"{cell:>18}" for cell in cells))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
