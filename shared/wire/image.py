"""The endpoint's own input and output, field by field, and the size of a result.

Descriptions and examples here are the OpenAPI document's. Unknown fields are ignored; values are read as leniently as
fal reads them ("50" is a number), bounds are not.
"""

import json
import random
from math import isqrt
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError
from pydantic_core import PydanticCustomError

from shared.errors import InvalidInput, Problem
from shared.wire.errors import problems

Preset = Literal["square_hd", "square", "portrait_4_3", "portrait_16_9", "landscape_4_3", "landscape_16_9"]
Scheduler = Literal[
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverMultistepScheduler_SDE_karras",
    "UniPCMultistepScheduler",
    "DEISMultistepScheduler",
]
OutputFormat = Literal["jpeg", "png"]

PRESETS: dict[str, tuple[int, int]] = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}
SCHEDULERS: tuple[str, ...] = get_args(Scheduler)
MOST_IMAGES = 8
LONGEST_PROMPT = 20_000
NATURAL_AREA_PX = 1024 * 1024
"""What a result is scaled down to where no size is asked for."""
SHORTEST_SIDE_PX = 16
WIDEST_ASPECT = 16
_GRID_PX = 8
_SEEDS = range(-(2**63), 2**64 - MOST_IMAGES)
"""What torch takes, also for the last picture's seed + k."""


def _seed_in_range(seed: int) -> int:
    if seed < _SEEDS.start:
        bound = {"ge": _SEEDS.start}
        raise PydanticCustomError("greater_than_equal", "Input should be greater than or equal to {ge}", bound)
    if seed >= _SEEDS.stop:
        bound = {"le": _SEEDS.stop - 1}
        raise PydanticCustomError("less_than_equal", "Input should be less than or equal to {le}", bound)
    return seed


class NotAnObject(InvalidInput):
    """The body is no JSON object, so there is nothing to validate."""


class ImageSize(BaseModel):
    model_config = ConfigDict(frozen=True)

    width: int = Field(default=512, gt=0, le=14142, description="Width of the result in pixels.")
    height: int = Field(default=512, gt=0, le=14142, description="Height of the result in pixels.")


_TAGS = frozenset({"preset", "size"})


def _size_kind(value: object) -> str:
    return "preset" if isinstance(value, str) else "size"


SizeOrPreset = Annotated[
    Annotated[ImageSize, Tag("size")] | Annotated[Preset, Tag("preset")],
    Discriminator(_size_kind),
]


class Input(BaseModel):
    """What to paint, and how."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False, title="KolorsImg2ImgInput")

    prompt: str = Field(
        max_length=LONGEST_PROMPT,
        description="What to paint. The more exact the words, the closer the picture.",
        examples=[
            "high quality image of a capybara wearing sunglasses. In the background of the image there are trees, "
            "poles, grass and other objects. At the bottom of the object there is the road., 8k, highly detailed."
        ],
    )
    image_url: str = Field(
        description="The picture to start from: an http(s) address or a data URI.",
        examples=["https://storage.googleapis.com/falserverless/model_tests/image_models/bunny_source.png"],
    )
    negative_prompt: str = Field(
        default="",
        max_length=LONGEST_PROMPT,
        description="What to keep out of the picture: colours, objects, blemishes.",
        examples=["ugly, deformed, blurry"],
    )
    guidance_scale: float = Field(
        default=5, ge=1, le=10, description="Classifier-free guidance: higher sticks closer to the prompt."
    )
    num_inference_steps: int = Field(default=50, ge=1, le=150, description="Denoising steps of the full schedule.")
    strength: float = Field(
        default=0.85,
        ge=0.01,
        le=1,
        description="How far to leave the given picture: 1.0 remakes it, values near 0 preserve it.",
    )
    seed: Annotated[int, AfterValidator(_seed_in_range)] | None = Field(
        default=None, description="The same seed with the same input repeats a picture. Drawn if it is not given."
    )
    num_images: int = Field(default=1, ge=1, le=MOST_IMAGES, description="How many pictures to paint.")
    image_size: SizeOrPreset | None = Field(
        default=None,
        description="Size of the result. If it is not given, that of the input, scaled down to one megapixel.",
    )
    scheduler: Scheduler = Field(default="EulerDiscreteScheduler", description="The solver of the noise schedule.")
    output_format: OutputFormat = Field(default="png", description="Encoding of the result.")
    sync_mode: bool = Field(
        default=False, description="Return the pictures inside the response as data URIs instead of links."
    )
    enable_safety_checker: bool = Field(default=True, description="Black out pictures that the checker flags.")

    def to_queue(self, *, image_url: str) -> str:
        """The JSON that the worker reads: with a seed, drawn if none was given, and with this address instead."""
        seed = draw_seed() if self.seed is None else self.seed
        return self.model_copy(update={"image_url": image_url, "seed": seed}).model_dump_json()


class Image(BaseModel):
    """One picture of the result. Fields that are not known are left out, never null."""

    url: str = Field(description="Where the picture can be downloaded, or a data URI.")
    content_type: str = Field(default="image/png", description="Its media type.", examples=["image/png"])
    file_name: str | None = Field(default=None, description="Its file name.", examples=["0.png"])
    file_size: int | None = Field(default=None, description="Its size in bytes.", examples=[1_482_330])
    width: int = Field(description="Its width in pixels.", examples=[1024])
    height: int = Field(description="Its height in pixels.", examples=[1024])


class Output(BaseModel):
    """What a finished request returns."""

    model_config = ConfigDict(title="KolorsImg2ImgOutput")

    images: list[Image] = Field(description="The painted pictures.")
    timings: dict[str, float] = Field(description="Seconds per stage; `inference` is always there.")
    seed: int = Field(description="The seed of picture 0, given or drawn; picture k used seed + k.")
    has_nsfw_concepts: list[bool] = Field(description="For each picture, whether it was flagged and blacked out.")
    prompt: str = Field(description="The prompt as it was given.")

    def to_json(self) -> str:
        return self.model_dump_json(exclude_none=True)

    def to_webhook_json(self) -> str:
        """The same as it is inside a webhook, to the byte: sorted, and in ASCII."""
        return json.dumps(self.model_dump(exclude_none=True), sort_keys=True)


def read_input(body: bytes | bytearray) -> Input:
    """Validates a call's body once. Raises `NotAnObject` or `InvalidInput` with one problem per wrong field.

    UTF-8, with a byte order mark or without, and what else JSON was once written in: fal's framework reads them all.
    """
    encoding = json.detect_encoding(body)
    try:
        return Input.model_validate_json(body if encoding == "utf-8" else _in_utf_8(body, encoding))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        found = problems(error, tags=_TAGS)
        raise (NotAnObject if not first["loc"] else InvalidInput)(*found) from None


def _in_utf_8(body: bytes | bytearray, encoding: str) -> bytes:
    return body.decode(encoding, "replace").encode()


def draw_seed() -> int:
    """Below 2^53 with room for the last picture's seed, so that JavaScript keeps every digit of it."""
    return random.randrange(2**53 - MOST_IMAGES)


