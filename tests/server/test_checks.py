"""Who is right when members differ, and the frames by which they find out."""

from __future__ import annotations

from typing import Any

import pytest

from kvraft.server.checks import CheckReport, CheckVerdict, Judgement, judge
from kvraft.server.frames import FRAME_NUMBERS, frame_from_wire
from kvraft.transport.codec import FrameDecoder, FrameEncoder, MalformedFrame

A, B, C = b"a" * 32, b"b" * 32, b"c" * 32


@pytest.mark.parametrize(
    ("digests", "voters", "expected"),
    [
        ({1: A, 2: A, 3: A}, (1, 2, 3), Judgement(A, (1, 2, 3), ())),
        ({1: A, 2: B, 3: A}, (1, 2, 3), Judgement(A, (1, 3), (2,))),
        ({1: A, 2: A}, (1, 2, 3), Judgement(A, (1, 2), ())),
        ({1: A, 2: B}, (1, 2, 3), Judgement(None, (), (1, 2))),
        ({1: A, 2: B, 3: C}, (1, 2, 3), Judgement(None, (), (1, 2, 3))),
        ({1: A, 2: B}, (1, 2), Judgement(None, (), (1, 2))),
        ({1: A, 2: A}, (1, 2, 3, 4, 5), Judgement(None, (1, 2), ())),
        ({1: A, 2: A, 3: B, 4: C, 5: A}, (1, 2, 3, 4, 5), Judgement(A, (1, 2, 5), (3, 4))),
        ({1: A, 2: A, 3: B, 4: B}, (1, 2, 3, 4), Judgement(None, (), (1, 2, 3, 4))),
    ],
)
def test_more_than_half_of_the_voters_are_right(
    digests: dict[int, bytes], voters: tuple[int, ...], expected: Judgement
) -> None:
    assert judge(digests, voters) == expected


def test_learners_are_judged_and_do_not_judge() -> None:
    assert judge({1: A, 2: B, 8: B, 9: B}, (1, 2)) == Judgement(None, (), (1, 2, 8, 9))
    assert judge({1: A, 2: A, 9: B}, (1, 2)) == Judgement(A, (1, 2), (9,))


FRAMES: list[Any] = [
    CheckReport(1, 2, 3, 4, 5, A, b"0.1.0"),
    CheckVerdict(1, 2, 3, 4, 5, True, A),
]


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: type(frame).__name__)
def test_frames_survive_the_wire(frame: Any) -> None:
    encoded = FrameEncoder(FRAME_NUMBERS).encode([frame])
    assert list(FrameDecoder(frame_from_wire).feed(encoded)) == [frame]


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: type(frame).__name__)
@pytest.mark.parametrize("wrong", [None, -1, 2**64, b"x" * 65, "text", 1.5, ()])
def test_frames_with_a_wrong_field_are_refused(frame: Any, wrong: Any) -> None:
    number = FRAME_NUMBERS[type(frame)]
    for place in range(len(frame)):
        fields = (*frame[:place], wrong, *frame[place + 1 :])
        with pytest.raises(MalformedFrame):
            frame_from_wire(number, fields)
    with pytest.raises(MalformedFrame):
        frame_from_wire(number, frame[:-1])
