"""The script that app_python3 loads: it makes the routes and hands them to Kamailio. Nothing else belongs here.

It lies outside the package because app_python3 puts this folder first on sys.path: inside `kemi/`, every module of the
package would also be importable by its bare name.
"""

from __future__ import annotations

import os

from kemi.handlers import Handlers


def mod_init() -> Handlers:
    """Called by app_python3 once, before the workers fork."""
    return Handlers.from_environment(os.environ)
