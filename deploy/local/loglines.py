"""A JSON log line (`shared.logs`) as people read it. The files in `$DATA_DIR/log` keep the JSON."""

import json
from datetime import datetime
from typing import Any, cast

SILENT = frozenset({"time", "level", "process", "logger", "message", "exception"})
"""Not shown as `name=value`."""


def readable(line: str) -> str:
    """`12:53:29 WARNING the message  request=…`; any other line is returned as it is. May hold several lines."""
    if not line.startswith("{"):
        return line
    try:
        entry = cast("dict[str, Any]", json.loads(line))
        clock = datetime.fromisoformat(entry["time"]).astimezone().strftime("%H:%M:%S")
        level = "" if entry["level"] == "INFO" else f"{entry['level']} "
        fields = "".join(f"  {name}={value}" for name, value in entry.items() if name not in SILENT)
        trace = f"\n{entry['exception']}" if "exception" in entry else ""
        return f"{clock} {level}{str(entry['message']).strip()}{fields}{trace}"
    except (ValueError, KeyError, TypeError):
        return line
