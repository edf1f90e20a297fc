"""Whole model folders between the published layout and the one of diffusers, streamed file by file.

`folder` says what goes where; `transformer`, `vae` and `text` know the names of the tensors; `sources` reads, `shards`
writes, both one tensor at a time.
"""

__all__: list[str] = []
