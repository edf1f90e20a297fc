"""Where things are in a published weights folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gamecraft.errors import CheckpointError

__all__ = ["CLIP_FOLDER", "LLAVA_FOLDER", "TRANSFORMER_FILES", "VAE_FOLDER", "PublishedFolder", "Variant"]

Variant = Literal["standard", "distilled"]

TRANSFORMER_FILES: dict[Variant, str] = {
    "standard": "gamecraft_models/mp_rank_00_model_states.pt",
    "distilled": "gamecraft_models/mp_rank_00_model_states_distill.pt",
}
VAE_FOLDER = "stdmodels/vae_3d/hyvae"
LLAVA_FOLDER = "stdmodels/llava-llama-3-8b-v1_1-transformers"
CLIP_FOLDER = "stdmodels/openai_clip-vit-large-patch14"


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
