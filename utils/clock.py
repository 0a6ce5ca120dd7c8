"""The time as records write it."""

from datetime import UTC, datetime


def now() -> str:
    """Return the time in UTC, to the second, in ISO 8601: "2026-11-21T15:04:05+00:00"."""
    return datetime.now(UTC).isoformat(timespec="seconds")
