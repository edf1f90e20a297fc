"""Imported by diffusers; needs `pip install gamecraft`."""

from gamecraft.pipeline import GameCraftPipeline

__all__ = ["GameCraftPipeline"]
