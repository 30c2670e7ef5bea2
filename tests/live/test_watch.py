"""What the lab's Prometheus and Grafana are given: a real Prometheus scrapes a running Kamailio, its rules are right,
and every question of the dashboard has an answer.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.programs import Foreground, free_port, wait_for
from tests.harness.carrier import Script
from tests.harness.machine import PROJECT
from tests.harness.node import Kamailio, Native, Options
from tests.harness.pages import is_ready, page
from tests.harness.scene import CHALLENGING, Manner, Scene

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(not shutil.which("promtool"), reason="Debian's package prometheus is not installed"),
]

WATCH = PROJECT / "lab/watch"
WITHIN = 20.0  # seconds until Prometheus runs and has scraped
VARIABLES = {"$instance": ".*", "$trunk": ".*", "$__rate_interval": "1m"}  # as Grafana fills them in


class Prometheus:
    """The running server."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1/"

    def ask(self, what: str, **parameters: str) -> Any:
        """Return an answer's data. Raises OSError if there is none."""
        with urllib.request.urlopen(f"{self._url}{what}?{urllib.parse.urlencode(parameters)}", timeout=5) as answer:
            return json.load(answer)["data"]

    def values(self, expression: str) -> list[float]:
        return [float(one["value"][1]) for one in self.ask("query", query=expression)["result"]]

    def has_scraped(self) -> bool:
        try:
            return self.values("kemi_trunkauth_build_info") == [1]
        except OSError:
            return False


@pytest.fixture(scope="module")
def node(native: Native) -> Iterator[tuple[Kamailio, int]]:
    port = free_port()
    with native.running(Options(also={"TRUNKAUTH_HTTP": f"127.0.0.1:{port}"})) as running:
        running.wait_for("HTTP", lambda: is_ready(port), within=5)
        yield running, port


@pytest.fixture(scope="module")
def prometheus(node: tuple[Kamailio, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """The lab's configuration, with another target, and more often."""
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    config = (WATCH / "prometheus.yml").read_text()
    assert '"kamailio:9494"' in config
    config = config.replace('"kamailio:9494"', f'"127.0.0.1:{node[1]}"').replace("15s", "1s")
    (folder / "prometheus.yml").write_text(config)
    shutil.copy(WATCH / "rules.yml", folder)
    command = [
        "prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    program = Foreground("Prometheus", command, folder / "log", environment={"PATH": "/usr/bin:/bin"}, folder=folder)
    server = Prometheus(port)
    try:
        assert wait_for(server.has_scraped, WITHIN), program.log()[-2000:]
        yield server
    finally:
        program.stop()


def promtool(*arguments: str | Path, given: bytes = b"") -> str:
    done = subprocess.run(["promtool", *arguments], input=given, capture_output=True, timeout=60, check=False)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


def test_the_rules_are_rules_and_fire_as_their_tests_say() -> None:
    assert "8 rules found" in promtool("check", "rules", WATCH / "rules.yml")
    promtool("test", "rules", WATCH / "rules_test.yml")


def test_promtool_finds_nothing_to_mend_in_the_page(node: tuple[Kamailio, int]) -> None:
    assert promtool("check", "metrics", given=page(node[1], "/metrics").encode()) == ""


def expressions() -> Iterator[str]:
    dashboard = json.loads((WATCH / "grafana/kemi-trunkauth.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            assert "$" not in expression
            yield expression


def test_every_question_of_the_dashboard_and_of_the_rules_has_an_answer(
    node: tuple[Kamailio, int], prometheus: Prometheus
) -> None:
    with Scene(node[0], Manner.NEW) as scene:
        good, bad = scene.trunk(CHALLENGING), scene.trunk(Script(ring=False, final=500))
        node[0].database.execute("INSERT INTO trunk (l_uuid, max_calls) VALUES (?, 2)", (good.uuid,))
        node[0].wait_until_looked_at()

        def are_counted() -> bool:
            for trunk, status in ((good, 200), (good, 200), (bad, 500)):
                call = scene.call(trunk)
                call.expect(status)
                if status == 200:
                    call.inside("BYE").expect(200)
            failed = 'increase(kemi_trunkauth_calls_total{outcome="failed"}[1m]) > 0'
            return bool(prometheus.values(failed)) and bool(prometheus.values("kemi_trunkauth_max_calls"))

        node[0].wait_for("the calls in Prometheus", are_counted, WITHIN)
        unanswered = [one for one in expressions() if not prometheus.values(one)]
        assert unanswered == ['kemi_trunkauth_registered{instance=~".*",trunk=~".*"}']  # no row is to be registered
        rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
        assert [rule["health"] for rule in rules] == ["ok"] * 8
