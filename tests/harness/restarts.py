"""Calls that go on after Kamailio has ended and was started again. All stories that a file tells of them are played on
one Kamailio at once, because a start takes a second or two and a call does not.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from lab.programs import Foreground
from tests.harness.node import AS_IT_COMES, Installation, Kamailio, Options
from tests.harness.scene import Scene

T = TypeVar("T")
Story = Callable[[Scene], Iterator[None]]  # it yields where Kamailio is ended and started again
End = Callable[[Kamailio], None]


def signalled(number: int) -> End:
    """Send a signal to the whole process group, and wait for the end."""

    def end(kamailio: Kamailio) -> None:
        assert isinstance(kamailio.program, Foreground)
        kamailio.program.signal_all(number)
        kamailio.wait_for("the end", lambda: not kamailio.program.alive(), within=10)

    return end


ENDS: dict[str, End] = {
    "stopped": lambda kamailio: None,  # by its context: SIGTERM to the main process
    "killed": lambda kamailio: kamailio.program.kill(),
    "SIGTERM to all": signalled(signal.SIGTERM),
    "SIGINT to all": signalled(signal.SIGINT),
}


@dataclass
class Restarts:
    """A Kamailio that can be ended and started again at the same address, with the same state directory."""

    installation: Installation
    options: Options
    stack: contextlib.ExitStack
    kamailio: Kamailio

    def restart(self, *scenes: Scene, end: End = ENDS["killed"]) -> None:
        """End it and start it again, under these scenes. No log may show a password that it was given before."""
        secrets = self.kamailio.database.secrets
        end(self.kamailio)
        self.stack.close()
        self.kamailio = self.stack.enter_context(self.installation.running(self.options))
        self.kamailio.database.secrets |= secrets
        for scene in scenes:
            scene.kamailio = self.kamailio


@contextlib.contextmanager
def restarting(installation: Installation) -> Iterator[Restarts]:
    with contextlib.ExitStack() as stack:
        kamailio = stack.enter_context(installation.running(AS_IT_COMES))
        options = replace(AS_IT_COMES, state=kamailio.state, sip=kamailio.sip)
        yield Restarts(installation, options, stack, kamailio)


@dataclass
class Stories:
    """The stories of a file, by name. The first end that they see is a kill, the second one a stop."""

    told: dict[str, Story] = field(default_factory=dict)

    def tell(self, story: Story) -> None:
        self.told[_name(story)] = story

    def tell_each(self, cases: Mapping[str, T]) -> Callable[[Callable[[Scene, T], Iterator[None]]], None]:
        """Tell one for each of these, which it gets besides the scene."""

        def tell(story: Callable[[Scene, Any], Iterator[None]]) -> None:
            for name, case in cases.items():
                self.told[f"{_name(story)}: {name}"] = partial(_with, story, case)

        return tell

    def play(self, installation: Installation) -> dict[str, Exception | None]:
        """Play all of them, and return what was wrong with each."""
        with restarting(installation) as restarts:
            played = {name: Played(story, Scene(restarts.kamailio)) for name, story in self.told.items()}
            for end in ("killed", "stopped"):
                going_on = [each for each in played.values() if each.goes_on()]
                restarts.restart(*(each.scene for each in going_on), end=ENDS[end])
            assert not any(each.goes_on() for each in played.values()), "a story waits for one more restart"
        return {name: each.fault for name, each in played.items()}


class Played:
    """A story, as far as it has been played."""

    def __init__(self, story: Story, scene: Scene) -> None:
        self.scene = scene
        self.fault: Exception | None = None
        self._acts = _judged(story, scene)

    def goes_on(self) -> bool:
        """Play it up to the next restart; return False once it is over."""
        try:
            next(self._acts)
        except StopIteration:
            return False
        except Exception as fault:
            self.fault = fault
            return False
        return True


def _judged(story: Story, scene: Scene) -> Iterator[None]:
    with scene:
        yield from story(scene)


def _with(story: Callable[[Scene, Any], Iterator[None]], case: object, scene: Scene) -> Iterator[None]:
    return story(scene, case)


def _name(story: Callable[..., Iterator[None]]) -> str:
    return story.__name__.replace("_", " ")