def most_px(input: Input, max_pixels: int) -> int:  # noqa: A002
    """The pixels of one result picture; where that depends on the input picture, an upper bound.

    Raises `InvalidInput` for a requested size that no input picture could have.
    """
    if input.image_size is None:
        return min(NATURAL_AREA_PX, max_pixels)
    width, height = _requested(input.image_size, max_pixels)
    return width * height


def result_size(input_size: tuple[int, int], image_size: ImageSize | Preset | None, max_pixels: int) -> tuple[int, int]:
    """(width, height) of the result, multiples of 8, for an input picture of `input_size`.

    A requested size wins; otherwise it is the input's own, scaled down, never up, to at most 1024×1024 pixels of
    area. Raises `InvalidInput` for an input under 16 px a side or slimmer than 16:1, or a result above `max_pixels`.
    """
    _check_input(*input_size)
    if image_size is not None:
        return _requested(image_size, max_pixels)
    width, height = input_size
    area = min(NATURAL_AREA_PX, max_pixels)
    if width * height > area:
        width, height = isqrt(area * width // height), isqrt(area * height // width)
    return _on_grid(width), _on_grid(height)


def _requested(image_size: ImageSize | Preset, max_pixels: int) -> tuple[int, int]:
    width, height = PRESETS[image_size] if isinstance(image_size, str) else (image_size.width, image_size.height)
    location = ("body", "image_size")
    if min(width, height) < SHORTEST_SIDE_PX:
        raise InvalidInput(_too_small(location, f"The result must be at least {SHORTEST_SIDE_PX} px a side"))
    width, height = _on_grid(width), _on_grid(height)
    if width * height > max_pixels:
        side = isqrt(max_pixels)
        raise InvalidInput(_too_large(location, f"The result may have at most {max_pixels} pixels", side, side))
    return width, height


def _check_input(width: int, height: int) -> None:
    location = ("body", "image_url")
    if min(width, height) < SHORTEST_SIDE_PX:
        raise InvalidInput(_too_small(location, f"The picture must be at least {SHORTEST_SIDE_PX} px a side"))
    if max(width, height) > WIDEST_ASPECT * min(width, height):
        message = f"The longer side of the picture may be at most {WIDEST_ASPECT} times the shorter one"
        raise InvalidInput(_too_large(location, message, WIDEST_ASPECT * height, WIDEST_ASPECT * width))


def _on_grid(side: int) -> int:
    return side // _GRID_PX * _GRID_PX


def _too_small(location: tuple[str, ...], message: str) -> Problem:
    context = {"min_height": SHORTEST_SIDE_PX, "min_width": SHORTEST_SIDE_PX}
    return Problem(location, message, "image_too_small", context)


def _too_large(location: tuple[str, ...], message: str, max_width: int, max_height: int) -> Problem:
    return Problem(location, message, "image_too_large", {"max_height": max_height, "max_width": max_width})
