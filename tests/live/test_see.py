"""What an operator sees of calls: one line for each, and numbers that are those of the carriers and the callers."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kemi.flow.calls import MOST_TURNED_AWAY
from lab.programs import free_port
from tests.harness import logfmt
from tests.harness.agent import Exchange
from tests.harness.carrier import Script
from tests.harness.endpoint import Seen
from tests.harness.message import Message
from tests.harness.node import Installation, Kamailio, Options
from tests.harness.nonces import FOR_EVER, ONE_REQUEST, Nonces
from tests.harness.pages import is_ready, page
from tests.harness.scene import Scene, Trunk
from tests.harness.steps import credentials
from tests.harness.verifier import Challenge, Offer

pytestmark = [pytest.mark.once]

EACH = {"logfmt": 21, "json": 2}  # calls of an outcome at once: 504 in all, and a few
SCRAPED_EVERY = 0.1  # seconds
COUNTERS = ("calls_total", "attempts_total", "challenges_total", "preemptive_responses_total", "setup_seconds_count")
STRANGER = "127.0.0.2"
MOST_ANSWERED = 20  # requests of a stranger in ten seconds

MD5 = Challenge(nonces=Nonces(FOR_EVER))
SHA256 = Challenge(401, offers=(Offer("SHA-256"),), nonces=Nonces(ONE_REQUEST))


@dataclass
class Watched:
    """A Kamailio that tells everything, and where its pages are."""

    kamailio: Kamailio
    form: str
    port: int

    def metrics(self) -> dict[tuple[str, ...], float]:
        """The value of each sample by its name, its trunk, and its other labels' values."""
        found = {}
        for family in text_string_to_metric_families(page(self.port, "/metrics")):
            for sample in family.samples:
                labels = dict(sample.labels)
                trunk = [labels.pop("trunk")] if "trunk" in labels else []
                found[sample.name.removeprefix("kemi_trunkauth_"), *trunk, *labels.values()] = sample.value
        return found

    @contextlib.contextmanager
    def scraped(self) -> Iterator[list[dict[tuple[str, ...], float]]]:
        """Scrape all the time meanwhile; what was found is there at the end."""
        found, is_over = [self.metrics()], threading.Event()

        def scrape() -> None:
            while not is_over.wait(SCRAPED_EVERY):
                found.append(self.metrics())

        scraper = threading.Thread(target=scrape)
        scraper.start()
        try:
            yield found
        finally:
            is_over.set()
            scraper.join()
            found.append(self.metrics())

    def line(self, call: Exchange) -> Mapping[str, object]:
        """The one line about how a call has ended."""
        return self.ended([call])[call.request.call_id]

    def ended(self, calls: Collection[Exchange]) -> dict[str, Mapping[str, object]]:
        """The one line about how each call has ended, by its Call-ID."""
        ids = {call.request.call_id for call in calls}

        def found() -> list[Mapping[str, object]]:
            lines = [line for line in self.lines(self.kamailio.log()) if line.get("call-id") in ids]
            told = [line for line in lines if str(line["outcome"]).startswith("call-")]
            return told if len(told) >= len(ids) else []

        lines = self.kamailio.wait_for(f"lines about {len(ids)} calls", found, within=5)
        by_call = {str(line["call-id"]): line for line in lines}
        assert len(lines) == len(by_call) == len(ids)
        return by_call

    def lines(self, log: str) -> list[Mapping[str, object]]:
        """The product's lines."""
        if self.form == "logfmt":
            return list(logfmt.lines(log))
        return [json.loads(line) for line in log.splitlines() if line.startswith('{"level"')]


@dataclass
class Placed:
    """Calls of one kind over one trunk: what their ends have seen, and how they have to be told."""

    trunk: Trunk
    status: int
    outcome: str
    told: str
    attempts: int = 1
    calls: list[Exchange] = field(default_factory=list)


@pytest.fixture(scope="module", params=["logfmt", "json"])
def watched(request: pytest.FixtureRequest, installation: Installation) -> Iterator[Watched]:
    port = free_port()
    names = {"TRUNKAUTH_LOG": request.param, "TRUNKAUTH_LOG_LEVEL": "2", "TRUNKAUTH_HTTP": f"127.0.0.1:{port}"}
    with installation.running(Options(also={**names, "TRUNKAUTH_TRY_SECONDS": "1"})) as running:
        made = Watched(running, request.param, port)
        running.wait_for("HTTP", lambda: is_ready(port), within=5)
        yield made


@pytest.fixture
def scene(watched: Watched) -> Iterator[Scene]:
    with Scene(watched.kamailio, in_order=False) as stage:
        yield stage


