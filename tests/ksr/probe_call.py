"""Starts a Kamailio with probe.cfg, places the two calls that questions.txt asks about, and brings back the answers.

    python -m tests.ksr.probe_call                  # answers/VERSION.json of the Kamailio that this machine has
    python -m tests.ksr.probe_call IMAGE            # … of the one in a container image

The same calls go through the mock (`through_the_mock`). Either gives a Record: what was answered, what was sent.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.ksr.api_list import HERE, Api
from tests.ksr.export import read_live
from tests.ksr.htable import SharedTables
from tests.ksr.message import Message, parse
from tests.ksr.mock import MockKSR
from tests.ksr.probe import Answers, Probe

ANSWERS = HERE / "answers"
UNREACHABLE = "sip:127.0.0.1:9;transport=tls"  # in questions.txt; probe.cfg has no TLS
PAUSE = 0.05  # seconds between two looks
LIMIT = 15.0  # seconds for Kamailio to start, and for each step of a call
EXPIRED = 2  # seconds after which the entries of probe.cfg's brief tables are gone: more than 1, and whole ones count
CLOCK_REALTIME_COARSE = 5  # clock_gettime(2): the one that time(2) reads, a tick behind time.time()

Address = tuple[str, int]


@dataclass(frozen=True)
class Answer:
    """What the carrier answers."""

    code: int
    reason: str
    headers: tuple[bytes, ...]


CHALLENGE = Answer(
    407,
    "Auth Please",
    (
        b'Proxy-Authenticate: Digest realm="car", nonce="n1", algorithm=MD5, qop="auth"',
        b'Proxy-Authenticate: Digest realm="car", nonce="n2", algorithm=SHA-256, qop="auth"',
        b"X-Latin: caf\xe9",
    ),
)
ACCEPTED = Answer(
    200,
    "OK",
    (
        b'Authentication-Info: nextnonce="n3", qop=auth',
        b'Authentication-Info: nextnonce="n4"',
        b'Proxy-Authentication-Info: nextnonce="n5"',
        b"X-Latin: caf\xe9",
    ),
)

# Call-ID -> what the carrier answers to the INVITEs of this call.
CALLS = {"probe": (CHALLENGE, CHALLENGE), "probe-2": (CHALLENGE, CHALLENGE, ACCEPTED)}
HAS_ROUTE = "probe-2"  # the call whose INVITE comes with a Route of ours


@dataclass(frozen=True)
class Record:
    """The probe's calls: the answers by route; each INVITE as it left: its start line and header fields; and each final
    reply that the caller got: its code and CSeq.
    """

    answers: Answers
    sent: list[list[str]]
    replies: list[str]

    def to_json(self, version: str) -> str:
        """The text of the committed file: one answer a line, so that two versions compare well."""
        routes = [f'  "{route}": {_lines(asked, "   ")}' for route, asked in self.answers.items()]
        answers = ",\n".join(routes)
        sent = ",\n".join(f"  {_lines(fields, '   ')}" for fields in self.sent)
        return (
            f'{{\n "kamailio": "{version}",\n "answers": {{\n{answers}\n }},\n "sent": [\n{sent}\n ],\n'
            f' "replies": {_lines(self.replies, "  ")}\n}}\n'
        )


def _lines(items: Sequence[object], indent: str) -> str:
    return "[\n" + ",\n".join(f"{indent}{json.dumps(item)}" for item in items) + f"\n{indent[:-1]}]"


def load_record(version: str) -> Record:
    """What this version answered when it was asked last."""
    stored = json.loads((ANSWERS / f"{version}.json").read_text(encoding="utf-8"))
    return Record(stored["answers"], stored["sent"], stored["replies"])


@dataclass(frozen=True)
class Ends:
    """The three addresses of the calls. A record has names for them, so that records of different ports compare."""

    caller: Address
    kamailio: Address
    carrier: Address

    def without_ports(self, text: str) -> str:
        """The text with the ports replaced by whose they are."""
        for name in ("caller", "kamailio", "carrier"):
            text = re.sub(rf"\b{getattr(self, name)[1]}\b", name.upper(), text)
        return text

    def invite(self, call_id: str) -> bytes:
        """The request that is asked about."""
        caller = f"127.0.0.1:{self.caller[1]}"
        route = f"Route: <sip:127.0.0.1:{self.kamailio[1]};lr;ta=1;tb=2>\r\n" if call_id == HAS_ROUTE else ""
        return (
            f"INVITE sip:5550100@127.0.0.1:{self.carrier[1]} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {caller};branch=z9hG4bK{call_id}\r\n"
            f"{route}"
            "Max-Forwards: 10\r\n"
            'f: "Al" <sip:alice@pbx.example>;tag=ft1\r\n'
            "To: <sip:5550100@pbx.example>\r\n"
            f"Call-ID: {call_id}\r\n"
            "CSeq: 1 INVITE\r\n"
            f"Contact: <sip:alice@{caller}>\r\n"
            "User-Agent: probe\r\n"
            "X-Multi: m0\r\n"
            "X-Multi: m1, m2\r\n"
            "X-Empty:\r\n"
            "Subject: hello\r\n"
            "X-Fold: a\r\n  b\r\n"
        ).encode() + b"X-Latin: caf\xe9\r\nContent-Length: 5\r\n\r\na\xff\0\r\n"

    def record(self, answers: Answers, sent: list[Message], replies: list[str]) -> Record:
        """A record of these calls."""
        named = {
            route: [[question, self.without_ports(answer)] for question, answer in asked]
            for route, asked in answers.items()
        }
        return Record(named, [self._fields(message) for message in sent], replies)

    def _fields(self, message: Message) -> list[str]:
        lines = [message.start_line, *(h.name + b": " + h.value for h in message.headers if not h.is_called(b"Via"))]
        return [_comparable(self.without_ports(line.decode("latin-1"))) for line in lines]


def _comparable(line: str) -> str:
    """A header field without what is Kamailio's own to choose."""
    if line.startswith("Record-Route:"):
        line = re.sub(r";(ftag|did)=[^;>]*", "", line)
    return re.sub(r"^(Proxy-Authorization: .*?nonce=\"n1\").*", r"\1", line)


