"""Imported by diffusers; needs `pip install gamecraft`."""

from gamecraft.models.depth import DepthEstimator

__all__ = ["DepthEstimator"]
