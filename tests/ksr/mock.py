"""A KSR that is as strict as Kamailio ought to be, for tests of routing scripts without one.

It differs from app_python3 on purpose in this, and in nothing else that is known (`probe.py` holds the two together):

- A wrong type, a missing or an extra argument raises. On 5.6.3 it is SystemError, as in Kamailio. 6.0 and 6.1 log a
  line, answer False, and drop extra arguments unseen: the mock raises WrongArgumentsError there, as it does in every
  version for an argument to a function that takes none.
- An unknown pseudo-variable, setting a read-only one, a second final reply, a relay after a relay, a shared table that
  is not configured raise MisuseError; so does what nobody has asked Kamailio in a branch or reply route.
- A function that the mock does not carry out raises MisuseError, once its arguments have been checked, unless a test
  says what it answers; one that no test has allowed to succeed fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

from tests.ksr import behaviours, native
from tests.ksr.api_list import Function, load
from tests.ksr.htable import CONFIG, SharedTables
from tests.ksr.message import Edits, Header, Message, parse
from tests.ksr.state import MisuseError, Relayed, Reply, Route, Run, State, World

_INT_BITS = 32


class WrongArgumentsError(TypeError):
    """Arguments that Kamailio 6 would log and refuse, or drop. Not raised by Kamailio."""


class MockKSR:
    """One Kamailio's KSR module, with one request at a time in it.

    ksr = MockKSR("6.0.1")
    ksr.world.sane = True                          # what the request meets: all refusals until a test says otherwise
    ksr.trust("198.51.100.0/24")
    ksr.receive(INVITE, source=("198.51.100.7", 5060))
    routes.ksr_request_route(None)
    assert ksr.relayed[0].ruri == "sip:5550100@carrier.example"
    with ksr.reply_route(407, "Proxy Authentication Required", [CHALLENGE]) as route:  # if one is armed
        getattr(routes, route)(None)
    with ksr.failure_route(407, "Proxy Authentication Required", [CHALLENGE]) as route:
        getattr(routes, route)(None)
    assert ksr.replies == [Reply(503, "Trunk Authentication Failed")]

    A branch route that is armed is run by t_relay, so it needs ksr.handlers = routes. What ksr.tables hold outlives the
    request; MockKSR(version, tables=ksr.tables) is another worker, and ksr.tables.pass_time(1801) lets entries expire.
    """

    def __init__(self, version: str = "6.0.1", handlers: object = None, tables: SharedTables | None = None) -> None:
        """handlers: whose methods the branch routes are. tables: those of another mock, which stands for another
        worker of the same Kamailio; if none are given, the empty ones of kamailio.cfg.
        """
        self.version = version
        self.tables = SharedTables.of(CONFIG) if tables is None else tables
        self.world = World()
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.log: list[tuple[str, str]] = []
        self.handlers = handlers
        self._functions = load(version).by_path
        self._modules = {f.module for f in self._functions.values() if f.module}
        self._answers: dict[str, Any] = {}
        self._state: State | None = None

    # --- what Kamailio's module has

    def __getattr__(self, name: str) -> Any:
        if name in self._modules:
            return _Module(self, name)
        return self._function(name, "KSR", name)

    def _function(self, path: str, module: str, name: str) -> Callable[..., Any]:
        function = self._functions.get(path)
        if function is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")

        def call(*args: Any, **keywords: Any) -> Any:
            if keywords:
                raise TypeError(f"{name}() takes no keyword arguments")
            checked = _check_arguments(self.version, function, args)
            self.calls.append((path, checked))
            return self._carry_out(function, checked)

        return call

    def _carry_out(self, function: Function, args: tuple[Any, ...]) -> Any:
        if function.path in self._answers:
            answer = self._answers[function.path]
            return answer(*args) if callable(answer) else answer
        behaviour = native.route if function.path == "route" else behaviours.TABLE.get(function.path)
        if behaviour is None:
            raise MisuseError(f"KSR.{function.path} is not in behaviours.TABLE; MockKSR.answer() says what it answers")
        if function.path not in behaviours.ASKED_IN.get(self.state.run.route, {function.path}):
            raise MisuseError(f"KSR.{function.path} in a {self.state.run.route.value} route: nobody has asked Kamailio")
        if function.path in behaviours.LEVELS:
            self.log.append((function.path, args[0]))
        return behaviour(self.state, *args)

    # --- what a test says

    def receive(self, message: str | bytes, source: tuple[str, int] = ("198.51.100.7", 5060)) -> None:
        """A request comes in: what follows is the run of the request route."""
        request = parse(message)
        run = Run(Route.REQUEST, Edits(), request.request_uri, new_branch=True)
        self._state = State(self.version, self.world, self.tables, request, source, run, handlers=self._run_handler)

    def trust(self, network: str, group: int = 1) -> None:
        """Put a source into the address table."""
        self.world.trusted.setdefault(group, []).append(ip_network(network))

    def answer(self, path: str, answer: Any) -> None:
        """What a function answers from now on: a value, or a callable that is given its arguments and may raise."""
        function = self._functions.get(path)
        if function is None:
            raise KeyError(f"Kamailio {self.version} has no KSR.{path}")
        if not callable(answer) and not _may_return(function, answer):
            raise TypeError(f"KSR.{function} does not return {answer!r}")
        self._answers[path] = answer

    @contextmanager
    def failure_route(self, code: int, reason: str = "", headers: Iterable[str | bytes] = ()) -> Iterator[str]:
        """The carrier's final reply arrives: yields the name of the failure route that is run for it.

        Afterwards the run's edits are dropped; a script that neither relayed nor replied has passed the reply on.
        """
        with self._failed(code, reason, _reply(code, reason, headers)) as route:
            yield route

    @contextmanager
    def reply_route(self, code: int, reason: str = "", headers: Iterable[str | bytes] = ()) -> Iterator[str]:
        """A reply of the carrier arrives: yields the name of the reply route that is run for it.

        Afterwards the caller has it, if it is provisional or a success; a failure is for failure_route(), which
        follows.
        """
        state = self.state
        if not state.relayed or not state.relayed_in_run:
            raise MisuseError("a reply to a request that was not relayed")
        if state.reply_route is None:
            raise MisuseError("no reply route was armed when the request was relayed")
        before = state.run
        state.run = Run(Route.REPLY, Edits(), before.ruri)
        state.reply_edits = state.run.edits
        state.reply = _with_dialog_fields(_reply(code, reason, headers), state.relayed[-1].message)
        state.reply_code, state.reply_reason = code, reason
        yield state.reply_route
        state.run = before
        if 100 < code < 300:
            state.pass_on()
        if code < 300:
            state.reply_edits = Edits()
        if 200 <= code < 300:
            state.final_reply_sent, state.relayed_in_run = True, False

    @contextmanager
    def timeout(self) -> Iterator[str]:
        """Nothing came from the carrier: the failure route runs for a local 408, which has no message."""
        with self._failed(408, "Request Timeout", None) as route:
            yield route

    @contextmanager
    def _failed(self, code: int, reason: str, reply: Message | None) -> Iterator[str]:
        state = self.state
        start = state.relayed_run
        if start is None or not state.relayed_in_run:
            raise MisuseError("a reply to a request that was not relayed")
        route = state.armed.pop(Route.FAILURE, None)
        if route is None:
            raise MisuseError(f"no failure route is armed: {code} goes to the caller")
        state.run = Run(Route.FAILURE, start.edits.copy(), start.ruri, start.dst_uri, start.socket)
        state.reply_code, state.reply_reason = code, reason
        state.reply = _with_dialog_fields(reply, state.relayed[-1].message) if reply else None
        state.local_reply = reply is None
        state.relayed_in_run = False
        yield route
        if not state.relayed_in_run and not state.final_reply_sent:
            state.final_reply_sent = True
            state.pass_on()

    # --- what a test asks

    @property
    def state(self) -> State:
        """The request in hand."""
        if self._state is None:
            raise MisuseError("a KSR call with no message in hand")
        return self._state

    @property
    def relayed(self) -> list[Relayed]:
        """The requests that left, in order."""
        return self.state.relayed

    @property
    def replies(self) -> list[Reply]:
        """The replies that the caller got, in order."""
        return self.state.replies

    @property
    def armed(self) -> dict[str, str]:
        """The failure, branch and reply routes that the next relay goes out with."""
        return {route.value: name for route, name in self.state.armed.items()}

    def called(self, path: str) -> list[tuple[Any, ...]]:
        """The arguments of every call of a function, in order."""
        return [args for called, args in self.calls if called == path]

    def _run_handler(self, name: str) -> None:
        if self.handlers is None:
            raise MisuseError(f"route {name} is armed, and the test gave MockKSR no handlers to run it")
        getattr(self.handlers, name)(None)


class _Module:
    """`KSR.tm` and its like."""

    def __init__(self, ksr: MockKSR, name: str) -> None:
        self._ksr = ksr
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return self._ksr._function(f"{self._name}.{name}", f"KSR.{self._name}", name)


def _reply(code: int, reason: str, headers: Iterable[str | bytes]) -> Message:
    lines = [line.encode() if isinstance(line, str) else line for line in headers]
    return parse(b"\r\n".join([f"SIP/2.0 {code} {reason}".encode(), *lines]))


def _with_dialog_fields(reply: Message, request: Message) -> Message:
    """The reply with what a UAS copies from the request, and a To tag (RFC 3261 8.2.6.2)."""
    copied = [h for h in request.headers if any(map(h.is_called, (b"From", b"Call-ID", b"CSeq")))]
    to = request.value("To") if b";tag=" in request.value("To") else request.value("To") + b";tag=carrier"
    return replace(reply, headers=(*copied, Header(b"To", to, b"To: %s\r\n" % to), *reply.headers))


def _may_return(function: Function, answer: object) -> bool:
    match function.returns:
        case "bool":
            return isinstance(answer, bool)
        case "xval":
            return answer is None or isinstance(answer, str | int)
    return isinstance(answer, int) and not isinstance(answer, bool)


def _check_arguments(version: str, function: Function, args: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(args) != len(function.params):
        raise _wrong(version, function, f"{len(args)} arguments")
    return tuple(_check(version, function, wanted, given) for wanted, given in zip(function.params, args, strict=True))


def _check(version: str, function: Function, wanted: str, given: object) -> str | int:
    if wanted == "str" and isinstance(given, str):
        return _check_text(version, function, given)
    if wanted in {"int", "long"} and isinstance(given, int):
        return _check_number(version, function, wanted, int(given))
    raise _wrong(version, function, f"{given!r} where {wanted} is wanted")


def _check_text(version: str, function: Function, given: str) -> str:
    if version.startswith("5.") and ("\0" in given or not _is_utf8(given)):
        raise _wrong(version, function, "not a C string")
    given.encode()  # 6.x: a lone surrogate raises UnicodeEncodeError
    return given


def _is_utf8(given: str) -> bool:
    try:
        given.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_number(version: str, function: Function, wanted: str, given: int) -> int:
    bits = 64 if wanted == "long" or not version.startswith("5.") else _INT_BITS
    if not -(2 ** (bits - 1)) <= given < 2 ** (bits - 1):
        raise SystemError(f"{function.name}: {given} does not fit")
    if wanted == "long":
        return given
    half: int = 2 ** (_INT_BITS - 1)
    return (given + half) % (2 * half) - half  # 6.x cuts off what does not fit an int: 2**40 is stored as 0


def _wrong(version: str, function: Function, what: str) -> Exception:
    if version.startswith("5.") and function.params:
        return SystemError(f"KSR.{function}: {what}")
    return WrongArgumentsError(f"KSR.{function}: {what}")
