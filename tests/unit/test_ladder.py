"""The demo's ladder and verdict, from records as Kamailio's sipdump module writes them: what is shown was in the
record, a digest response never whole, and a call that lacks one thing is told which.
"""

from itertools import chain

import pytest

from kemi.command.ladder import Message, ladder
from lab.record import calls, read_record, shortfalls

PBX, KAMAILIO, CARRIER = "127.0.0.1:5080", "127.0.0.1:5060", "127.0.0.1:5090"
START = 1_700_000_000_000_000  # microseconds
NONCE = "awRqx2sEaZs1cW0o5yJ3dP8vF2nKFmeA"
RESPONSE = "6629fae49393a05397450978507c4ef1"  # RFC 2617 3.5
CHALLENGE = f'Digest realm="carrier.example", nonce="{NONCE}", qop="auth"'
CREDENTIALS = (
    f'Digest username="demo", realm="carrier.example", nonce="{NONCE}", uri="sip:1@carrier.example", qop=auth, '
    f'nc=00000001, cnonce="0a4f113b0a4f113b", response="{RESPONSE}", algorithm=MD5'
)

INVITE, ACK, BYE = (f"{method} sip:1@carrier.example SIP/2.0" for method in ("INVITE", "ACK", "BYE"))
OK, PROXY_CHALLENGE = "SIP/2.0 200 OK", "SIP/2.0 407 Proxy Authentication Required"

# source, destination, first line, CSeq, and the header that is about authentication, where there is one
Step = tuple[str, ...]
CALL: dict[str, Step] = {
    "the PBX's INVITE": (PBX, KAMAILIO, INVITE, "1 INVITE"),
    "INVITE": (KAMAILIO, CARRIER, INVITE, "1 INVITE"),
    "challenge": (CARRIER, KAMAILIO, PROXY_CHALLENGE, "1 INVITE", f"Proxy-Authenticate: {CHALLENGE}"),
    "ACK of the challenge": (KAMAILIO, CARRIER, ACK, "1 ACK"),
    "INVITE with credentials": (KAMAILIO, CARRIER, INVITE, "2 INVITE", f"Proxy-Authorization: {CREDENTIALS}"),
    "200 of INVITE": (CARRIER, KAMAILIO, OK, "2 INVITE"),
    "the PBX's 200 of INVITE": (KAMAILIO, PBX, OK, "1 INVITE"),
    "the PBX's ACK": (PBX, KAMAILIO, ACK, "1 ACK"),
    "ACK": (KAMAILIO, CARRIER, ACK, "2 ACK"),
    "the PBX's BYE": (PBX, KAMAILIO, BYE, "2 BYE"),
    "BYE": (KAMAILIO, CARRIER, BYE, "3 BYE"),
    "200 of BYE": (CARRIER, KAMAILIO, OK, "3 BYE"),
    "the PBX's 200 of BYE": (KAMAILIO, PBX, OK, "2 BYE"),
}


def entry(number: int, step: Step, call_id: str = "Call-ID: call-1") -> str:
    """One entry of a record (Kamailio's src/modules/sipdump/sipdump_write.c), `number` milliseconds from the start."""
    source, destination, first_line, cseq, *headers = step
    seconds, microseconds = divmod(START + number * 1000, 1_000_000)
    lines = [first_line, "Via: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1", call_id, f"CSeq: {cseq}", *headers]
    return (
        f"{'=' * 20}\ntag: {'snd' if source == KAMAILIO else 'rcv'}\npid: 4711\nprocess: 1\n"
        f"time: {seconds}.{microseconds:06}\ndate: Tue Nov 14 22:13:20 2023\nproto: udp ipv4\n"
        f"srcip: {source.partition(':')[0]}\nsrcport: {source.partition(':')[2]}\n"
        f"dstip: {destination.partition(':')[0]}\ndstport: {destination.partition(':')[2]}\n"
        f"{'~' * 20}\n" + "\r\n".join([*lines, "", ""]) + f"{'|' * 20}\n"
    )


def record(call: dict[str, Step]) -> str:
    return "".join(entry(number, step) for number, step in enumerate(call.values()))


def without(name: str) -> dict[str, Step]:
    return {step: CALL[step] for step in CALL if step != name}


def changed(name: str, old: str, new: str) -> dict[str, Step]:
    """The call with one step that says something else."""
    assert any(old in part for part in CALL[name])
    return {**CALL, name: tuple(part.replace(old, new) for part in CALL[name])}


