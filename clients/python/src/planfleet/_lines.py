"""Lines and server-sent events out of the pieces that a body comes in.

Lines end with a line feed and nothing else: a model's text may have U+2028 in it, which
other readers of lines take for the end of one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ._errors import UnreachableError


class Lines:
    """Bytes become lines."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._rest = bytearray()

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The lines that a piece completes, without their ends."""
        # What was searched before has no end in it.
        searched = len(self._rest)
        self._rest += piece
        start = 0
        while (end := self._rest.find(b"\n", max(start, searched))) >= 0:
            yield bytes(self._rest[start:end]).removesuffix(b"\r")
            start = end + 1
        del self._rest[:start]
        if len(self._rest) > self._longest:
            raise UnreachableError(f"a line of the answer is longer than {self._longest} bytes")

    def last(self) -> bytes:
        """What comes after the last line feed."""
        return bytes(self._rest)


@dataclass
class Message:
    """A server-sent event."""

    kind: str = "message"
    data: str = ""
    #: The position to go on from; `None` where it has none.
    id: str | None = None


# What is told of one event is cut at some hundred bytes.
_LINE_MAX = 1 << 20


class Messages:
    """Bytes become server-sent events."""

    def __init__(self) -> None:
        self._lines = Lines(_LINE_MAX)
        self._message = Message()
        self._data: list[str] = []

    def feed(self, piece: bytes) -> Iterator[Message]:
        """The events that a piece completes."""
        for line in self._lines.feed(piece):
            if line:
                self._field(line.decode("utf-8", "replace"))
            elif self._data:
                message, self._message = self._message, Message()
                message.data = "\n".join(self._data)
                self._data = []
                yield message

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "id":
            self._message.id = value
        elif name == "event":
            self._message.kind = value
