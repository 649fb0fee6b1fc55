"""The demo's picture files: what goes in, what comes out, and both side by side."""

import io
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageOps

from deploy.local.client import DemoFailed
from deploy.local.landscape import landscape

GAP = 8


@dataclass
class Results:
    """One run's files, all in one folder under one name."""

    folder: Path
    name: str
    input: Path
    pictures: list[Path] = field(default_factory=list[Path])

    @property
    def comparison(self) -> Path:
        return self.folder / f"{self.name}-both.png"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the input, as it is looked at. Raises `DemoFailed` where it is no picture."""
        try:
            with Image.open(self.input) as opened:
                return ImageOps.exif_transpose(opened).size
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise DemoFailed(f"{self.input} is no picture that can be read: {error}") from error

    def save(self, contents: list[bytes]) -> None:
        """Writes the result pictures as they came, and the comparison of the input with the first of them."""
        for index, content in enumerate(contents):
            with Image.open(io.BytesIO(content)) as picture:
                kind = (picture.format or "png").lower()
            number = f"-{index}" if len(contents) > 1 else ""
            path = self.folder / f"{self.name}-result{number}.{kind}"
            path.write_bytes(content)
            self.pictures.append(path)
        side_by_side(self.input, self.pictures[0]).save(self.comparison)


def load(image: str | None, folder: Path) -> Results:
    """The user's picture, copied beside where the results will be; drawn here where there is none.

    Raises `DemoFailed` where `image` names no file.
    """
    name = time.strftime("%Y%m%d-%H%M%S")
    source = Path(image).expanduser() if image else None
    if source and not source.is_file():
        raise DemoFailed(f"IMAGE={image}: there is no such file")
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / f"{name}-input{source.suffix.lower() if source else '.png'}"
    if source:
        shutil.copyfile(source, copy)
    else:
        landscape().save(copy)
    return Results(folder, name, copy)


def side_by_side(before: Path, after: Path) -> Image.Image:
    """Both pictures at the height of the second one."""
    with Image.open(before) as opened:
        left = ImageOps.exif_transpose(opened).convert("RGB")
    with Image.open(after) as opened:
        right = opened.convert("RGB")
    left = left.resize((max(1, round(left.width * right.height / left.height)), right.height))
    both = Image.new("RGB", (left.width + GAP + right.width, right.height), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width + GAP, 0))
    return both
