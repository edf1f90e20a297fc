"""Imported by diffusers; needs `pip install gamecraft`."""

from gamecraft.models.transformer import GameCraftTransformer3DModel

__all__ = ["GameCraftTransformer3DModel"]
