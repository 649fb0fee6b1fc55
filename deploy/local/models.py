"""What the demo asks of each of the built-in models where its user asks for nothing, and what it says of them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

PROMPT = "an oil painting of a mountain lake at sunset, thick brush strokes, warm light"
_KOLORS = "With an NVIDIA GPU: make demo KOLORS_MODEL=Kwai-Kolors/Kolors-diffusers"


@dataclass(frozen=True)
class Model:
    """`defaults` are the endpoint's arguments; a picture of over `most_px` pixels is painted smaller."""

    defaults: Mapping[str, object] = field(default_factory=dict[str, object])
    most_px: float = math.inf
    remark: str = ""

    def size_for(self, width: int, height: int) -> dict[str, int] | None:
        """The `image_size` of a picture of that size, of its shape; None where it may stay as it is."""
        scale = math.sqrt(self.most_px / (width * height))
        if scale >= 1:
            return None
        return {"width": max(64, round(width * scale / 8) * 8), "height": max(64, round(height * scale / 8) * 8)}


def model_of(environment: Mapping[str, str]) -> Model:
    """The one that the demo's system runs."""
    return _BUILT_IN.get(environment.get("KOLORS_MODEL") or "tiny", Model({"prompt": PROMPT}))


_STAND_IN = Model(
    {"prompt": PROMPT, "strength": 0.15},  # faint: its noise leaves the input to be seen through it
    remark="This was the built-in stand-in for the model, whose weights are random: it shows that everything works,\n"
    f"not what Kolors paints. {_KOLORS}",
)
_BUILT_IN: Mapping[str, Model] = {
    "tiny": Model(
        {"prompt": "autumn, orange leaves, a sunny day", "strength": 0.7, "num_inference_steps": 20, "seed": 6},
        most_px=384 * 256,
        remark="This was the built-in demonstration model: 6 million parameters, trained on drawn landscapes.\n"
        "It follows the light, the season, the weather, water and often the colour of a house; no styles and no\n"
        "other things, and it keeps no detail of a picture. Without SEED= it paints the same each time.\n"
        f"{_KOLORS}",
    ),
    "random": _STAND_IN,
    "fake": _STAND_IN,
}
