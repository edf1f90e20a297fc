"""Captions of generated worlds: a short and a long sentence from a description, in many wordings.

Two calls with different seeds describe the same world in different words, which is what the text
encoders are trained to see through. Plain standard library, so that a dataset writer can call it per clip.
"""

import random
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

__all__ = ["MIN_LONG_LENGTH", "SHORT_LENGTH", "captions"]

SHORT_LENGTH = 30
"""Characters a short caption aims at."""
MIN_LONG_LENGTH = 100
"""A long caption always has more characters than this."""

_SHORT_RANGE = range(20, 43)
_MAX_FEATURES = 4

_Words = Mapping[str, tuple[str, ...]]

_THEMES: _Words = MappingProxyType(
    {
        "village": ("village", "hamlet", "small village", "rural village", "farming village", "country settlement"),
        "temple": ("temple", "shrine", "temple garden", "temple court", "sacred precinct", "old temple"),
        "forest": ("forest", "woodland", "woods", "green forest", "wooded land", "tall forest"),
        "snow": ("snowy land", "snowfield", "winter landscape", "snowy valley", "frozen land", "snow country"),
        "desert": ("desert", "sandy desert", "dry desert", "land of dunes", "arid plain", "sea of sand"),
        "night_town": (
            "town of lights",
            "lamplit town",
            "neon town",
            "glowing town",
            "town with lit windows",
            "night town",
        ),
        "canyon": ("canyon", "gorge", "rocky canyon", "deep ravine", "red canyon", "canyon of rock walls"),
        "harbour": ("harbour", "harbor", "port", "fishing harbour", "seaside port", "harbour town"),
        "meadow": ("meadow", "flower meadow", "grassy meadow", "green field", "open pasture", "rolling meadow"),
        "islands": ("islands", "small islands", "archipelago", "island chain", "group of islands", "tropical islands"),
        "ruins": ("ruins", "ancient ruins", "old ruins", "ruined city", "crumbling ruins", "fallen temple ruins"),
        "autumn": ("autumn woods", "autumn park", "autumn countryside", "fall woods", "autumn land", "autumn grove"),
    }
)

_TIMES: _Words = MappingProxyType(
    {
        "morning": ("in the morning", "at sunrise", "at daybreak", "in morning light", "early in the day", "at dawn"),
        "noon": ("at noon", "at midday", "in full daylight", "in the middle of the day", "under a high sun", "by day"),
        "dusk": ("at dusk", "at sunset", "in the evening", "at twilight", "in evening light", "as the sun goes down"),
        "night": ("at night", "by night", "after dark", "in the dark", "in the moonlight", "at midnight"),
    }
)

_WEATHERS: _Words = MappingProxyType(
    {
        "clear": ("clear", "cloudless", "clean-aired", "fair"),
        "hazy": ("hazy", "haze-veiled", "dim and hazy", "softly hazy"),
        "foggy": ("foggy", "misty", "fog-bound", "mist-covered"),
        "overcast": ("overcast", "cloudy", "grey-skied", "clouded"),
    }
)

_WEATHER_PHRASES: _Words = MappingProxyType(
    {
        "clear": ("under a clear sky", "in clear weather", "with a cloudless sky", "in clean, clear air"),
        "hazy": ("in a light haze", "in hazy air", "with haze in the distance", "under a hazy sky"),
        "foggy": ("in thick fog", "in the mist", "with fog all around", "wrapped in fog", "in foggy weather"),
        "overcast": ("under an overcast sky", "in cloudy weather", "below grey clouds", "under heavy clouds"),
    }
)

_GROUND_PHRASES = (
    "on {}",
    "with {} underfoot",
    "over {}",
    "with a floor of {}",
    "where the ground is {}",
    "on ground of {}",
)

_PALETTES: _Words = MappingProxyType(
    {
        "warm": ("warm", "golden", "amber", "warm-toned"),
        "cool": ("cool", "bluish", "cold-toned", "cool-toned"),
        "muted": ("muted", "faded", "pale", "soft-toned"),
        "vivid": ("vivid", "colourful", "bright", "strongly coloured"),
    }
)

_PALETTE_PHRASES: _Words = MappingProxyType(
    {
        "warm": ("in warm colours", "in golden tones", "in warm orange hues", "painted in amber"),
        "cool": ("in cool colours", "in blue tones", "in cold hues", "painted in cool blues"),
        "muted": ("in muted colours", "in faded tones", "in soft, pale hues", "painted in dull shades"),
        "vivid": ("in vivid colours", "in bright tones", "in rich, strong hues", "painted in bold shades"),
    }
)

_DENSITY_PHRASES: _Words = MappingProxyType(
    {
        "sparse": ("sparse and open", "with few things in sight", "wide and empty", "with lots of free space"),
        "moderate": ("moderately filled", "neither empty nor full", "with some things around", "loosely filled"),
        "dense": ("dense and full", "crowded with things", "tightly packed", "with many things close together"),
    }
)

_FEATURE_VERBS = (
    "with {} in view",
    "you pass {}",
    "one can see {}",
    "we see {}",
    "it shows {}",
    "it has {}",
    "look for {}",
)

_CLOSINGS = (
    "seen by a walker at eye level",
    "a place to walk through and look around",
    "the view of someone exploring on foot",
    "a game world seen in first person",
    "a low-poly world open to be explored freely",
)

