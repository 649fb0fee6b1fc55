"""What a training keeps in its working folder, each file marked with its origin.

A training of another start, of another plan or of other scenes has another origin, and goes on with none of its files.
"""

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from training import drawing, scenes


class AnotherTraining(Exception):
    """A file in the working folder is of another origin."""


def origin_of(*parts: object) -> str:
    """A digest of the code of the scenes and of `parts`: of modules the weights, of all else what `repr` says."""
    digest = hashlib.sha256()
    for module in (scenes, drawing):
        digest.update(Path(str(module.__file__)).read_bytes())
    for part in parts:
        if isinstance(part, nn.Module):
            for name, weight in part.state_dict().items():
                digest.update(name.encode())
                digest.update(weight.cpu().contiguous().numpy().tobytes())
        else:
            digest.update(repr(part).encode())
    return digest.hexdigest()


def load(path: Path, origin: str) -> dict[str, Any] | None:
    """What was saved there, on the CPU; None if nothing was. Raises `AnotherTraining`."""
    if not path.exists():
        return None
    saved: Any = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(saved, dict) or saved.pop("origin", None) != origin:  # pyright: ignore[reportUnknownMemberType]
        raise AnotherTraining(
            f"{path} is of another training, with another start, plan or code of the scenes: name another folder with "
            "--work, or remove the file"
        )
    return saved  # pyright: ignore[reportUnknownVariableType]


def save(path: Path, origin: str, content: dict[str, Any]) -> None:
    """All of it or nothing: what was there before stays until then."""
    torch.save({**content, "origin": origin}, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)
