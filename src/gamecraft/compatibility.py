"""Defects of the published code, by name, so that its results can be reproduced. The default has none of them.

``docs/compatibility.md`` says what each one is and what happens without it.
"""

from dataclasses import dataclass, fields
from typing import Self

from gamecraft.errors import InputError

__all__ = ["Compatibility"]

_ALL = "published"
_RARE = ("shared_step_cache", "attend_to_padding")  # published only with CPU offloading, and only with SageAttention


@dataclass(frozen=True, kw_only=True)
class Compatibility:
    """What is done as the published code does it, although it is not right.

    Attributes:
        repeat_first_pose: a chunk begins with the pose of the frame before it, so that its last step is never shown.
        global_noise: noise is drawn from torch's global generator, after whatever was drawn before, and for the history
            as well; the seed of a play has no effect.
        sample_start: the start picture is a random sample of what the autoencoder gives, not its most likely value.
        drop_prompt_additions: the negative prompt is replaced by an empty one, and what was to be added to the prompt
            is not.
        bfloat16_rays: camera rays are rounded to bfloat16 before the action encoder.
        published_pictures: start pictures are scaled with antialiased bilinear filtering to a size cut to whole pixels,
            which can leave a black line; frames are cut to whole numbers instead of rounded.
        shared_step_cache: both halves of guidance use one step cache, and so the prompted one's tokens.
        attend_to_padding: image tokens attend to the padding of the text, too.
    """

    repeat_first_pose: bool = False
    global_noise: bool = False
    sample_start: bool = False
    drop_prompt_additions: bool = False
    bfloat16_rays: bool = False
    published_pictures: bool = False
    shared_step_cache: bool = False
    attend_to_padding: bool = False

    @classmethod
    def published(cls) -> Self:
        """Everything that all runs of the published code have in common."""
        return cls(**{field.name: field.name not in _RARE for field in fields(cls)})

    @classmethod
    def parse(cls, text: str) -> Self:
        """Settings from text: ``published``, and names with - or _, separated by commas, such as ``global-noise``.

        Raises:
            InputError: a name is unknown.
        """
        names = {word.strip().replace("-", "_") for word in text.split(",") if word.strip()}
        known = {field.name for field in fields(cls)}
        if unknown := sorted(names - known - {_ALL}):
            raise InputError(
                f"unknown compatibility setting {unknown[0]!r}; known: {', '.join([_ALL, *sorted(known)])}"
            )
        wanted = known - set(_RARE) if _ALL in names else set()
        return cls(**dict.fromkeys(names & known | wanted, True))
