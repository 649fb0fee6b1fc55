"""Fetches a repository of the model hub, or finds what was fetched before; says in plain words why it cannot.

Knows no model. The hub's own variables count, too: `HF_TOKEN`, `HF_ENDPOINT`, `HF_HUB_OFFLINE`.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import (
    GatedRepoError,
    HTTPError,  # pyright: ignore[reportPrivateImportUsage]
    IncompleteSnapshotError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from shared.errors import WrongSetting

_log = logging.getLogger(__name__)
_SMALL = ("*.json", "*.model", "*.txt")
_FULL = ("*.safetensors",)
_HALF = ("*fp16*.safetensors",)


@dataclass(frozen=True, slots=True)
class Hub:
    """`cache` is where repositories are kept; `offline` takes only what is there."""

    cache: Path
    offline: bool = False

    def fetch(self, repository: str, *, setting: str, revision: str | None = None, half: bool = False) -> Path:
        """The directory of its configuration and its weights in safetensors, in half precision where that is wanted
        and there is such a copy. `revision` is a branch, a tag or a commit; unset, the newest.

        Raises `WrongSetting` of `setting`, or of KOLORS_REVISION.
        """
        try:
            found = self._half(repository, revision) if half else None
            found = found or self._download(repository, revision, _FULL)
        except RevisionNotFoundError as error:
            raise WrongSetting("KOLORS_REVISION", f"{repository} has no revision {revision}") from error
        except (HTTPError, OSError, ValueError) as error:
            raise WrongSetting(setting, f"{repository} cannot be fetched: {self._reason(error)}") from error
        _log.info("%s at commit %s", repository, found.name)
        return found

    def _half(self, repository: str, revision: str | None) -> Path | None:
        """None where it has no such weights, or where we are offline and have only the others."""
        try:
            found = self._download(repository, revision, _HALF)
        except LocalEntryNotFoundError:
            return None
        return found if any(found.glob("**/*fp16*.safetensors")) else None

    def _download(self, repository: str, revision: str | None, weights: tuple[str, ...]) -> Path:
        return Path(
            huggingface_hub.snapshot_download(  # pyright: ignore[reportUnknownMemberType]
                repository,
                revision=revision,
                cache_dir=self.cache,
                local_files_only=self.offline,
                allow_patterns=[*_SMALL, *weights],
            )
        )

    def _reason(self, error: Exception) -> str:
        if isinstance(error, GatedRepoError):
            return (
                "its owner asks for its licence to be accepted first; do so on its page at the hub, "
                "then set HF_TOKEN to a token of that account"
            )
        if isinstance(error, RepositoryNotFoundError):
            return "the hub has no such repository, or not for the account of HF_TOKEN"
        if self.offline or isinstance(error.__cause__, OfflineModeIsEnabled):
            part = "only a part of it was" if isinstance(error, IncompleteSnapshotError) else "it was not"
            return f"{part} downloaded before, and this worker is offline"
        if isinstance(error, LocalEntryNotFoundError):
            cause = error.__cause__
            return f"the hub does not answer ({type(cause).__name__}), and there is no copy in {self.cache}"
        return next(iter(str(error).splitlines()), type(error).__name__)
