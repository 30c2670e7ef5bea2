"""The ACK and the BYE that end a call which nobody waits for any more."""

from __future__ import annotations

from kemi.dialog.late import Answer, answered, farewell

ANSWER = Answer(
    sender="<sip:100@pbx.test>;tag=a",
    receiver="<sip:1@carrier.test>;tag=b",
    call_id="c",
    cseq=7,
    contact='"Gate <1>" <sip:gw@192.0.2.9:5070;transport=tcp>;q=1',
    routes="",
    source="sip:192.0.2.5:5060;transport=udp",
)


def test_they_go_where_the_answer_came_from() -> None:
    ack, bye = farewell(ANSWER)
    assert (ack.method, ack.uri, ack.next_hop) == ("ACK", "sip:gw@192.0.2.9:5070;transport=tcp", ANSWER.source)
    assert {ack.sender, bye.sender} == {ANSWER.sender}
    dialog = "To: <sip:1@carrier.test>;tag=b\r\nCall-ID: c\r\n"
    assert ack.fields == f"{dialog}CSeq: 7 ACK\r\nMax-Forwards: 70\r\n"
    assert bye.fields == f"{dialog}CSeq: 8 BYE\r\nMax-Forwards: 70\r\n"


def test_the_proxies_behind_us_come_in_reverse() -> None:
    routes = "<sip:far.test;lr>, <sip:near.test;lr>;x=1,<sip:192.0.2.1;lr;ta=AB>, <sip:pbx.test;lr>"
    _, bye = farewell(ANSWER._replace(routes=routes))
    assert bye.fields.endswith("Route: <sip:near.test;lr>;x=1\r\nRoute: <sip:far.test;lr>\r\n")


def test_a_contact_without_brackets_and_none() -> None:
    assert [one.uri for one in farewell(ANSWER._replace(contact="sip:gw@192.0.2.9;q=1"))] == ["sip:gw@192.0.2.9"] * 2
    assert farewell(ANSWER._replace(contact="")) == ()


def test_a_challenge_of_the_trunks_carrier_is_answered_once() -> None:
    ack, bye = farewell(ANSWER, "one")
    assert (ack.trunk, bye.trunk) == ("", "one")
    again = answered(bye, ["Authorization: Digest a\r\n"])
    assert again.fields == f"{bye.fields.replace('CSeq: 8 BYE', 'CSeq: 9 BYE')}Authorization: Digest a\r\n"
    assert again == bye._replace(fields=again.fields, trunk="")