# Nouns without an article that do not end in a plural "s".
_BARE_NOUNS = frozenset(
    {"cacti", "ivy", "moss", "reeds", "grass", "snow", "water", "sand", "sheep", "fireflies", "smoke"}
)


def captions(description: Mapping[str, str], seed: int) -> tuple[str, str]:
    """Word a world in two ways.

    Parameters
    ----------
    description : mapping of str to str
        Keys ``theme``, ``time``, ``weather``, ``ground``, ``palette``, ``density`` and ``features`` (comma separated).
        A missing or empty key is left out of the captions; a value without synonyms is used as it is.
    seed : int
        Chooses the wording. Equal arguments give equal captions.

    Returns
    -------
    short, long : str
        About `SHORT_LENGTH` characters (theme and one or two properties), and one or two sentences of more than
        `MIN_LONG_LENGTH` characters with everything known about the world.
    """
    rng = random.Random(int(seed))
    values = {key: value.strip() for key, value in description.items() if value.strip()}
    features = [name.strip() for name in values.get("features", "").split(",") if name.strip()]
    rng.shuffle(features)
    return _short(values, features, rng), _long(values, features, rng)


def _short(values: Mapping[str, str], features: Sequence[str], rng: random.Random) -> str:
    theme = _choose(_THEMES, values.get("theme", "world"), rng)
    time = _pick(_TIMES, values.get("time"), rng)
    weather = _pick(_WEATHERS, values.get("weather"), rng)
    palette = _pick(_PALETTES, values.get("palette"), rng)
    feature = features[0] if features else ""
    candidates = [theme, f"a walk through {_with_article(theme)}"]
    if weather:
        candidates += [f"{weather} {theme}", _with_article(f"{weather} {theme}")]
    if time:
        candidates += [f"{theme} {time}", f"{_with_article(theme)} {time}"]
    if time and weather:
        candidates += [f"{weather} {theme} {time}", f"{theme} {time}, {weather}"]
    if feature:
        candidates += [f"{theme} with {_with_article(feature)}", f"{_with_article(feature)} in {_with_article(theme)}"]
    if feature and time:
        candidates += [f"{theme} {time}, {feature}", f"{theme} with {feature} {time}"]
    if feature and weather:
        candidates += [f"{weather} {theme}, {feature}", f"{weather} {theme} with {_with_article(feature)}"]
    if palette:
        candidates += [f"{palette} {theme}", f"{palette} {theme} {time}".rstrip()]
    rng.shuffle(candidates)
    fitting = (text for text in candidates if len(text) in _SHORT_RANGE)
    return next(fitting, min(candidates, key=lambda text: abs(len(text) - SHORT_LENGTH)))


def _long(values: Mapping[str, str], features: Sequence[str], rng: random.Random) -> str:
    place = _with_article(_choose(_THEMES, values.get("theme", "world"), rng))
    phrases = [
        _pick(_WEATHER_PHRASES, values.get("weather"), rng, "in {} weather"),
        rng.choice(_GROUND_PHRASES).format(values["ground"]) if "ground" in values else "",
        _pick(_PALETTE_PHRASES, values.get("palette"), rng, "in {} colours"),
        _pick(_DENSITY_PHRASES, values.get("density"), rng),
    ]
    phrases = [phrase for phrase in phrases if phrase]
    rng.shuffle(phrases)
    time = _pick(_TIMES, values.get("time"), rng)
    opening = f"{time}, {place}" if time and rng.random() < 0.5 else f"{place} {time}".rstrip()
    cut = rng.randint(0, len(phrases))
    first = ", ".join([opening, *phrases[:cut]])
    rest = list(phrases[cut:])
    if features:
        seen = _enumerate([_with_article(name) for name in features[:_MAX_FEATURES]])
        rest.insert(rng.choice((0, len(rest))), rng.choice(_FEATURE_VERBS).format(seen))
    sentences = [first, ", ".join(rest)] if rest else [first]
    # Even a bare description becomes a long caption.
    closings = rng.sample(_CLOSINGS, len(_CLOSINGS))
    while sum(map(len, sentences)) <= MIN_LONG_LENGTH:
        sentences.append(closings.pop())
    return " ".join(_sentence(text) for text in sentences)


def _choose(table: _Words, value: str, rng: random.Random) -> str:
    """One of the synonyms of `value`; the word itself (underscores as spaces) when it is not in the table."""
    return rng.choice(table.get(value, (value.replace("_", " "),)))


def _pick(table: _Words, value: str | None, rng: random.Random, unknown: str = "{}") -> str:
    """Like `_choose`, but empty for a missing value and `unknown` filled in for one without synonyms."""
    if value is None:
        return ""
    return rng.choice(table[value]) if value in table else unknown.format(value.replace("_", " "))


def _with_article(noun: str) -> str:
    """The noun phrase with its indefinite article; plurals and uncountable nouns are left as they are."""
    head = re.split(r" (?:of|in|with) ", noun)[0].split()[-1].lower()
    plural = head.endswith("s") and not head.endswith(("ss", "us"))
    if plural or head in _BARE_NOUNS or noun.startswith(("a ", "an ", "the ")):
        return noun
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"


def _enumerate(items: Sequence[str]) -> str:
    """``a, b and c``."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
