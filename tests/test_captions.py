"""Captions are a pure function of world and seed, vary in wording, keep the facts, and survive unknown words."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gamecraft.worlds.captions import MIN_LONG_LENGTH, captions

VILLAGE = {
    "theme": "village",
    "time": "dusk",
    "weather": "foggy",
    "ground": "grass",
    "palette": "warm",
    "density": "sparse",
    "features": "windmill, market stalls, obelisk",
}
KEYS = [*VILLAGE]


def test_equal_arguments_give_equal_captions() -> None:
    assert captions(VILLAGE, 7) == captions(dict(VILLAGE), 7)
    assert captions(VILLAGE, 7) == captions(VILLAGE, int(np.int64(7)))


def test_seeds_vary_the_wording() -> None:
    shorts, longs = zip(*(captions(VILLAGE, seed) for seed in range(200)), strict=True)
    assert len(set(shorts)) > 60
    assert len(set(longs)) == 200


def test_lengths() -> None:
    pairs = [captions(VILLAGE, seed) for seed in range(200)]
    assert all(20 <= len(short) <= 42 for short, _ in pairs)
    assert all(MIN_LONG_LENGTH < len(long) < 260 for _, long in pairs)


def test_long_caption_names_every_feature_and_the_ground() -> None:
    for seed in range(50):
        long = captions(VILLAGE, seed)[1].lower()
        assert all(word in long for word in ("a windmill", "market stalls", "an obelisk", "grass"))


def test_facts_are_not_swapped() -> None:
    night = {**VILLAGE, "time": "night", "weather": "clear"}
    for seed in range(50):
        text = " ".join(captions(night, seed)).lower()
        assert not any(word in text for word in ("sunset", "evening", "fog", "mist", "noon", "morning"))


def test_unknown_words_are_used_as_they_are() -> None:
    for seed in range(20):
        short, long = captions({"theme": "moon_base", "weather": "dusty"}, seed)
        assert "moon base" in short
        assert "moon base" in long
        assert "dusty" in long


@given(st.dictionaries(st.sampled_from(KEYS), st.text(max_size=12)), st.integers())
def test_any_description_gives_two_captions(description: dict[str, str], seed: int) -> None:
    short, long = captions(description, seed)
    assert short
    assert len(long) > MIN_LONG_LENGTH
