"""What a KEMI script may call on every Kamailio that the project runs on: 5.6.3, 6.0.1, 6.1.5.

Generated from tests/ksr/api by `python -m tests.ksr.export stubs`; do not edit. A function that one of the versions
lacks, or has with another signature, is left out. Parameters have no names: a keyword argument raises TypeError.
"""

def is_maxfwd_lt(_1: int, /) -> int: ...
def process_maxfwd(_1: int, /) -> int: ...
