"""A learned judgement, if one is asked for: a quality score, or a vision-language model's answer to a question."""

from dataclasses import dataclass
from typing import ClassVar

from gamecraft.curation.captioners import ask, check_source
from gamecraft.curation.captions import clip_pictures
from gamecraft.curation.extras import load_plugin
from gamecraft.curation.store import Result, Store, Unit

__all__ = ["Checks"]

_QUESTION = (
    "Do these frames show a playable game world from a player's view, without menus, cut scenes or loading screens? "
    "Answer with yes or no."
)


@dataclass(frozen=True, kw_only=True)
class Checks:
    """Rejects clips that a model does not like.

    Attributes:
        quality: a plug-in ``module:function`` from a list of PIL pictures to a score; none if empty.
        least: lowest score.
        source: who answers ``question``: ``transformers``, ``endpoint`` or a plug-in as in ``Captions``; none if empty.
        question: a clip stays if the answer begins with yes.
        model, url, key_variable: as in ``Captions``.
        frames: pictures of the clip that are judged.
    """

    name: ClassVar[str] = "checks"
    version: ClassVar[int] = 1

    quality: str = ""
    least: float = 0.5
    source: str = ""
    question: str = _QUESTION
    model: str = ""
    url: str = ""
    key_variable: str = ""
    frames: int = 3

    def __post_init__(self) -> None:
        check_source(self.source, self.model, self.url)

    def process(self, unit: Unit, store: Store) -> Result:
        """The score and the answer, and why the clip is rejected."""
        if not self.quality and not self.source:
            return {"scores": {}, "rejected": None}
        pictures = clip_pictures(unit, self.frames)
        scores: dict[str, float] = {}
        if self.quality:
            scores["quality"] = round(float(load_plugin(self.quality)(pictures)), 4)
            if scores["quality"] < self.least:
                return {"scores": scores, "rejected": ["quality", f"{scores['quality']:g}, less than {self.least:g}"]}
        if self.source:
            answer = ask(self.source, self.model, self.url, self.key_variable, pictures, self.question)
            if not answer.strip().lower().startswith("yes"):
                return {"scores": scores, "rejected": ["model's answer", answer[:200]]}
        return {"scores": scores, "rejected": None}
