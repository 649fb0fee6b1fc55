"""The demo without its system: what it takes, what it draws, what it prints."""

import io
import time
from pathlib import Path

import pytest
from PIL import Image

from deploy.local.client import DemoFailed
from deploy.local.demo import read_arguments as read
from deploy.local.landscape import landscape
from deploy.local.models import PROMPT, model_of
from deploy.local.pictures import load, side_by_side
from deploy.local.stages import Stages


def read_arguments(environment: dict[str, str]) -> dict[str, object]:
    return read(environment, model_of(environment), (100, 80))


def test_variables_become_arguments_of_their_type():
    given = {
        "STRENGTH": "0.6",
        "STEPS": "12",
        "SEED": "7",
        "PROMPT": "a fox",
        "SCHEDULER": "",
        "HOME": "/root",
        "KOLORS_MODEL": "/a/checkpoint",
    }
    assert read_arguments(given) == {"prompt": "a fox", "strength": 0.6, "num_inference_steps": 12, "seed": 7}


def test_nothing_is_needed():
    assert read_arguments({"KOLORS_MODEL": "/a/checkpoint"}) == {"prompt": PROMPT}


def test_the_stand_in_leaves_the_input_visible_unless_it_is_told_otherwise():
    assert read_arguments({"KOLORS_MODEL": "random"})["strength"] == 0.15
    assert read_arguments({"KOLORS_MODEL": "random", "STRENGTH": "1"})["strength"] == 1


@pytest.mark.parametrize(
    ("size", "painted"),
    [
        ((100, 80), None),
        ((384, 256), None),
        ((768, 512), {"width": 384, "height": 256}),
        ((4000, 3000), {"width": 360, "height": 272}),
        ((20000, 100), {"width": 4432, "height": 64}),
    ],
)
def test_the_tiny_model_gets_small_pictures_of_the_same_shape(size: tuple[int, int], painted: dict[str, int] | None):
    model = model_of({})
    assert read({}, model, size).get("image_size") == painted
    assert read({"IMAGE_SIZE": "square"}, model, size)["image_size"] == "square"


def test_the_tiny_model_paints_the_same_each_time_unless_it_is_told_otherwise():
    assert isinstance(read_arguments({}).get("seed"), int)
    assert read_arguments({"SEED": "7"})["seed"] == 7


def test_a_file_that_is_no_picture_is_named_before_anything_starts(tmp_path: Path):
    mine = tmp_path / "mine.jpg"
    mine.write_text("not a picture")
    with pytest.raises(DemoFailed, match="no picture"):
        _ = load(str(mine), tmp_path / "out").size


def test_a_number_that_is_none_is_named():
    with pytest.raises(DemoFailed, match="STRENGTH=much"):
        read_arguments({"STRENGTH": "much"})


def test_the_drawn_picture_is_always_the_same_and_has_something_on_it():
    picture = landscape()
    assert picture.size == (768, 512)
    assert picture.tobytes() == landscape().tobytes()
    assert len(picture.getcolors(768 * 512) or []) > 100


def test_the_users_picture_is_copied_beside_the_results(tmp_path: Path):
    mine = tmp_path / "Mine.JPG"
    Image.new("RGB", (30, 20), "red").save(mine)
    results = load(str(mine), tmp_path / "out")
    assert results.input.read_bytes() == mine.read_bytes()
    assert (results.input.parent, results.input.suffix) == (tmp_path / "out", ".jpg")


def test_a_picture_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(DemoFailed, match=r"nowhere\.png"):
        load(str(tmp_path / "nowhere.png"), tmp_path)


def test_results_are_kept_as_they_came_with_a_comparison(tmp_path: Path):
    results = load(None, tmp_path)
    contents = [_encoded("PNG"), _encoded("JPEG")]
    results.save(contents)
    assert [path.read_bytes() for path in results.pictures] == contents
    assert [path.suffix for path in results.pictures] == [".png", ".jpeg"]
    with Image.open(results.comparison) as both:
        assert both.height == 20
        assert both.width > 30 + 30


def test_the_comparison_has_both_at_the_results_height(tmp_path: Path):
    before, after = tmp_path / "before.png", tmp_path / "after.png"
    Image.new("RGBA", (200, 100), (255, 0, 0, 255)).save(before)
    Image.new("RGB", (40, 50), "blue").save(after)
    both = side_by_side(before, after)
    assert both.size == (100 + 8 + 40, 50)
    assert both.getpixel((0, 0)) == (255, 0, 0)
    assert both.getpixel((147, 49)) == (0, 0, 255)


def test_the_table_names_every_stage_and_the_total():
    stages = Stages(began_at=time.time() - 3)
    with stages.timed("start"):
        pass
    with stages.timed("request"):
        stages.enter("in the queue")
        stages.enter("in the queue")
        stages.enter("being worked on")
        stages.leave()
        stages.report({"inference": 1.5})
    names = [line[:22].strip() for line in stages.table().splitlines() if line]
    assert names == ["set up", "start", "request", "in the queue", "being worked on", "· inference", "total"]
    assert float(stages.table().splitlines()[1][22:].split()[0]) >= 3


def _encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20), "green").save(buffer, kind)
    return buffer.getvalue()
