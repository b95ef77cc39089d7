"""What members say to each other, as bytes: a stream of msgpack arrays `[kind, field, ...]`.

Knows the frame kinds' names and numbers from the table it is given, not their meaning. All
that comes from the wire is bounded in size and checked in shape before anyone sees it;
anything else ends the connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgpack

from kvraft import limits

Frame = tuple[Any, ...]
FromWire = Callable[[int, tuple[Any, ...]], Frame]


class MalformedFrame(Exception):
    """A peer sent bytes that are no frame of ours."""


class FrameEncoder:
    """Turns frames into bytes."""

    def __init__(self, numbers: Mapping[type[Frame], int]) -> None:
        self._numbers = numbers
        self._pack = msgpack.Packer(use_bin_type=True).pack

    def encode(self, frames: Iterable[Frame]) -> bytes:
        """The bytes of these frames, in order."""
        numbers, pack = self._numbers, self._pack
        return b"".join([pack((numbers[type(frame)], *frame)) for frame in frames])


class FrameDecoder:
    """Turns bytes from one connection into frames."""

    def __init__(self, from_wire: FromWire) -> None:
        self._from_wire = from_wire
        self._unpacker = bounded_unpacker()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames completed by `data`. Raises MalformedFrame."""
        try:
            self._unpacker.feed(data)
            for fields in self._unpacker:
                if type(fields) is not tuple or not fields or type(fields[0]) is not int:
                    raise MalformedFrame("not an array that begins with a frame kind")
                yield self._from_wire(fields[0], fields[1:])
        except (msgpack.UnpackException, ValueError) as error:
            raise MalformedFrame(str(error)) from error


def bounded_unpacker(max_bytes: int = limits.MAX_FRAME_BYTES) -> msgpack.Unpacker:
    """An unpacker for bytes from a peer: no maps, no text, no extensions, bounded size."""
    return msgpack.Unpacker(
        use_list=False,
        raw=False,
        max_buffer_size=max_bytes,
        max_bin_len=max_bytes,
        max_array_len=1 << 20,
        max_str_len=0,
        max_map_len=0,
        max_ext_len=0,
    )
