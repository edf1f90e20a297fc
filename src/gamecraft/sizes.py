"""The models whose needs can be predicted, by name."""

import inspect
import json
from dataclasses import dataclass
from typing import Any

from gamecraft.errors import InputError
from gamecraft.estimate import Costs, Work, count_decoding, count_published_decoding, count_transformer
from gamecraft.model_folder import embedded_model

__all__ = ["MODELS", "Sizes", "sizes_of"]

MODELS = ("13b", "mini")
# LLaVA-LLaMA-3-8B's language model without its output head, and CLIP-L's text model, two bytes for a number
_PUBLISHED_TEXT_BYTES = 2.0 * (7_505_000_000 + 123_000_000)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """A model's networks and the chunk it makes by default.

    Attributes:
        transformer, vae: configurations; None is the published autoencoder.
        text_bytes: of the text models' weights.
    """

    transformer: dict[str, Any]
    vae: dict[str, Any] | None
    height: int
    width: int
    latents: int
    frames: int
    steps: int
    guidance: float
    text_bytes: float

    def work(self, height: int, width: int, history: int) -> Work:
        """What a chunk of a size in pixels needs, after ``history`` latents.

        Raises:
            InputError: the size does not fit the model.
        """
        if height < 16 or width < 16 or height % 16 or width % 16:
            raise InputError(f"the size is {width}x{height} pixels; expected multiples of 16 for both sides")
        rows, columns = height // 8, width // 8
        return Work(
            transformer=count_transformer(self.transformer, history + self.latents, rows, columns),
            vae=self._decoding(rows, columns),
            text=Costs(weight_bytes=self.text_bytes, largest_group=self.text_bytes / 30),
        )

    def _decoding(self, rows: int, columns: int) -> Costs:
        if self.vae is None:
            return count_published_decoding(self.latents, rows, columns)
        import torch

        from gamecraft.models.autoencoder import AutoencoderPatchCode

        with torch.device("meta"):
            vae = AutoencoderPatchCode.from_config(self.vae)
        return count_decoding(vae, self.latents, rows, columns)


def sizes_of(name: str) -> Sizes:
    """A model by name.

    Raises:
        InputError: there is no such model.
    """
    if name == "13b":
        from gamecraft.models.transformer import GameCraftTransformer3DModel

        config = _defaults(GameCraftTransformer3DModel)
        return Sizes(
            transformer=config,
            vae=None,
            height=704,
            width=1216,
            latents=9,
            frames=33,
            steps=50,
            guidance=2.0,
            text_bytes=_PUBLISHED_TEXT_BYTES,
        )
    if name != "mini":
        raise InputError(f"the model is {name!r:.40}, expected one of {', '.join(MODELS)}")
    folder = embedded_model()
    index = json.loads((folder / "model_index.json").read_text())
    weights = sum((folder / part / "model.safetensors").stat().st_size for part in ("text_encoder", "text_encoder_2"))
    return Sizes(
        transformer=json.loads((folder / "transformer" / "config.json").read_text()),
        vae=json.loads((folder / "vae" / "config.json").read_text()),
        height=index["height"],
        width=index["width"],
        latents=1 + (index["chunk_frames"] - 1) // 4,
        frames=index["chunk_frames"],
        steps=index["num_inference_steps"],
        guidance=index["guidance_scale"],
        text_bytes=float(weights),
    )


def _defaults(model: Any) -> dict[str, Any]:
    """The released model is the default configuration."""
    parameters = inspect.signature(model.__init__).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty}
