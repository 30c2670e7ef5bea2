"""The form of a command, and the way it fails."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple

from kemi.settings import Settings


class Failure(Exception):  # noqa: N818 (a command that fails is no error of ours)
    """A command that did not do its work; the text is one line for the operator. status: the program's."""

    def __init__(self, line: str, status: int = 1) -> None:
        super().__init__(line)
        self.status = status


class Command(NamedTuple):
    """help: one line. declare: adds the arguments to a parser. run: does the work and returns the exit status."""

    help: str
    declare: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Settings], int]