def through_the_mock(version: str) -> Record:
    """The calls with the mock in Kamailio's place."""
    ends = Ends(("127.0.0.1", 41001), ("127.0.0.1", 41002), ("127.0.0.1", 41003))
    ksr = MockKSR(version, tables=SharedTables.of(HERE / "probe.cfg"))
    ksr.world.carrier = "127.0.0.1"
    ksr.world.sockets = (f"udp:127.0.0.1:{ends.kamailio[1]}",)
    ksr.world.sane = ksr.world.uac_answers = True
    ksr.world.unreachable.add(UNREACHABLE)
    ksr.trust("127.0.0.0/8")
    probe = ksr.handlers = Probe(ksr)
    sent: list[Message] = []
    replies: list[str] = []
    for call_id, answers in CALLS.items():
        ksr.receive(ends.invite(call_id), ends.caller)
        ksr.world.loose_route = -3 if call_id == HAS_ROUTE else -1
        probe.ksr_request_route(None)
        for answer in answers:
            _answer_in_the_mock(ksr, answer)
        sent += [relayed.message for relayed in ksr.relayed]
        replies.append(f"{ksr.replies[-1].code} {ksr.replies[-1].cseq}")
        ksr.tables.pass_time(EXPIRED)
    return ends.record(probe.answers, sent, replies)


def _answer_in_the_mock(ksr: MockKSR, answer: Answer) -> None:
    if "reply" in ksr.armed:
        with ksr.reply_route(answer.code, answer.reason, answer.headers) as route:
            getattr(ksr.handlers, route)(None)
    if answer.code >= 300:
        with ksr.failure_route(answer.code, answer.reason, answer.headers) as route:
            getattr(ksr.handlers, route)(None)


# --- live


@contextmanager
def _udp() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(LIMIT)
        yield udp


def through_a_live_one(image: str | None = None) -> tuple[Api, Record]:
    """The calls through the machine's own Kamailio, or the one in an image; and the API list that it gives."""
    with tempfile.TemporaryDirectory(prefix="ksr-probe-") as folder, _udp() as caller, _udp() as carrier:
        with _udp() as free:
            port = free.getsockname()[1]
        ends = Ends(caller.getsockname(), ("127.0.0.1", port), carrier.getsockname())
        with _kamailio(Path(folder), port, image):
            api = read_live(f"unixs:{folder}/rpc.sock")
            sent: list[Message] = []
            replies: list[str] = []
            for call_id, answers in CALLS.items():
                _wait_for_second(_whole_seconds() + EXPIRED if sent else 0)
                caller.sendto(ends.invite(call_id), ends.kamailio)
                sent += _answer_invites(ends, carrier, call_id, answers)
                replies.append(_final_reply(caller, call_id))  # a worker that is stopped before may leave a lock behind
            report = Path(folder, "report.json")
            _wait_until(report.exists, "the probe's report", Path(folder, "log"))
            return api, ends.record(json.loads(report.read_text(encoding="utf-8")), sent, replies)


