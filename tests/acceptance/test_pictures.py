"""What is in the pictures: the same bytes for the same request, and every parameter makes a difference."""

import io
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from tests.acceptance.harness.caller import Arguments, Caller, arguments
from tests.acceptance.harness.pictures import (
    bytes_at,
    data_uri,
    encoded,
    furthest,
    mean_distance,
    photo,
    photo_uri,
    picture_at,
)
from tests.acceptance.harness.receiver import Receiver

SOLVERS = (
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverMultistepScheduler_SDE_karras",
    "UniPCMultistepScheduler",
    "DEISMultistepScheduler",
)


def first(caller: Caller, asked: Arguments) -> Image.Image:
    return picture_at(caller.complete(asked)["images"][0]["url"])


@pytest.fixture(scope="module")
def reference(caller: Caller) -> Image.Image:
    return first(caller, arguments())


def test_equal_requests_give_equal_bytes_by_every_way(caller: Caller, receiver: Receiver) -> None:
    content = encoded(photo())
    by_data, by_link = arguments(image_url=data_uri(content)), arguments(image_url=receiver.page(content))

    outputs = [
        caller.complete(by_data),
        caller.complete(by_link),
        caller.run(by_data).json(),
        caller.run(by_link).json(),
        caller.run(by_data | {"sync_mode": True}).json(),
        caller.complete(by_link | {"sync_mode": True}),
    ]

    pictures = {bytes_at(output["images"][0]["url"]) for output in outputs}
    assert len(pictures) == 1


def test_a_result_may_be_the_next_input(caller: Caller) -> None:
    link = caller.complete(arguments())["images"][0]["url"]

    again = caller.complete(arguments(image_url=link))
    inline = caller.complete(arguments(image_url=data_uri(bytes_at(link))))

    assert bytes_at(again["images"][0]["url"]) == bytes_at(inline["images"][0]["url"])


def test_company_changes_no_picture_by_more_than_a_grey_level(caller: Caller) -> None:
    inputs = [
        arguments(
            prompt=f"picture number {k}",
            scheduler=SOLVERS[k % 6],
            guidance_scale=1 + k % 4,
            num_inference_steps=5 + k,
            strength=[0.4, 0.8, 1.0][k % 3],
            num_images=1 + k % 2,
            seed=k,
        )
        for k in range(8)
    ]
    alone = [caller.complete(asked) for asked in inputs]
    with ThreadPoolExecutor(len(inputs)) as pool:
        together = list(pool.map(caller.complete, inputs))

    for one, other in zip(alone, together, strict=True):
        for left, right in zip(one["images"], other["images"], strict=True):
            assert furthest(picture_at(left["url"]), picture_at(right["url"])) <= 1


def test_picture_k_has_seed_plus_k(caller: Caller) -> None:
    several = caller.complete(arguments(num_images=3))

    third = first(caller, arguments(seed=9))

    assert furthest(picture_at(several["images"][2]["url"]), third) <= 1
    assert several["seed"] == 7


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "a lighthouse at night"},
        {"negative_prompt": "sunglasses, blurry"},
        {"guidance_scale": 9},
        {"seed": 8},
        {"strength": 0.8},
        {"num_inference_steps": 9},
        {"image_url": photo_uri(hue=200)},
        *({"scheduler": solver} for solver in SOLVERS[1:]),
    ],
    ids=lambda change: "-".join(str(value)[:40] for pair in change.items() for value in pair),
)
def test_every_parameter_changes_the_picture(caller: Caller, reference: Image.Image, change: Arguments) -> None:
    # Six of ten steps: the first one or two steps of all solvers are alike.
    base = arguments(num_inference_steps=10, strength=0.6) if "scheduler" in change else arguments()
    plain = first(caller, base) if "scheduler" in change else reference

    changed = first(caller, base | change)

    assert furthest(changed, plain) > 0


def test_strength_goes_from_the_input_away(caller: Caller) -> None:
    floor = first(caller, arguments(strength=0.01, num_inference_steps=20))
    distances = [
        mean_distance(first(caller, arguments(strength=strength, num_inference_steps=20)), floor)
        for strength in (0.3, 0.6, 1.0)
    ]

    assert distances == sorted(distances)
    assert distances[0] > 0


def test_the_least_strength_keeps_the_input(caller: Caller) -> None:
    """At 0.01 the result is the input through the autoencoder: it depends on the input much more than on the prompt."""
    faint = arguments(strength=0.01, num_inference_steps=50)
    here = first(caller, faint)

    other_prompt = first(caller, faint | {"prompt": "a lighthouse at night", "seed": 99})
    other_input = first(caller, faint | {"image_url": photo_uri(hue=230)})

    assert mean_distance(here, other_prompt) < mean_distance(here, other_input) / 2


