"""Identities are values that paid replies are found by: they never change."""

from __future__ import annotations

from mergeit_async.ids import group_id, merged_id, preamble_id, request_key, row_id
from mergeit_async.records import Example, Message

ADD = Example("Add.", "1 2", "3")
ODD = Example('Größe\n"漢字"\u2028', "\x00\t", "😀\\")
PREAMBLE = (Message("system", "Merge."), Message("user", "a"), Message("assistant", "b"))


def _key(text: str) -> str:
    return request_key(
        endpoint="main",
        model="m",
        preamble=preamble_id(PREAMBLE),
        turn=Message("user", text),
        parameters={"temperature": 0.25, "max_tokens": 600},
        sample=1,
    )


def test_ids_of_rows_are_what_they_always_were() -> None:
    assert row_id(ADD, 0) == "62b521fb17f2a6c723cded2e6f5a3517"
    assert row_id(ODD, 7) == "58b60b528dec90bb1200bbe4e8841790"
    assert merged_id(ADD, "c" * 32) == "16dd367d9bc3abad6792a05dc91af5ec"


def test_ids_of_groups_are_what_they_always_were() -> None:
    assert group_id(["a" * 32, "b" * 32]) == "925450a911784822b72d3f0103c9e772"
    assert group_id([]) == "f77f00010f23abcb9e0d8d8e5604a6d2"


def test_keys_of_requests_are_what_they_always_were() -> None:
    assert preamble_id(PREAMBLE) == "52ceae79c834d115ed160420fc980996"
    assert _key("Add. + Count.") == "c2515a2b613b13da1e09b0e3a0cb041c"
    assert _key('Größe \u2028 漢字 "<"') == "6135bf2cbc78bb31a1c71a6d8c5e6b69"
