"""Where things are in a published weights folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gamecraft.errors import CheckpointError

__all__ = [
    "CLIP_FOLDER",
    "FLOW_SHIFT",
    "LLAVA_FOLDER",
    "TRANSFORMER_FILES",
    "VAE_FOLDER",
    "PublishedFolder",
    "Variant",
    "pipeline_settings",
]

Variant = Literal["standard", "distilled"]

TRANSFORMER_FILES: dict[Variant, str] = {
    "standard": "gamecraft_models/mp_rank_00_model_states.pt",
    "distilled": "gamecraft_models/mp_rank_00_model_states_distill.pt",
}
VAE_FOLDER = "stdmodels/vae_3d/hyvae"
LLAVA_FOLDER = "stdmodels/llava-llama-3-8b-v1_1-transformers"
CLIP_FOLDER = "stdmodels/openai_clip-vit-large-patch14"

FLOW_SHIFT = 5.0
# As published: chunk and size the model was trained for, and the settings of the published commands.
_CHUNK: dict[str, Any] = {"chunk_frames": 33, "fps": 24, "height": 704, "width": 1216, "history_clips": 1}
_SAMPLING: dict[Variant, dict[str, Any]] = {
    "standard": {"num_inference_steps": 50, "guidance_scale": 2.0},
    "distilled": {"num_inference_steps": 8, "guidance_scale": 1.0},
}


def pipeline_settings(variant: Variant) -> dict[str, Any]:
    """Arguments of ``GameCraftPipeline`` beside its parts, prompt settings and lens."""
    return {**_CHUNK, **_SAMPLING[variant]}


@dataclass(frozen=True, kw_only=True)
class PublishedFolder:
    """The parts of a published weights folder.

    Args:
        transformer: the ``.pt`` file.
        vae, llava, clip: folders.
        variant: which transformer it is; the pipeline's defaults differ.
    """

    transformer: Path
    vae: Path
    llava: Path
    clip: Path
    variant: Variant

    @classmethod
    def find(cls, folder: Path, variant: Variant | None = None) -> "PublishedFolder":
        """The parts of `folder`, with the standard transformer if there are both and no variant is asked for.

        Raises:
            CheckpointError: something is missing.
        """
        if variant is None:
            there = [name for name, file in TRANSFORMER_FILES.items() if (folder / file).is_file()]
            variant = there[0] if there else "standard"
        wanted = (TRANSFORMER_FILES[variant], VAE_FOLDER, LLAVA_FOLDER, CLIP_FOLDER)
        missing = [name for name in wanted if not (folder / name).exists()]
        if missing:
            raise CheckpointError(f"{folder}: not a published weights folder; missing: {', '.join(missing)}")
        transformer, vae, llava, clip = (folder / name for name in wanted)
        return cls(transformer=transformer, vae=vae, llava=llava, clip=clip, variant=variant)

    @classmethod
    def of(cls, checkpoint: Path, model_base: Path) -> "PublishedFolder":
        """The parts as the published command lines name them.

        Args:
            checkpoint: the transformer's ``.pt`` file, or a folder with one; "distill" in its name tells the variant.
            model_base: the folder ``stdmodels`` with everything else.

        Raises:
            CheckpointError: something is missing.
        """
        if not checkpoint.exists():
            raise CheckpointError(f"there is no checkpoint {checkpoint} (--ckpt)")
        parts = [model_base / Path(name).relative_to("stdmodels") for name in (VAE_FOLDER, LLAVA_FOLDER, CLIP_FOLDER)]
        if missing := [part for part in parts if not part.is_dir()]:
            raise CheckpointError(f"{missing[0]} is missing; MODEL_BASE must name the published folder stdmodels")
        variant: Variant = "distilled" if "distill" in checkpoint.name else "standard"
        return cls(transformer=checkpoint, vae=parts[0], llava=parts[1], clip=parts[2], variant=variant)