def of_every_outcome(scene: Scene) -> list[Placed]:
    """Carriers that take a call, and that do not, each in its own way."""

    def ends(status: int) -> Trunk:
        return scene.trunk(Script(MD5, ring=False, final=status))

    return [
        Placed(ends(200), 200, "answered", "call-answered"),
        Placed(scene.trunk(Script(SHA256, ring=False)), 200, "answered", "call-answered"),
        Placed(scene.trunk(Script(ring=False)), 200, "answered", "call-answered"),
        Placed(ends(486), 486, "busy", "call-ended"),
        Placed(ends(603), 603, "declined", "call-ended"),
        Placed(scene.trunk(Script(MD5, final=None)), 487, "cancelled", "call-ended"),
        Placed(ends(404), 404, "rejected", "call-failed"),
        Placed(ends(403), 403, "rejected", "call-failed"),
        Placed(ends(500), 500, "failed", "call-failed"),
        Placed(ends(503), 503, "failed", "call-failed"),
        Placed(scene.trunk(Script(MD5), auth_password="wrong"), 503, "unauthenticated", "call-failed"),
        Placed(scene.trunk(auth_proxy="sip:127.0.0.1:9;transport=tcp"), 503, "failed", "call-failed"),
    ]


def place(scene: Scene, kinds: list[Placed], count: int) -> None:
    for kind in kinds:
        calls = [scene.call(kind.trunk) for _ in range(count)]
        kind.calls += calls
        for call in calls:
            if kind.outcome == "cancelled":
                call.expect(180)
                call.cancel().expect(200)
            call.expect(kind.status)
            if kind.status == 200:
                call.inside("BYE").expect(200)


def counted(found: Mapping[tuple[str, ...], float], name: str, trunk: str) -> dict[str, float]:
    """The samples of a counter for a trunk by the value of its other label, but those that are 0."""
    return {key[2]: value for key, value in found.items() if key[:2] == (name, trunk) and value}


def last_words(trunk: Trunk) -> Counter[str]:
    """The class of the carrier's last word in each call that has reached it."""
    last: dict[str, int] = {}
    for seen in trunk.carrier.trace:
        if is_final(seen):
            last[seen.message.call_id] = seen.message.status
    return Counter(f"{status // 100}xx" for status in last.values())


def is_final(seen: Seen) -> bool:
    return seen.sent and seen.message.status >= 200 and seen.message.cseq[1] == "INVITE"


def challenged(trunk: Trunk) -> int:
    """How many challenges of the carrier were answered: each by another INVITE of the same call."""
    asked = Counter(seen.message.call_id for seen in trunk.carrier.trace if is_final(seen) and is_challenge(seen))
    came = {(message.call_id, message.cseq[0]) for message in trunk.carrier.received("INVITE")}
    return sum(min(count, sum(one == call_id for one, _ in came) - 1) for call_id, count in asked.items())


def preemptive(trunk: Trunk) -> dict[str, int]:
    """What the carrier said to calls that came with credentials before it had asked."""
    first: dict[str, Message] = {}
    said: dict[str, str] = {}
    for seen in trunk.carrier.trace:
        message = seen.message
        if message.cseq[1] != "INVITE":
            continue
        asked = first.setdefault(message.call_id, message)
        if seen.sent and message.status > 100 and message.branch == asked.branch and credentials(asked):
            said.setdefault(message.call_id, "rejected" if is_challenge(seen) else "accepted")
    return dict(Counter(said.values()))


def is_challenge(seen: Seen) -> bool:
    return seen.message.status in (401, 407)


