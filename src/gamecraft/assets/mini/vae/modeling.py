"""Imported by diffusers; needs `pip install gamecraft`."""

from gamecraft.models.autoencoder import AutoencoderPatchCode

__all__ = ["AutoencoderPatchCode"]
