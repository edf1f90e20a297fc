"""How a model is run: one set of options for Python, the command line and the server. Nothing heavy is imported.

``gamecraft.apply_runtime`` puts the options onto a pipeline. None of them changes what is computed, but some change how
exactly: see ``docs/runtime.md`` for the tolerances.
"""

import dataclasses
import os
from dataclasses import dataclass, field
from typing import Any, Self

from gamecraft.errors import InputError

__all__ = ["PRESETS", "Runtime", "is_writer", "world_size"]

ATTENTION_BACKENDS = (
    *("auto", "native", "flash", "_flash_3", "sage", "flex", "xformers"),
    *("flash_hub", "_flash_3_hub", "sage_hub", "_native_cudnn"),
)


def world_size() -> int:
    """Processes that torchrun started, 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_writer() -> bool:
    """Whether this process writes files and talks to the user."""
    return int(os.environ.get("RANK", "0")) == 0


def _option(default: Any, help: str, choices: tuple[str, ...] = ()) -> Any:
    return field(default=default, metadata={"help": help, "choices": choices})


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Options for running a model.

    Attributes:
        device: "auto" (the first GPU if there is one), "cpu", "cuda", "cuda:1", "mps".
        dtype: what transformer and VAE compute in; sums and normalisations stay in float32. "auto" is bf16, or fp32 on
            a CPU without bfloat16 instructions.
        attention: backend of diffusers, by its name there; "auto" keeps PyTorch's own.
        offload: what lies in main memory until it is needed. "model": whole networks; "group": the transformer block by
            block, everything else layer by layer; "leaf": all layers; "disk": as "group", but in files in
            ``offload_folder``; "sequential": all layers, by accelerate.
        offload_folder: for "disk"; needs as much room as the weights.
        weights: how the large matrices of the transformer's blocks are stored (as published: not the modulation).
            "fp8": rounded to float8_e4m3; "fp8-scaled" and "int8": with scales, by torchao.
        compile: compile the transformer's blocks when they are first used, which takes minutes.
        cache: leave out work that hardly changes from step to step. "first-block": when the first block's result
            changes by less than ``cache_threshold``; "taylorseer": extrapolate what attention gives between every fifth
            step, which keeps two results of every layer; "taylorseer-lite": extrapolate the velocity instead, which
            keeps two of those; "published": the last block alone in 15 of exactly 50 steps.
        cache_threshold: relative change, for "first-block".
        tiling: encode and decode in tiles as the published code does; "auto" if the VAE is the published one.
        slicing: decode the items of a batch one by one.
        branches: compute both halves of guidance in one pass, in two, or (parallel) on two ranks.
        lora: safetensors files with LoRA weights for the transformer, merged into it.
        ulysses, ring: ranks that share the tokens of one pass, by heads and by keys.

    Raises:
        InputError: a value is unknown, or two options exclude each other.
    """

    device: str = _option("auto", "auto, cpu, cuda, cuda:1, mps")
    dtype: str = _option("auto", "what the networks compute in", ("auto", "bf16", "fp16", "fp32"))
    attention: str = _option("auto", "attention backend of diffusers", ATTENTION_BACKENDS)
    offload: str = _option(
        "none",
        "what lies in main memory until it is needed",
        ("none", "model", "group", "leaf", "disk", "sequential"),
    )
    offload_folder: str | None = _option(None, "where --offload disk keeps the weights")
    weights: str = _option("full", "how the large matrices are stored", ("full", "fp8", "fp8-scaled", "int8"))
    compile: bool = _option(False, "compile the transformer's blocks")
    cache: str = _option(
        "none", "skip what hardly changes", ("none", "first-block", "taylorseer", "taylorseer-lite", "published")
    )
    cache_threshold: float = _option(0.05, "relative change for --cache first-block")
    tiling: str = _option("auto", "encode and decode in tiles", ("auto", "on", "off"))
    slicing: bool = _option(False, "decode the items of a batch one by one")
    branches: str = _option(
        "auto", "both halves of guidance at once or apart", ("auto", "batched", "sequential", "parallel")
    )
    lora: tuple[str, ...] = _option((), "LoRA weights for the transformer")
    ulysses: int = _option(1, "ranks that share tokens by heads")
    ring: int = _option(1, "ranks that share tokens by keys")

    def __post_init__(self) -> None:
        for option in dataclasses.fields(self):
            value, choices = getattr(self, option.name), option.metadata["choices"]
            if choices and value not in choices:
                raise InputError(f"{option.name} is {value!r:.40}, expected one of {', '.join(choices)}")
        if min(self.ulysses, self.ring) < 1:
            raise InputError(f"ulysses is {self.ulysses} and ring {self.ring}, expected at least 1 for both")
        if not 0 < self.cache_threshold < 1:
            raise InputError(f"cache_threshold is {self.cache_threshold!r:.20}, expected a number between 0 and 1")
        for wrong, why in self._conflicts():
            if wrong:
                raise InputError(why)

    def _conflicts(self) -> list[tuple[bool, str]]:
        scaled = self.weights in ("int8", "fp8-scaled")
        parallel = self.ulysses * self.ring > 1
        return [
            (
                self.branches == "batched" and self.maskless,
                "prompts of different lengths in one batch need a mask, which this attention and ulysses or ring have "
                "no place for; use branches sequential",
            ),
            (
                (self.offload == "disk") != (self.offload_folder is not None),
                "offload disk and offload_folder go together",
            ),
            (
                parallel and self.cache == "first-block",
                "each rank would decide by itself when to use the first-block cache; with ulysses or ring use "
                "taylorseer, taylorseer-lite or published, whose schedule is fixed",
            ),
            (
                self.compile and self.offload in ("leaf", "disk", "sequential"),
                f"compile cannot be combined with offload {self.offload}; use none, model or group",
            ),
            (
                scaled and self.offload in ("disk", "sequential"),
                f"weights {self.weights} cannot be moved by offload {self.offload}; use none, model, group or leaf",
            ),
            (
                self.weights == "fp8" and self.offload == "sequential",
                "weights fp8 cannot be combined with offload sequential; use leaf, which needs as little memory",
            ),
            (
                self.weights == "fp8" and self.compile,
                "weights fp8 are cast at each use, which cannot be compiled; use fp8-scaled or int8",
            ),
        ]

    @property
    def maskless(self) -> bool:
        """Whether attention must do without a mask."""
        return self.attention.lstrip("_").startswith(("flash", "sage")) or self.ulysses * self.ring > 1

    @property
    def ranks(self) -> int:
        """Processes that one video needs."""
        return self.ulysses * self.ring * (2 if self.branches == "parallel" else 1)

    @property
    def sharing(self) -> str:
        """How `ranks` comes about, for messages."""
        halves = " x 2 for branches parallel" if self.branches == "parallel" else ""
        return f"ulysses {self.ulysses} x ring {self.ring}{halves}"

    def check_heads(self, heads: int) -> None:
        """Refuse a model whose heads cannot be shared out among the ranks.

        Raises:
            InputError: says how many ranks can.
        """
        if heads % self.ulysses:
            fitting = ", ".join(str(n) for n in range(1, heads + 1) if heads % n == 0)
            raise InputError(f"ulysses {self.ulysses} does not divide the {heads} heads; {fitting} do")

    @classmethod
    def preset(cls, name: str, **changes: Any) -> Self:
        """A preset with some options changed.

        Raises:
            InputError: there is no such preset, or an option is wrong.
        """
        if name not in PRESETS:
            raise InputError(f"there is no preset {name!r:.40}; the presets are {', '.join(PRESETS)}")
        return cls(**{**PRESETS[name], **changes})


PRESETS: dict[str, dict[str, Any]] = {
    "full": {},
    "balanced": {"offload": "model", "branches": "sequential"},
    "compact": {"offload": "model", "weights": "fp8", "branches": "sequential", "tiling": "on"},
    "low-vram": {"offload": "group", "weights": "fp8", "branches": "sequential", "tiling": "on"},
}
"""By memory, largest first: everything on the GPU; one network at a time; that and fp8; a block at a time and fp8, for
what the published recipe does with 24 GB."""
