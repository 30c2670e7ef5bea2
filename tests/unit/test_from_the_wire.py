"""docs/from-the-wire.md is complete: all that we give to Kamailio's C code stands there once, with what proves it."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
DOCUMENT = PROJECT / "docs/from-the-wire.md"
ARGUMENTS, MESSAGE, OWN, CONFIGURATION = (
    "As arguments", "By themselves", "Our own values only", "In the configuration",
)  # fmt: skip
Call = tuple[str, str]  # a function of KSR, and the function of kemi/sip that calls it


def rows(heading: str) -> list[list[str]]:
    """The rows of the table under a heading, each as its cells."""
    section = DOCUMENT.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("|")]
    return lines[2:]


def named(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def listed(*headings: str) -> Counter[Call]:
    return Counter(
        (function, caller)
        for heading in headings
        for row in rows(heading)
        for function in named(row[0])
        for caller in named(row[1])
    )


def called() -> Iterator[Call]:
    for path in (PROJECT / "kemi/sip").glob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.FunctionDef):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Attribute) and (name := ast.unparse(node)).startswith("KSR."):
                    yield name.removeprefix("KSR."), f"{path.stem}.{function.name}"


def whole_names(calls: set[Call]) -> set[Call]:
    """Without those that are the beginning of another one: KSR.pv of KSR.pv.get."""
    return {
        (name, by)
        for name, by in calls
        if not any(more.startswith(f"{name}.") and by == where for more, where in calls)
    }


def test_every_call_into_kamailio_is_listed() -> None:
    calls = whole_names(set(called()))
    assert len(calls) > 100
    assert set(listed(ARGUMENTS, MESSAGE, OWN)) == calls


def test_a_call_is_judged_once() -> None:
    """But for a function that gets more than one thing of the wire in one place."""
    once = listed(MESSAGE, OWN) + Counter(set(listed(ARGUMENTS)))
    assert {call for call, count in once.items() if count > 1} == set()


def test_what_is_given_from_the_wire_is_bounded_and_proved() -> None:
    for function, _, octets, bound, proofs in rows(ARGUMENTS):
        assert all([octets, bound]), function
        tests = [path for path in named(proofs) if path.startswith("tests/")]
        assert tests, function
        assert [path for path in tests if not (PROJECT / path).is_file()] == [], function


def test_the_functions_of_the_configuration_are_listed() -> None:
    ours = (PROJECT / "kamailio/trunkauth.inc.cfg").read_text().partition("\nonsend_route {")[2]
    by_tls = (PROJECT / "kamailio/tls.cfg").read_text().partition("\nroute[")[2]
    routes = ours + by_tls + (PROJECT / "kamailio/kamailio.cfg").read_text().partition("\nevent_route")[2]
    routes = re.sub(r"(?m)^#.*$|^\w+ .*$|^\w*route.*$", "", routes)
    functions = set(re.findall(r"(?<![$\w])(?<!\$\()([a-z_]+)\(", routes)) - {"if", "route", "modparam"} | set(
        re.findall(r"\b(drop);", routes)
    )
    assert functions
    assert {name for row in rows(CONFIGURATION) for name in named(row[0])} == functions
