"""Keep every wanted name resolved: ask before its time runs out, keep a good answer while nobody answers, say so once.

1. A new name is asked for at once; a resolved one again when nine tenths of its TTL are over.
2. If no server answers, the hops of before stay in use, and the question is asked again: after 1 s at first, then at
   growing intervals up to 30 s.
3. A name that does not exist, or exists no longer, has no hops; it is asked for again in the same way.

A tick does as much as fits into its time. What is unanswered then goes on in the next one.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import monotonic

from kemi.line import Line, notice, warning
from kemi.names.nameserver import NoAnswerError
from kemi.names.resolver import Answer
from kemi.trunks.hops import Hops, Target

MOST_AT_ONCE = 64  # names
PATIENCE = 1.0  # seconds for the first answer: who waits for it sends its request again meanwhile
EARLY = 0.9  # of its TTL, after which a name is asked for again
SHORTEST_TTL = 1.0
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
MOST_NAMED = 20  # lines of one tick about single names

Lines = list[Line]


@dataclass
class _Entry:
    """One name. asked_at: when it was asked for first. fault: why the last try failed, empty if it did not."""

    hops: Hops
    asked_at: float
    due: float = 0.0
    pause: float = FIRST_PAUSE
    fault: str = ""
    is_named: bool = False  # as unresolved, in the log
    question: asyncio.Task[Answer] | None = None


class Names:
    """All wanted names. stored: the hops of an earlier run by Target.key, which are good until there are newer ones."""

    def __init__(self, resolve: Callable[[Target], Awaitable[Answer]], stored: Mapping[str, Hops]) -> None:
        self._resolve = resolve
        self._stored = dict(stored)
        self._loop = asyncio.new_event_loop()
        self._entries: dict[Target, _Entry] = {}
        self._stale_since: float | None = None

    def hops(self) -> dict[Target, Hops]:
        """Return the hops of all names: none for one that could not be resolved, or takes longer than PATIENCE; a name
        that has just been asked for is left out.
        """
        now = monotonic()
        return {
            target: entry.hops
            for target, entry in self._entries.items()
            if entry.hops or entry.fault or now - entry.asked_at > PATIENCE
        }

    def tick(self, wanted: frozenset[Target], seconds: float) -> Lines:
        """Ask for what is due, and wait so long at most. Return lines for the log."""
        lines: Lines = []
        for target in self._entries.keys() - wanted:
            if question := self._entries.pop(target).question:
                question.cancel()
        for target in wanted - self._entries.keys():
            self._entries[target] = _Entry(self._stored.pop(target.key, ()), monotonic())
        if asked := self._ask():
            self._loop.run_until_complete(asyncio.wait(asked, timeout=seconds))
        for target, entry in self._entries.items():
            if (question := entry.question) is not None and question.done():
                entry.question = None
                self._heed(target, entry, question, lines)
        self._say_staleness(lines)
        if len(lines) > MOST_NAMED:
            lines[MOST_NAMED:] = [warning(outcome="more-names", lines=len(lines) - MOST_NAMED)]
        return lines

    def close(self) -> None:
        """Drop all questions."""
        questions = [entry.question for entry in self._entries.values() if entry.question]
        for question in questions:
            question.cancel()
        if questions:
            self._loop.run_until_complete(asyncio.wait(questions))
        self._loop.close()

    def _ask(self) -> list[asyncio.Task[Answer]]:
        """Ask for the names that are due, those that have waited longest first; return all open questions."""
        asked = [entry.question for entry in self._entries.values() if entry.question]
        now = monotonic()
        due = [item for item in self._entries.items() if item[1].question is None and item[1].due <= now]
        for target, entry in sorted(due, key=lambda item: item[1].due)[: MOST_AT_ONCE - len(asked)]:
            entry.question = self._loop.create_task(self._question(target))
            asked.append(entry.question)
        return asked

    async def _question(self, target: Target) -> Answer:
        return await self._resolve(target)

    def _heed(self, target: Target, entry: _Entry, question: asyncio.Task[Answer], lines: Lines) -> None:
        """Take an answer, or take note that there is none."""
        error = question.exception()
        if error is None and (answer := question.result()).hops:
            if entry.is_named:
                lines.append(notice(name=target.host, outcome="resolved"))
            entry.hops, entry.fault, entry.is_named, entry.pause = answer.hops, "", False, FIRST_PAUSE
            entry.due = monotonic() + max(EARLY * answer.ttl, SHORTEST_TTL)
            return
        if error is None:
            entry.hops, entry.fault = (), question.result().fault
        else:
            entry.fault = str(error) if isinstance(error, NoAnswerError) else type(error).__name__
        if not entry.hops and not entry.is_named:
            entry.is_named = True
            lines.append(warning(name=target.host, outcome="unresolved", reason=entry.fault))
        entry.due = monotonic() + entry.pause * random.uniform(0.75, 1.25)  # noqa: S311
        entry.pause = min(2 * entry.pause, LONGEST_PAUSE)

    def _say_staleness(self, lines: Lines) -> None:
        """Say once that names in use cannot be refreshed, and once that they can again."""
        stale = [(target, entry) for target, entry in self._entries.items() if entry.hops and entry.fault]
        if stale and self._stale_since is None:
            self._stale_since = monotonic()
            target, entry = stale[0]
            lines.insert(0, warning(name=target.host, outcome="not-refreshed", reason=entry.fault))
        elif not stale and self._stale_since is not None:
            lines.insert(0, notice(outcome="names-refreshed", seconds=round(monotonic() - self._stale_since)))
            self._stale_since = None
