"""JSON as Go writes it."""

from __future__ import annotations

import pytest

from kvraft.api.response import go_json, message


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (7, "7"),
        (0.0, "0"),
        (2.0, "2"),
        (12.51731598553504, "12.51731598553504"),
        (0.000341, "0.000341"),
        (0.00001, "0.00001"),
        (1e-7, "1e-7"),
        (1.5e-12, "1.5e-12"),
        (9223372036854775807.0, "9223372036854776000"),
        (1e21, "1e+21"),
        (-0.5, "-0.5"),
        ('a<b>&\u2028\b"', '"a\\u003cb\\u003e\\u0026\\u2028\\u0008\\""'),
        ("\udcff", '"\\ufffd"'),
        ({"b": [1, "x"], "a": ()}, '{"b":[1,"x"],"a":[]}'),
    ],
)
def test_documents(value: object, text: str) -> None:
    assert go_json(value) == text.encode()


def test_messages_are_escaped() -> None:
    assert message('bad "id" <x>') == b'{"message":"bad \\"id\\" \\u003cx\\u003e"}'
