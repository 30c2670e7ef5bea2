"""The arithmetic of raised CSeqs, each row derived from RFC 3261 22.2 and 13.2.2.4 or RFC 3262 7.2."""

from __future__ import annotations

import pytest

from kemi import cseq
from kemi.cseq import Invites, Resend


@pytest.mark.parametrize(
    ("caller", "raised", "sent"),
    [
        (10, 0, Resend(11, 1)),  # the INVITE went out as 10, was challenged, and goes out again
        (10, 1, Resend(12, 2)),  # it went out as 11, and is challenged once more
        (11, 1, Resend(13, 2)),  # the BYE went out as 12
    ],
)
def test_a_resend_is_one_above_the_last_that_was_sent(caller: int, raised: int, sent: Resend) -> None:
    assert cseq.resend(caller, raised) == sent


ACKS: dict[str, tuple[Invites, int, int, int | None]] = {
    "nothing was raised": ({}, 10, 0, None),
    "its own INVITE was the last to be raised": ({10: 1}, 10, 1, None),
    "a challenged INFO came between": ({10: 1}, 10, 2, 11),
    "only a later INFO was raised": ({10: 0}, 10, 1, 10),
    "an INVITE that is not remembered": ({}, 10, 1, 10),
    "the re-INVITE's": ({10: 1, 12: 3}, 12, 3, None),
    "the first INVITE's, again, after the re-INVITE": ({10: 1, 12: 3}, 10, 3, 11),
}


@pytest.mark.parametrize(("invites", "caller", "raised", "ordered"), ACKS.values(), ids=ACKS)
def test_an_ack_has_the_cseq_of_its_invite(invites: Invites, caller: int, raised: int, ordered: int | None) -> None:
    assert cseq.ack(invites, caller, raised) == ordered


RACKS: dict[str, tuple[Invites, str, str | None]] = {
    "a raised INVITE": ({10: 2}, "7 10 INVITE", "7 12 INVITE"),
    "white space and leading zeros": ({10: 2}, "7 \t 0010  INVITE", "7 12 INVITE"),
    "an INVITE that was not raised": ({10: 0}, "7 10 INVITE", None),
    "another INVITE": ({9: 2}, "7 10 INVITE", None),
    "malformed": ({10: 2}, "7 ten INVITE", None),
    "too long a number": ({10: 2}, f"7 {'1' * 11} INVITE", None),
    "empty": ({10: 2}, "", None),
}


@pytest.mark.parametrize(("invites", "value", "sent"), RACKS.values(), ids=RACKS)
def test_a_rack_names_the_invite_as_it_was_sent(invites: Invites, value: str, sent: str | None) -> None:
    assert cseq.rack(invites, value) == sent


def test_the_last_invites_are_noted_the_newest_last() -> None:
    invites: Invites = {}
    for number in range(1, cseq.MOST_INVITES + 2):
        invites = cseq.noted(invites, number, raised=number + 5)
    assert list(invites.items()) == [(2, 7), (3, 8), (4, 9), (5, 10)]
    assert list(cseq.noted(invites, 3, raised=20)) == [2, 4, 5, 3]