def test_every_call_has_its_line_and_every_counter_is_right(watched: Watched, scene: Scene) -> None:
    kinds = of_every_outcome(scene)
    each = EACH[watched.form]
    with watched.scraped() as scraped:
        place(scene, kinds, each)
        place(scene, kinds, each)  # now with preemptive credentials
        watched.ended([call for kind in kinds for call in kind.calls])
    found = scraped[-1]
    for kind in kinds:
        name, address = kind.trunk.uuid, "{}:{}".format(*kind.trunk.carrier.address)
        reached = kind.trunk.carrier.received("INVITE")
        lines = watched.ended(kind.calls)
        for call in kind.calls:
            line = lines[call.request.call_id]
            assert (line["outcome"], line["trunk"], str(line["status"])) == (kind.told, name, str(kind.status))
            assert call.final
            assert line["reason"] == call.final.reason
            assert (str(line["attempts"]), line["from"]) == ("1", "sip:100@pbx.test")
            assert line["carrier"] == (address if reached else "127.0.0.1:9")
            assert 0 <= float(str(line["seconds"])) < 10
        assert counted(found, "calls_total", name) == {kind.outcome: 2 * each}
        words = last_words(kind.trunk) if reached else Counter({"none": 2 * each})
        assert counted(found, "attempts_total", name) == dict(words)
        assert counted(found, "preemptive_responses_total", name) == preemptive(kind.trunk)
        answered = {
            key[2]: n for key, n in found.items() if key[:2] == ("challenges_total", name) and key[3] == "answered"
        }
        assert sum(answered.values()) == challenged(kind.trunk)
        assert found["setup_seconds_count", name] == (2 * each if kind.status == 200 else 0)
    assert {kind.trunk.uuid for kind in kinds if kind.outcome == "unauthenticated"} == {
        key[1] for key in found if key[0] == "challenges_total" and key[3] == "refused"
    }
    assert {"rejected", "accepted"} == {word for kind in kinds for word in preemptive(kind.trunk)}
    for before, after in pairwise(scraped):
        assert [key for key, value in before.items() if key[0] in COUNTERS and after[key] < value] == []
    assert len({sum(page[key] for key in page if key[0] == "calls_total") for page in scraped}) > 2  # also in between


def test_a_call_that_goes_on_has_one_line_with_its_attempts(watched: Watched, scene: Scene) -> None:
    full, silent = scene.trunk(Script(ring=False, final=503)), scene.trunk(Script(silent=True))
    taken = scene.trunk(Script(MD5, ring=False))
    for names, status, last, attempts in (((full, taken), 200, taken, 2), ((full, silent), 408, silent, 2)):
        call = scene.pbx.invite("sip:1@pbx.test", headers=[("X-Trunk", ", ".join(one.uuid for one in names))])
        call.expect(status)
        line = watched.line(call)
        assert (line["trunk"], str(line["attempts"]), str(line["status"])) == (last.uuid, str(attempts), str(status))
        assert line["carrier"] == "{}:{}".format(*last.carrier.address)
        if status == 200:
            call.inside("BYE").expect(200)
    found = watched.metrics()
    assert [found["attempts_total", full.uuid, status] for status in ("2xx", "5xx", "none")] == [0, 2, 0]
    assert found["attempts_total", silent.uuid, "none"] == found["calls_total", silent.uuid, "silent"] == 1
    assert found["calls_total", taken.uuid, "answered"] == 1


def test_the_place_in_the_line_is_the_last_one_that_the_call_was_sent_to(watched: Watched, scene: Scene) -> None:
    one, other = (scene.trunk(Script(ring=False, final=503)) for _ in range(2))
    full, closed = scene.trunk(), scene.trunk(auth_proxy="sip:127.0.0.1:9;transport=tcp")
    watched.kamailio.database.execute("INSERT INTO trunk (l_uuid, max_calls) VALUES (?, 1)", (full.uuid,))
    watched.kamailio.wait_until_looked_at()
    busy = scene.call(full)
    busy.expect(200)
    for trunks, last, attempts in (((full,), None, 0), ((one, other, full), other, 2), ((closed, full), closed, 1)):
        call = scene.pbx.invite("sip:1@pbx.test", headers=[("X-Trunk", ", ".join(each.uuid for each in trunks))])
        call.expect(503)
        line = watched.line(call)
        place = "" if last is None else "127.0.0.1:9" if last is closed else "{}:{}".format(*last.carrier.address)
        told = (line["trunk"], line["carrier"], str(line["attempts"]))
        assert told == ((last or full).uuid, place, str(attempts))
    busy.inside("BYE").expect(200)


def test_calls_that_find_no_trunk_have_their_line_and_strangers_no_more_than_a_few(
    watched: Watched, scene: Scene
) -> None:
    lost = scene.pbx.invite("sip:1@pbx.test", headers=[("X-Trunk", "nobody")])
    lost.expect(404)
    line = watched.line(lost)
    assert (line["outcome"], line["trunk"], line["reason"]) == ("call-failed", "", "No Trunk")
    before = len(watched.kamailio.log())
    stranger = scene.caller(host=STRANGER)
    calls = [stranger.invite("sip:1@pbx.test") for _ in range(MOST_ANSWERED + 1)]
    calls[0].expect(403)
    log = watched.kamailio.wait_for_log("not listed, and more than", after=before)
    lines = watched.lines(log)
    assert [line["source"] for line in lines if line["outcome"] == "dropped"] == [STRANGER]
    told = [line for line in lines if line["outcome"] == "call-failed"]
    assert 0 < len(told) <= MOST_TURNED_AWAY
    assert {str(line["status"]) for line in told} == {"403"}