def test_a_message_is_read_as_it_was_sent() -> None:
    [message] = read_record(entry(7, CALL["challenge"]))
    assert message == Message(
        microseconds=START + 7000,
        source=CARRIER,
        destination=KAMAILIO,
        first_line="SIP/2.0 407 Proxy Authentication Required",
        call_id="call-1",
        cseq="1 INVITE",
        auth=('Proxy-Authenticate: Digest realm="carrier.example" nonce=awRq…FmeA',),
    )
    assert (message.status, message.method, message.is_challenge) == (407, "INVITE", True)


def test_a_body_is_no_header() -> None:
    text = entry(0, CALL["INVITE"]).replace("|" * 20, f"Proxy-Authorization: {CREDENTIALS}\r\n{'|' * 20}")
    [message] = read_record(text)
    assert message.auth == ()


def test_messages_are_in_the_order_of_time() -> None:
    steps = list(CALL.values())[:3]
    written = "".join(entry(number, steps[number]) for number in (1, 2, 0))
    assert [message.source for message in read_record(written)] == [PBX, KAMAILIO, CARRIER]


def test_an_entry_that_is_still_being_written_is_left_out() -> None:
    first, second = entry(0, CALL["challenge"]), entry(1, CALL["INVITE with credentials"])
    whole = read_record(first + second)
    for length in range(len(second) - 1):  # the last character is the end of a complete line
        assert read_record(first + second[:length]) == whole[:1]
    for length in range(len(first) - 1):
        assert read_record(first[:length]) == []


def test_a_call_is_what_shares_its_call_id_with_an_invite() -> None:
    health_check = (PBX, KAMAILIO, "OPTIONS sip:127.0.0.1:5060 SIP/2.0", "1 OPTIONS")
    registration = (KAMAILIO, CARRIER, PROXY_CHALLENGE, "9 REGISTER", f"Proxy-Authenticate: {CHALLENGE}")
    others = entry(0, health_check, "Call-ID: other") + entry(50, registration, "Call-ID: another")
    compact = entry(60, CALL["BYE"], "i: call-1")
    found = calls(read_record(others + record(CALL) + compact))
    assert [(each.first_line, each.cseq) for each in found] == [step[2:4] for step in [*CALL.values(), CALL["BYE"]]]


@pytest.mark.parametrize("header", ["Authorization", "Proxy-Authorization"])
def test_credentials_are_shortened(header: str) -> None:
    [message] = read_record(entry(0, (KAMAILIO, CARRIER, INVITE, "2 INVITE", f"{header}: {CREDENTIALS}")))
    shown = 'Digest username="demo" realm="carrier.example" nonce=awRq…FmeA response=6629…4ef1'
    assert message.auth == (f"{header}: {shown}",)
    assert message.has_credentials
    drawn = ladder([message], {KAMAILIO: "Kamailio", CARRIER: "carrier"})
    assert "6629…4ef1" in drawn
    assert RESPONSE not in repr(message) + drawn


@pytest.mark.parametrize("response", ["", "6", "6629fae49393a053"])
def test_what_is_too_short_to_be_shortened_is_not_shown(response: str) -> None:
    text = entry(0, CALL["INVITE with credentials"]).replace(RESPONSE, response)
    [message] = read_record(text)
    assert message.auth[0].endswith(" response=…")


def test_the_ladder_shows_who_sent_what_to_whom() -> None:
    messages = calls(read_record(record({name: CALL[name] for name in list(CALL)[:3]})))
    trying = (KAMAILIO, PBX, "SIP/2.0 100 trying -- your call is important to us", "1 INVITE")
    messages += read_record(entry(3, trying))
    assert ladder(messages, {PBX: "PBX", KAMAILIO: "Kamailio", CARRIER: "carrier"}).splitlines() == [
        "        PBX                                 Kamailio                            carrier",
        "        127.0.0.1:5080                   127.0.0.1:5060                  127.0.0.1:5090",
        "    0.0 │─────────────── INVITE ──────────────▶│                                      │  1 INVITE",
        "    1.0 │                                      │─────────────── INVITE ──────────────▶│  1 INVITE",
        "    2.0 │                                      │◀─ 407 Proxy Authentication Required ─│  1 INVITE",
        "        │                                      │  Proxy-Authenticate: Digest          │",
        '        │                                      │    realm="carrier.example"           │',
        "        │                                      │    nonce=awRq…FmeA                   │",
        "    3.0 │◀─ 100 trying -- your call is import… │                                      │  1 INVITE",
    ]


