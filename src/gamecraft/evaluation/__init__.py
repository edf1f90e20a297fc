"""Measures a world model against rendered ground truth: picture quality, drift and whether it follows the actions."""
