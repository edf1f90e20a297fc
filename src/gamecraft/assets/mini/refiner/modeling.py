"""Imported by diffusers; needs `pip install gamecraft`."""

from gamecraft.models.refiner import FrameRefiner

__all__ = ["FrameRefiner"]
