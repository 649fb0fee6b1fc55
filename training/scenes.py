"""What a picture shows, and the sentences that describe it.

A `Scene` is the one truth: `drawing.draw` paints it and `caption` says it, so that words and pixels cannot
disagree. A caption names only some of what is there: users do the same.
"""

import random
from collections.abc import Set
from dataclasses import dataclass, fields, replace

TIMES = ("day", "sunset", "night", "dawn")
GROUNDS = ("grass", "autumn", "snow", "sand")
WEATHERS = ("clear", "cloudy", "rain", "fog", "snowfall")
RELIEFS = ("plain", "hills", "mountains")
COLOURS = ("red", "blue", "yellow", "white", "green", "purple")
UNNAMED = "grey"
"""The colour of houses that nobody would mention."""
TREES = ("round", "pine", "palm")
ANIMALS = ("sheep", "cow", "cat", "bird")
STYLES = ("plain", "watercolour", "oil", "sketch", "pixel")


@dataclass(frozen=True, slots=True)
class Scene:
    """One landscape. Colours are names out of `COLOURS`; None and 0 mean that the thing is absent."""

    time: str
    ground: str
    weather: str
    relief: str
    water: str | None
    trees: str | None
    house: str | None
    boat: str | None
    animal: str | None
    style: str
    seed: int
    """Where everything stands; no caption can know it."""

    near: bool = False
    """The house fills much of the picture."""


def compose(rng: random.Random) -> Scene:
    """A scene out of all of them, plausible ones more often."""
    ground = rng.choices(GROUNDS, (5, 3, 4, 2))[0]
    water = rng.choices((None, "lake", "sea", "river"), (5, 3, 3, 2))[0]
    trees = rng.choices((None, *TREES), (3, 4, 4, 1))[0]
    weathers = (5, 3, 2, 1.5, 3 if ground == "snow" else 0.3)
    return Scene(
        time=rng.choices(TIMES, (5, 3, 4, 1.5))[0],
        ground=ground,
        weather=rng.choices(WEATHERS, weathers)[0],
        relief=rng.choices(RELIEFS, (2, 4, 3))[0],
        water=water,
        trees="palm" if ground == "sand" and trees else trees,
        house=rng.choice(COLOURS) if rng.random() < 0.55 else None,
        boat=rng.choice(COLOURS) if water in ("lake", "sea") and rng.random() < 0.6 else None,
        animal=rng.choice(ANIMALS) if rng.random() < 0.35 else None,
        style=rng.choices(STYLES, (12, 1, 1, 1, 1))[0],
        seed=rng.getrandbits(32),
    )


def close_up(rng: random.Random) -> Scene:
    """A scene before a house. In the others it is so small that its colour hardly counts."""
    return replace(compose(rng), house=rng.choice(COLOURS), near=True, weather="clear", style="plain", animal=None)


def sibling(scene: Scene, rng: random.Random) -> Scene:
    """The same place in another light, season or weather, or its house in another colour; now and then in two of them.
    A summer's day most often, as people's pictures are.
    """
    values: dict[str, dict[str, int]] = {
        "time": dict(zip(TIMES, (6, 1, 1, 1), strict=True)),
        "ground": dict(zip(GROUNDS, (6, 2, 1, 2), strict=True)),
        "weather": dict(zip(WEATHERS, (6, 1, 1, 1, 1), strict=True)),
    }
    weights = {"time": 4, "ground": 5, "weather": 2}
    if scene.house:
        values["house"] = dict.fromkeys(COLOURS, 1) | {UNNAMED: 4}
        weights["house"] = 10 if scene.near else 2
    changed: dict[str, str] = {}
    for _ in range(rng.choices((1, 2), (3, 1))[0]):
        name = rng.choices(list(weights), list(weights.values()))[0]
        others = {value: weight for value, weight in values[name].items() if value != getattr(scene, name)}
        changed[name] = rng.choices(list(others), list(others.values()))[0]
    return replace(scene, **changed)


def differences(one: Scene, other: Scene) -> frozenset[str]:
    """The names of the fields in which they differ."""
    return frozenset(field.name for field in fields(Scene) if getattr(one, field.name) != getattr(other, field.name))


