"""The CSeq numbers that a carrier sees, each row derived from RFC 3261 22.2, 12.2.1.1, 13.2.2.4 or RFC 3262 7.2."""

from __future__ import annotations

import pytest

from kemi.dialog import cseq
from kemi.dialog.cseq import BEYOND, MOST_INVITES, Sequence, TooHighError

NOTHING = Sequence()


@pytest.mark.parametrize(
    ("highest", "base", "number"),
    [
        (0, 10, 10),  # nothing was sent yet
        (11, 10, 12),  # the INVITE went out as 10 and 11: the caller's BYE, 11, was raised by less
        (11, 12, 12),  # it was raised by just as much
        (11, 20, 20),  # CSeq may have gaps
    ],
)
def test_a_request_is_above_all_that_was_sent(highest: int, base: int, number: int) -> None:
    assert cseq.first(Sequence(highest), base) == number


@pytest.mark.parametrize(("highest", "last", "number"), [(0, 10, 11), (10, 10, 11), (14, 10, 15), (9, 10, 11)])
def test_a_resend_is_one_above_the_highest(highest: int, last: int, number: int) -> None:
    assert cseq.resend(Sequence(highest), last) == number


def test_a_number_is_below_two_to_the_31() -> None:
    assert (cseq.first(NOTHING, BEYOND - 1), cseq.resend(NOTHING, BEYOND - 2)) == (2**31 - 1, 2**31 - 1)
    with pytest.raises(TooHighError, match="2147483648"):
        cseq.first(NOTHING, BEYOND)
    with pytest.raises(TooHighError):
        cseq.first(Sequence(BEYOND - 1), 1)
    with pytest.raises(TooHighError):
        cseq.resend(NOTHING, BEYOND - 1)


def test_the_highest_stays_the_highest() -> None:
    sent = cseq.noted(NOTHING, "INFO", 10, 12)
    assert sent == Sequence(12)
    assert cseq.noted(sent, "INFO", 9, 11) == Sequence(12)


def test_the_last_invites_are_noted_the_newest_last() -> None:
    sent = NOTHING
    for number in range(1, MOST_INVITES + 2):
        sent = cseq.noted(sent, "INVITE", number, number + 5)
    assert sent.invites == ((2, 7), (3, 8), (4, 9), (5, 10))
    assert cseq.noted(sent, "INVITE", 3, 20).invites == ((2, 7), (4, 9), (5, 10), (3, 20))


def test_an_invite_is_found_by_the_number_that_its_caller_knows() -> None:
    sent = cseq.noted(cseq.noted(NOTHING, "INVITE", 10, 11), "INFO", 11, 12)
    assert cseq.of_invite(sent, 10, otherwise=99) == 11
    assert cseq.of_invite(sent, 11, otherwise=99) == 99


@pytest.mark.parametrize(
    ("value", "invite", "sent"),
    [
        ("7 10 INVITE", 10, "7 12 INVITE"),
        ("7 \t 0010  INVITE", 10, "7 12 INVITE"),
        ("7 ten INVITE", None, ""),
        (f"7 {'1' * 11} INVITE", None, ""),
        ("7 10", None, ""),
        ("", None, ""),
    ],
)
def test_a_rack_names_the_invite_as_it_was_sent(value: str, invite: int | None, sent: str) -> None:
    assert cseq.rack_cseq(value) == invite
    if sent:
        assert cseq.rack(value, 12) == sent


def test_an_invite_from_before_a_restart_raises_nothing() -> None:
    assert cseq.with_invite(Sequence(7, ((1, 3),)), 2, 9) == Sequence(7, ((1, 3), (2, 9)))
