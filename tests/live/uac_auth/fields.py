"""Fields of challenges for the fuzzer: made of what carriers write, of edges, and of mutations of both."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))
PLAIN_TEXT = PRINTABLE.replace('"', "").replace("\\", "")
BAIT = (  # what a parser may take for something else
    "auth", "auth-int", ",", ", ", "=", ";", " ", "qop=auth", "realm=", ", nonce=x", "Digest ", "stale=true",
    "algorithm=MD5",
)  # fmt: skip
JUNK = (
    '"',
    "\\",
    '\\"',
    "\t",
    "\0",
    "\x0b",
    "\x0c",
    "\xa0",
    "\u2003",
    "é",
    "٣",
    "\r\n ",
    "\r\n\t",
    "\x7f",
    "=",
    ",",
    " ",
    "",
)
QOPS = (  # the first five are plain
    '"auth"', '"auth"', '"auth"', '"auth,auth-int"', '"auth,auth-int"',
    '"auth, auth-int"', '"auth-int"', '"AUTH"', "auth", '"auth-int,auth"', '" auth"', '"auth "', '",auth"', '"auth,"',
    '"\tauth"', '","', '""', '"authentic"', '"token,auth"', '"auth,,auth-int"', '"auth , auth-int"', '"\xa0auth"',
    '"a"', '"aut"',
)  # fmt: skip
ALGORITHMS = ("MD5", "MD5", "MD5", '"MD5"', "md5", "MD5-sess", "SHA-256", "", '""', "MD", "MD55", "MD5 ")
STALES = ("true", "false", "TRUE", "FALSE", '"true"', "True", "", '""', "tru", "falsehood")
SCHEMES = (
    "Digest ",
    "Digest ",
    "Digest ",
    "DIGEST ",
    "Digest  ",
    "digest ",
    "Digest",
    "Digest\t",
    "Digest   ",
    "Basic ",
    "",
)
GAPS = (",", ", ", ", ", ",  ", ",   ", " , ", ",,", ";", " ", ",\r\n ", "\t,")


def fields(seed: int) -> Iterator[str]:
    """Return fields without end, the same for the same seed."""
    random = Random(seed)
    while True:
        field = _well_formed(random) if random.random() < 0.7 else _careless(random)
        while random.random() < 0.2:
            field = _mutated(field, random)
        yield field


def _well_formed(random: Random) -> str:
    """Return a field that is plain as a rule, up to the lengths that it may have."""
    parameters = [f'realm="{_text(random, 128)}"', f'nonce="{_text(random, 512)}"']
    others = [
        f'opaque="{_text(random, 256)}"', f'domain="{_text(random, 256)}"', "algorithm=MD5",
        f"qop={random.choice(QOPS[:5])}", f"stale={random.choice(STALES[:4])}",
    ]  # fmt: skip
    parameters += random.sample(others, random.randrange(len(others) + 1))
    random.shuffle(parameters)
    gap = random.choice(GAPS[:4])
    return random.choice(SCHEMES[:5]) + gap.join(parameters)


def _careless(random: Random) -> str:
    """Return a field of parameters in every spelling, some twice, some not there."""
    parameters = [
        f"{name}{random.choice(('=', '=', '=', ' = ', ''))}{random.choice(values(random))}"
        for name, values in _CARELESS.items()
        for _ in range(random.choice((0, 1, 1, 1, 1, 1, 2)))
    ]
    random.shuffle(parameters)
    return random.choice(SCHEMES) + "".join(f"{one}{random.choice(GAPS)}" for one in parameters)


def _texts(random: Random) -> tuple[str, ...]:
    text = _text(random, 40)
    return f'"{text}"', f'"{text}"', f'"{text}"', text, '""', f'"{text}{random.choice(JUNK)}"', f"{text}="


_CARELESS = {
    "realm": _texts,
    "nonce": _texts,
    "opaque": _texts,
    "qop": lambda _: QOPS,
    "algorithm": lambda _: ALGORITHMS,
    "stale": lambda _: STALES,
    "charset": lambda _: ("UTF-8", "x"),
    "Realm": _texts,
}


def _text(random: Random, longest: int) -> str:
    """Return printable text, now and then as long as it may be, or one character longer."""
    if random.random() < 0.3:
        return "".join(random.choices(BAIT, k=random.randrange(1, 4)))
    length = random.choice((1, 2, random.randrange(1, 40), random.randrange(1, 40), longest, longest + 1))
    if length > 40:
        return random.choice(PLAIN_TEXT) * length
    return "".join(random.choices(PLAIN_TEXT, k=length))


def _mutated(field: str, random: Random) -> str:
    """Return the field with one piece changed: left out, doubled, or replaced."""
    start = random.randrange(len(field) + 1)
    end = min(len(field), start + random.choice((0, 1, 1, 2, 8)))
    piece = random.choice(
        ("", field[start:end] * 2, random.choice(JUNK), random.choice(BAIT), chr(random.randrange(0x100)))
    )
    return (field[:start] + piece + field[end:]).replace("\n", "\n ")