@pytest.mark.parametrize(
    ("given", "image_size", "expected"),
    [
        ((64, 64), None, (64, 64)),
        ((71, 65), None, (64, 64)),
        ((100, 60), None, (96, 56)),
        ((1200, 900), None, None),
        ((64, 64), "square", (512, 512)),
        ((64, 64), {"width": 100, "height": 50}, (96, 48)),
        ((64, 64), {"width": 128}, (128, 512)),
        ((200, 40), {"width": 64, "height": 64}, (64, 64)),
    ],
)
def test_the_size_of_the_result(
    caller: Caller, given: tuple[int, int], image_size: object, expected: tuple[int, int] | None
) -> None:
    output = caller.complete(arguments(image_url=photo_uri(*given), image_size=image_size, num_inference_steps=1))

    image = output["images"][0]
    size = (image["width"], image["height"])
    assert picture_at(image["url"]).size == size
    if expected is not None:
        assert size == expected
    assert size[0] % 8 == size[1] % 8 == 0
    assert size[0] * size[1] <= 1024 * 1024


@pytest.mark.parametrize(
    ("preset", "size"),
    [
        ("square", (512, 512)),
        ("portrait_16_9", (576, 1024)),
        ("landscape_16_9", (1024, 576)),
    ],
)
def test_the_presets(caller: Caller, preset: str, size: tuple[int, int]) -> None:
    output = caller.complete(arguments(image_size=preset, num_inference_steps=1, output_format="jpeg"))

    assert picture_at(output["images"][0]["url"]).size == size


def test_jpeg_and_png(caller: Caller) -> None:
    png = caller.complete(arguments())["images"][0]
    jpeg = caller.complete(arguments(output_format="jpeg"))["images"][0]

    assert (png["content_type"], jpeg["content_type"]) == ("image/png", "image/jpeg")
    assert (picture_at(png["url"]).format, picture_at(jpeg["url"]).format) == ("PNG", "JPEG")
    assert mean_distance(picture_at(png["url"]), picture_at(jpeg["url"])) < 6


def test_a_picture_is_nothing_but_its_pixels(caller: Caller) -> None:
    """Whoever has a link must not learn the prompt from it."""
    for output_format in ("png", "jpeg"):
        link = caller.complete(arguments(output_format=output_format))["images"][0]["url"]
        content = bytes_at(link)
        assert arguments()["prompt"].encode() not in content
        notes = Image.open(io.BytesIO(content)).info
        assert not [name for name, value in notes.items() if isinstance(value, str)]


def test_sync_mode_is_a_data_uri(caller: Caller) -> None:
    for output_format, content_type in (("png", "image/png"), ("jpeg", "image/jpeg")):
        image = caller.complete(arguments(sync_mode=True, output_format=output_format))["images"][0]

        assert image["url"].startswith(f"data:{content_type};base64,")
        assert picture_at(image["url"]).size == (image["width"], image["height"])


def test_a_drawn_seed_is_told_and_repeats_the_picture(caller: Caller) -> None:
    drawn = caller.complete(arguments(seed=None))
    other = caller.complete(arguments(seed=None))

    assert 0 <= drawn["seed"] < 2**53
    assert drawn["seed"] != other["seed"]
    again = caller.complete(arguments(seed=drawn["seed"]))
    assert bytes_at(again["images"][0]["url"]) == bytes_at(drawn["images"][0]["url"])


def test_eight_pictures_of_one_request_all_differ(caller: Caller) -> None:
    output = caller.complete(arguments(num_images=8))

    assert len({bytes_at(image["url"]) for image in output["images"]}) == 8
    assert output["has_nsfw_concepts"] == [False] * 8


INPUT_KINDS = {
    "greyscale": lambda: encoded(photo().convert("L")),
    "one bit": lambda: encoded(photo().convert("1")),
    "palette": lambda: encoded(photo().quantize(16)),
    "alpha": lambda: encoded(_translucent()),
    "grey and alpha": lambda: encoded(photo().convert("LA")),
    "16 bit": lambda: encoded(photo().convert("L").convert("I").point(lambda level: level * 257).convert("I;16")),
    "cmyk jpeg": lambda: encoded(photo().convert("CMYK"), "JPEG"),
    "webp": lambda: encoded(photo(), "WEBP"),
    "tiff": lambda: encoded(photo(), "TIFF"),
    "bmp": lambda: encoded(photo(), "BMP"),
    "animated gif": lambda: encoded(photo(), "GIF", save_all=True, append_images=[photo(hue=250)]),
}


def _translucent() -> Image.Image:
    picture = photo().convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    return picture


@pytest.mark.parametrize("kind", INPUT_KINDS)
def test_pictures_of_every_kind_are_taken(caller: Caller, kind: str) -> None:
    output = caller.complete(arguments(image_url=data_uri(INPUT_KINDS[kind]())))

    assert (output["images"][0]["width"], output["images"][0]["height"]) == (64, 64)


def test_a_photo_taken_sideways_is_turned(caller: Caller) -> None:
    sideways = Image.Exif()
    sideways[0x0112] = 6
    turned = photo(96, 64).transpose(Image.Transpose.ROTATE_270)

    by_tag = caller.complete(arguments(image_url=data_uri(encoded(photo(96, 64), exif=sideways))))
    by_hand = caller.complete(arguments(image_url=data_uri(encoded(turned))))

    assert by_tag["images"][0]["width"] == 64
    assert bytes_at(by_tag["images"][0]["url"]) == bytes_at(by_hand["images"][0]["url"])
