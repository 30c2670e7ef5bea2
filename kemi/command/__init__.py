"""The operator's commands beside `run` and `db`, one file a subject. They work with and without a running Kamailio,
from the same settings; no process of Kamailio imports them.
"""

from __future__ import annotations

from kemi.command import call, check, edit, explain, probe, trunks
from kemi.command.base import Command, Failure

COMMANDS = {
    "check": Command("find what is wrong with the settings, the rows and their names", check.declare, check.run),
    "add": Command("write a new trunk", edit.declare_add, edit.add),
    "set": Command("change a trunk", edit.declare_set, edit.change),
    "enable": Command("let calls use a trunk again", edit.declare_name, edit.enable),
    "disable": Command("keep new calls from a trunk", edit.declare_name, edit.disable),
    "remove": Command("delete a trunk", edit.declare_name, edit.remove),
    "test": Command("ask a trunk's carrier whether it takes the trunk's credentials", probe.declare, probe.run),
    "explain": Command("say what would be done with a call, and why", explain.declare, explain.run),
    "trunks": Command("list the trunks, and what a running Kamailio knows of them", trunks.declare, trunks.run),
    "call": Command("place one call through the running Kamailio", call.declare, call.run),
}

__all__ = ["COMMANDS", "Failure"]
