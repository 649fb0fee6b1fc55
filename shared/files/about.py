"""What a store remembers about a file besides its bytes, as text."""

import json
from dataclasses import dataclass
from datetime import datetime

from shared.files.base import Stat


@dataclass(frozen=True, slots=True)
class About:
    content_type: str
    etag: str
    expires_at: datetime | None

    def to_json(self) -> str:
        expires_at = self.expires_at.isoformat() if self.expires_at else None
        return json.dumps({"content_type": self.content_type, "etag": self.etag, "expires_at": expires_at})

    @classmethod
    def from_json(cls, text: str) -> "About":
        """Raises `ValueError` or `KeyError` for what `to_json` never wrote."""
        fields: dict[str, str | None] = json.loads(text)
        expires_at = fields["expires_at"]
        return cls(
            fields["content_type"] or "application/octet-stream",
            fields["etag"] or "",
            datetime.fromisoformat(expires_at) if expires_at else None,
        )

    def stat(self, size_bytes: int) -> Stat:
        return Stat(size_bytes, self.content_type, self.etag, self.expires_at)