@contextmanager
def _kamailio(folder: Path, port: int, image: str | None) -> Iterator[None]:
    (folder / "sources").write_text("1 127.0.0.0 8 0 loopback\n", encoding="utf-8")
    environment = {
        "KSR_PROBE_SCRIPT": str(HERE / "probe.py"),
        "KSR_PROBE_RPC": f"unixs:{folder}/rpc.sock",
        "KSR_PROBE_SOURCES": f"{folder}/sources",
        "KSR_PROBE_REPORT": f"{folder}/report.json",
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = ["kamailio", "-f", str(HERE / "probe.cfg"), "-DD", "-E", "-Y", str(folder), "-l", f"udp:127.0.0.1:{port}"]
    if image is not None:
        variables = [f"--env={name}={value}" for name, value in environment.items() if name != "PATH"]
        volumes = [f"--volume={HERE}:{HERE}:ro", f"--volume={folder}:{folder}"]
        run = [
            "docker",
            "run",
            "--rm",
            "--init",
            "--network=host",
            f"--user={os.getuid()}:{os.getgid()}",
            f"--name={folder.name}",
        ]
        command = [*run, *variables, *volumes, "--entrypoint=kamailio", image, *command[1:]]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait_until(lambda: _accepts(folder / "rpc.sock"), "Kamailio's RPC socket", folder / "log")
        yield
    finally:
        process.terminate()
        process.wait(LIMIT)


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as rpc:
        return rpc.connect_ex(str(path)) == 0


def _wait_until(condition: Callable[[], bool], what: str, log: Path) -> None:
    deadline = time.monotonic() + LIMIT
    pause = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
            raise TimeoutError("\n".join([f"{what} did not appear within {LIMIT} s; Kamailio's last words:", *lines]))
        pause.wait(PAUSE)


def _whole_seconds() -> int:
    """The clock that Kamailio's tables go by."""
    return int(time.clock_gettime(CLOCK_REALTIME_COARSE))


def _wait_for_second(second: int) -> None:
    pause = threading.Event()
    while _whole_seconds() < second:
        pause.wait(PAUSE)


def _answer_invites(ends: Ends, carrier: socket.socket, call_id: str, answers: Sequence[Answer]) -> list[Message]:
    """Answer the INVITEs of a call as they come. Returns them, without retransmissions."""
    came: dict[bytes, Message] = {}
    while len(came) < len(answers):
        request = parse(carrier.recv(65535))
        if request.method == b"INVITE" and request.get("Call-ID") == call_id:
            came.setdefault(request.value("Via"), request)
            carrier.sendto(_reply(request, answers[[*came].index(request.value("Via"))]), ends.kamailio)
    return list(came.values())


def _final_reply(caller: socket.socket, call_id: str) -> str:
    """The code and the CSeq of a call's final reply."""
    while True:
        reply = parse(caller.recv(65535))
        code = int(reply.start_line.split()[1])
        if reply.get("Call-ID") == call_id and code >= 200:
            return f"{code} {reply.get('CSeq')}"


def _reply(request: Message, answer: Answer) -> bytes:
    copied = [h.raw for h in request.headers if any(map(h.is_called, (b"Via", b"From", b"Call-ID", b"CSeq")))]
    to = b"To: " + request.value("To") + b";tag=tt1\r\n"
    tail = b"\r\n".join([*answer.headers, b"Content-Length: 0", b"", b""])
    return f"SIP/2.0 {answer.code} {answer.reason}\r\n".encode() + b"".join(copied) + to + tail


def main(arguments: list[str]) -> int:
    """Record the answers of a live Kamailio."""
    api, record = through_a_live_one(*arguments[:1])
    ANSWERS.mkdir(exist_ok=True)
    (ANSWERS / f"{api.version}.json").write_text(record.to_json(api.version), encoding="utf-8")
    print(f"{api.version}: {sum(map(len, record.answers.values()))} answers, {len(record.sent)} requests")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