def test_an_arrow_goes_past_the_columns_between_its_ends() -> None:
    messages = read_record(record({"INVITE": CALL["INVITE"]}))
    drawn = ladder(messages, {KAMAILIO: "Kamailio", PBX: "another", CARRIER: "carrier"}).splitlines()
    assert drawn[2] == f"    0.0 │{' INVITE '.center(76, '─')}▶│  1 INVITE"


def test_a_whole_call_falls_short_of_nothing() -> None:
    assert shortfalls(read_record(record(CALL)), PBX, CARRIER) == []


def test_a_call_challenged_with_401_falls_short_of_nothing() -> None:
    call = {
        **changed("challenge", "407 Proxy Authentication Required", "401 Unauthorized"),
        "INVITE with credentials": (KAMAILIO, CARRIER, INVITE, "2 INVITE", f"Authorization: {CREDENTIALS}"),
    }
    assert shortfalls(read_record(record(call)), PBX, CARRIER) == []


NO_CHALLENGE = "the carrier challenged no INVITE"
NOT_ACCEPTED = "the carrier accepted no INVITE with credentials"
NO_ACK = "the carrier got no ACK for the INVITE that it accepted"
CARRIER_BYE = "the carrier answered no BYE with success"
CHALLENGE_SEEN = "the PBX saw a 401 or 407"
PBX_INVITE = "the PBX's INVITE was not answered with success"
PBX_BYE = "the PBX's BYE was not answered with success"

# What is not challenged cannot be answered, and what is not accepted needs no ACK.
LACKING = {
    "no challenge": (without("challenge"), [NO_CHALLENGE, NOT_ACCEPTED, NO_ACK]),
    "a challenge of another request": (changed("challenge", "1 INVITE", "1 BYE"), [NO_CHALLENGE, NOT_ACCEPTED, NO_ACK]),
    "a challenge that comes late": ({**without("challenge"), "late": CALL["challenge"]}, [NOT_ACCEPTED, NO_ACK]),
    "no credentials": (changed("INVITE with credentials", "Proxy-Authorization", "Subject"), [NOT_ACCEPTED, NO_ACK]),
    "credentials refused": (changed("200 of INVITE", "200 OK", "403 Forbidden"), [NOT_ACCEPTED, NO_ACK]),
    "another INVITE accepted": (changed("200 of INVITE", "2 INVITE", "1 INVITE"), [NOT_ACCEPTED, NO_ACK]),
    "no ACK": (without("ACK"), [NO_ACK]),
    "ACK with another CSeq": (changed("ACK", "2 ACK", "3 ACK"), [NO_ACK]),
    "ACK to somebody else": (changed("ACK", CARRIER, PBX), [NO_ACK]),
    "no answer to BYE": (without("200 of BYE"), [CARRIER_BYE]),
    "BYE refused": (changed("200 of BYE", "200 OK", "481 Call/Transaction Does Not Exist"), [CARRIER_BYE]),
    "407 at the PBX": ({**CALL, "leak": (KAMAILIO, PBX, PROXY_CHALLENGE, "1 INVITE")}, [CHALLENGE_SEEN]),
    "401 at the PBX": ({**CALL, "leak": (KAMAILIO, PBX, "SIP/2.0 401 Unauthorized", "2 BYE")}, [CHALLENGE_SEEN]),
    "the PBX's INVITE unanswered": (without("the PBX's 200 of INVITE"), [PBX_INVITE]),
    "the PBX's INVITE refused": (changed("the PBX's 200 of INVITE", "200 OK", "503 No"), [PBX_INVITE]),
    "the PBX's BYE unanswered": (without("the PBX's 200 of BYE"), [PBX_BYE]),
    "the PBX's BYE refused": (changed("the PBX's 200 of BYE", "200 OK", "481 No"), [PBX_BYE]),
}


@pytest.mark.parametrize(("call", "faults"), LACKING.values(), ids=LACKING)
def test_a_call_that_lacks_one_thing_is_told_which(call: dict[str, Step], faults: list[str]) -> None:
    assert shortfalls(read_record(record(call)), PBX, CARRIER) == faults


def test_every_shortfall_has_a_call_that_shows_it() -> None:
    """Of no message at all everything is missing, but for what only too many can bring up."""
    assert {*shortfalls([], PBX, CARRIER), CHALLENGE_SEEN} == set(chain(*(faults for _, faults in LACKING.values())))