ENGLISH: dict[str, tuple[str, ...]] = {
    "day": ("day", "a sunny day", "daylight", "noon", "bright daylight, blue sky"),
    "sunset": ("sunset", "at sunset", "evening, red sky", "a red sunset", "dusk"),
    "night": ("night", "at night", "a dark night", "night, moon and stars", "moonlight, starry sky"),
    "dawn": ("dawn", "at dawn", "early morning", "sunrise, pink sky"),
    "grass": ("summer", "green grass", "a green meadow", "spring", "meadow"),
    "autumn": ("autumn", "fall", "orange leaves", "autumn leaves"),
    "snow": ("snow", "winter", "snow on the ground", "a snowy landscape", "covered with snow"),
    "sand": ("desert", "sand", "sand dunes", "a sandy beach"),
    "clear": ("clear sky", "clear weather"),
    "cloudy": ("clouds", "cloudy", "white clouds in the sky"),
    "rain": ("rain", "rainy weather", "a rainy day"),
    "fog": ("fog", "foggy", "mist"),
    "snowfall": ("falling snow", "snowfall", "snowing"),
    "plain": ("a plain", "flat land"),
    "hills": ("hills", "rolling hills", "a hill"),
    "mountains": ("mountains", "high mountains", "mountain peaks"),
    "lake": ("a lake", "lake", "water"),
    "sea": ("the sea", "ocean", "water"),
    "river": ("a river", "river", "a stream"),
    "round": ("trees", "a tree", "a forest", "leafy trees"),
    "pine": ("pine trees", "fir trees", "a pine forest"),
    "palm": ("palm trees", "a palm tree"),
    "sheep": ("a sheep", "sheep"),
    "cow": ("a cow", "cows"),
    "cat": ("a cat", "cat"),
    "bird": ("a bird", "birds"),
    "watercolour": ("watercolour", "a watercolor painting"),
    "oil": ("oil painting", "an oil painting, thick brush strokes"),
    "sketch": ("pencil sketch", "a pencil drawing, black and white"),
    "pixel": ("pixel art",),
}
CHINESE: dict[str, tuple[str, ...]] = {
    "day": ("白天", "晴天"),
    "sunset": ("日落", "夕阳"),
    "night": ("夜晚", "夜景", "月光"),
    "dawn": ("黎明", "清晨"),
    "grass": ("夏天", "绿色的草地", "春天"),
    "autumn": ("秋天", "落叶"),
    "snow": ("雪", "冬天", "雪景"),
    "sand": ("沙漠", "沙滩"),
    "clear": ("晴朗的天空",),
    "cloudy": ("云", "多云"),
    "rain": ("下雨", "雨天"),
    "fog": ("雾", "大雾"),
    "snowfall": ("下雪",),
    "plain": ("平原",),
    "hills": ("小山", "山丘"),
    "mountains": ("山", "高山"),
    "lake": ("湖", "湖水"),
    "sea": ("大海", "海"),
    "river": ("河流", "小河"),
    "round": ("树", "森林"),
    "pine": ("松树",),
    "palm": ("棕榈树",),
    "sheep": ("羊",),
    "cow": ("牛",),
    "cat": ("猫",),
    "bird": ("鸟",),
    "watercolour": ("水彩画",),
    "oil": ("油画",),
    "sketch": ("铅笔画", "素描"),
    "pixel": ("像素画",),
}
CHINESE_COLOURS: dict[str, str] = dict(
    zip(COLOURS, ("红色的", "蓝色的", "黄色的", "白色的", "绿色的", "紫色的"), strict=True)
)
OPENINGS = ("", "", "", "a picture of ", "a landscape, ", "a painting of ", "a photo of ", "high quality, ")


def _coloured(thing: str, colour: str, chinese: bool, rng: random.Random) -> str:
    if chinese:
        return CHINESE_COLOURS[colour] + {"house": "房子", "boat": "船"}[thing]
    noun = rng.choice({"house": ("house", "hut", "cottage"), "boat": ("boat", "sailing boat")}[thing])
    return rng.choice((f"a {colour} {noun}", f"{colour} {noun}"))


WORTH: dict[str, tuple[str | None, float, float]] = {
    "time": ("day", 0.4, 0.95),
    "ground": ("grass", 0.4, 0.95),
    "weather": ("clear", 0.2, 0.95),
    "style": ("plain", 0.0, 0.95),
    "relief": ("plain", 0.15, 0.4),
    "water": (None, 0.0, 0.6),
    "trees": (None, 0.0, 0.6),
    "animal": (None, 0.0, 0.7),
    "house": (None, 0.0, 0.75),
    "boat": (None, 0.0, 0.75),
}
"""What is usual, and how often it is worth a word where it is so and where it is not."""
REMARKABLE = 0.9
"""What is worth a word so often is left out by no caption, however terse."""


def caption(scene: Scene, rng: random.Random, named: Set[str] = frozenset()) -> str:
    """A sentence about some of what is there, in English or (one in four) Chinese.

    What is unusual is nearly always said and what is usual often left out, so what is not said is a clear summer's day,
    as users mean it. Of an edit the fields `named` are said; in half of them nothing else, for the picture tells.
    """
    chinese = rng.random() < 0.25
    words = CHINESE if chinese else ENGLISH
    terse = rng.random() < (0.5 if named else 0.35)
    told = set(named)
    for field, (usual, seldom, often) in WORTH.items():
        chance = seldom if getattr(scene, field) == usual else 1.0 if field == "house" and scene.near else often
        if terse and (named or chance < REMARKABLE):
            continue
        if rng.random() < chance:
            told.add(field)
    if not told:
        told.add(rng.choice(("time", "ground")))
    said: list[str] = []
    for field in sorted(told):
        value = getattr(scene, field)
        coloured = field in ("house", "boat")
        said.append(_coloured(field, value, chinese, rng) if coloured else rng.choice(words[value]))
    rng.shuffle(said)
    return _opened(said, chinese, rng)


def _opened(said: list[str], chinese: bool, rng: random.Random) -> str:
    if chinese:
        return rng.choice(("", "一张照片，", "画，")) + "，".join(said)
    return rng.choice(OPENINGS) + ", ".join(said)
