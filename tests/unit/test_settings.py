"""Settings: every variable of the contract, its default, and the one line that a wrong value gets."""

from pathlib import Path

import pytest

from kemi.settings import PROJECT, SettingError, Settings
from kemi.start import sockets
from kemi.start.sockets import Socket, reach
from kemi.trunks.listen import Listen

STATE = {"TRUNKAUTH_STATE_DIR": "/srv/state"}


def test_an_empty_environment_gives_the_contracts_defaults() -> None:
    settings = Settings.from_environment({"TRUNKAUTH_DEFAULT_TRUNK": "", "TRUNKAUTH_WORKERS": " "})
    assert settings.is_embedded
    assert settings.shown_db_url == f"sqlite:///{PROJECT}/var/trunkauth.sqlite"
    assert (settings.state_dir, settings.key_file) == (PROJECT / "var", PROJECT / "var/key")
    assert settings.listen == (Socket("udp", "127.0.0.1", 5060),)
    assert (settings.default_trunk, settings.reg_contact) == ("", "127.0.0.1:5060")
    assert (settings.workers, settings.memory, settings.log_level, settings.preemptive) == (4, 512, 1, True)
    assert (settings.ring_seconds, settings.setup_seconds) == (180, 300)
    assert (settings.log, settings.http, settings.rtpengine) == ("logfmt", None, None)


@pytest.mark.parametrize(("text", "address"), [
    ("127.0.0.1:9494", ("127.0.0.1", 9494)), ("[::1]:1", ("::1", 1)), ("localhost:9494", ("localhost", 9494)),
])  # fmt: skip
def test_where_http_is_served(text: str, address: tuple[str, int]) -> None:
    assert Settings.from_environment(STATE | {"TRUNKAUTH_HTTP": text}).http == address


@pytest.mark.parametrize(("text", "at", "profile"), [
    ("udp:127.0.0.1:2223", "udp:127.0.0.1:2223", "RTP/AVP"),
    ("udp:[::1]:2223 RTP/SAVP", "udp:[::1]:2223", "RTP/SAVP"),
    ("udp:localhost:2223  UDP/TLS/RTP/SAVP", "udp:localhost:2223", "UDP/TLS/RTP/SAVP"),
])  # fmt: skip
def test_where_rtpengine_is_and_how_carriers_want_rtp(text: str, at: str, profile: str) -> None:
    found = Settings.from_environment(STATE | {"TRUNKAUTH_RTPENGINE": text}).rtpengine
    assert found
    assert (found.at, found.profile, f" {profile}" in found.flags) == (at, profile, True)


def test_every_variable_is_read() -> None:
    settings = Settings.from_environment({
        "TRUNKAUTH_DB_URL": "postgresql+psycopg://kamailio:secret@db.example/trunks",
        "TRUNKAUTH_STATE_DIR": "/srv/state",
        "TRUNKAUTH_LISTEN": "udp:192.0.2.1:5060 tcp:[2001:db8::1]:5062",
        "TRUNKAUTH_DEFAULT_TRUNK": "backup",
        "TRUNKAUTH_REG_CONTACT": "sip.example:5060",
        "TRUNKAUTH_WORKERS": "8",
        "TRUNKAUTH_MEMORY": "2048",
        "TRUNKAUTH_RING_SECONDS": "45",
        "TRUNKAUTH_SETUP_SECONDS": "90",
        "TRUNKAUTH_LOG_LEVEL": "-1",
        "TRUNKAUTH_PREEMPTIVE": "off",
        "TRUNKAUTH_KEY_FILE": "/srv/shared/key",
    })  # fmt: skip
    assert not settings.is_embedded
    assert (settings.state_dir, settings.key_file) == (Path("/srv/state"), Path("/srv/shared/key"))
    assert settings.listen == (Socket("udp", "192.0.2.1", 5060), Socket("tcp", "[2001:db8::1]", 5062))
    assert (settings.default_trunk, settings.reg_contact) == ("backup", "sip.example:5060")
    assert (settings.workers, settings.memory, settings.log_level, settings.preemptive) == (8, 2048, -1, False)
    assert (settings.ring_seconds, settings.setup_seconds) == (45, 90)


def test_a_call_that_may_ring_for_longer_may_take_as_long_to_set_up() -> None:
    settings = Settings.from_environment(STATE | {"TRUNKAUTH_RING_SECONDS": "600"})
    assert (settings.ring_seconds, settings.setup_seconds) == (600, 600)


FILES = {
    "sqlite:////srv/trunks.sqlite": "/srv/trunks.sqlite",
    "postgresql+psycopg://u:p@h/d": None,
    "mysql+pymysql://u:p@h:3307/d": None,
    "": "/srv/state/trunkauth.sqlite",
}


@pytest.mark.parametrize(("url", "file"), FILES.items())
def test_calls_are_served_from_a_copy_of_whatever_database(url: str, file: str | None) -> None:
    settings = Settings.from_environment(STATE | {"TRUNKAUTH_DB_URL": url})
    assert settings.db_file == (Path(file) if file else None)
    assert settings.local_file == Path("/srv/state/replica.sqlite")
    assert settings.kamailio_db_url == "sqlite:////srv/state/replica.sqlite"


def test_rows_are_held_against_the_sockets() -> None:
    listen = "udp:192.0.2.1:5060 tcp:[2001:DB8::1]:5062 udp:lo:5064 udp:sip.example:5066 udp:10.0.0.5:5068/192.0.2.1"
    assert Settings.from_environment(
        STATE | {"TRUNKAUTH_LISTEN": listen, "TRUNKAUTH_REG_CONTACT": "h"}
    ).rules.listen == (
        Listen("udp", "192.0.2.1", 5060),
        Listen("tcp", "[2001:db8::1]", 5062),
        Listen("udp", "", 5064),
        Listen("udp", "", 5066),
        Listen("udp", "10.0.0.5", 5068),
    )


def test_a_password_may_come_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("p@ss/w:rd\n")
    url = "postgresql+psycopg://u@h/d"
    settings = Settings.from_environment(STATE | {"TRUNKAUTH_DB_URL": url, "TRUNKAUTH_DB_PASSWORD_FILE": str(secret)})
    assert settings.db_url.password == "p@ss/w:rd"
    assert "p@ss" not in repr(settings)


WRONG = [
    ("TRUNKAUTH_DB_URL", "nonsense"),
    ("TRUNKAUTH_DB_URL", "oracle://u:p@h/d"),
    ("TRUNKAUTH_DB_URL", "postgresql://u:p@h/d"),
    ("TRUNKAUTH_DB_URL", "postgresql+psycopg://u:p@h:port/d"),
    ("TRUNKAUTH_DB_URL", "postgresql+psycopg://u:p@h"),
    ("TRUNKAUTH_DB_URL", "postgresql+psycopg://u:p@/d?host=a:1&host=b:2&port=3"),
    ("TRUNKAUTH_DB_URL", "postgresql+psycopg://u:p@/d?host=a:x&host=b"),
    ("TRUNKAUTH_DB_URL", "mysql+pymysql://u:p@h/d?ssl_check_hostname=perhaps"),
    ("TRUNKAUTH_DB_URL", "sqlite://"),
    ("TRUNKAUTH_DB_URL", "sqlite:///:memory:"),
    ("TRUNKAUTH_DB_URL", 'sqlite:////srv/a"b'),
    ("TRUNKAUTH_DB_INTERVAL", "0"),
    ("TRUNKAUTH_STATE_DIR", "/srv/a state"),
    ("TRUNKAUTH_STATE_DIR", '/srv/"state"'),
    ("TRUNKAUTH_STATE_DIR", "/" + "s" * 100),
    ("TRUNKAUTH_LISTEN", "127.0.0.1:5060"),
    ("TRUNKAUTH_LISTEN", "udp:127.0.0.1"),
    ("TRUNKAUTH_LISTEN", "udp:127.0.0.1:0"),
    ("TRUNKAUTH_LISTEN", "udp:127.0.0.1:65536"),
    ("TRUNKAUTH_LISTEN", "ws:127.0.0.1:5061"),
    ("TRUNKAUTH_LISTEN", "udp:127.0.0.1:5060/"),
    ("TRUNKAUTH_LISTEN", "udp:127.0.0.1:5060/192.0.2.1:0"),
    ("TRUNKAUTH_LISTEN", "udp:127.0.0.1:5060;tcp:127.0.0.1:5060"),
    ("TRUNKAUTH_DEFAULT_TRUNK", "x" * 65),
    ("TRUNKAUTH_DEFAULT_TRUNK", "two words"),
    ("TRUNKAUTH_REG_CONTACT", 'host"'),
    ("TRUNKAUTH_REG_CONTACT", "sip.example:99999"),
    ("TRUNKAUTH_REG_CONTACT", "sip.example:sip"),
    ("TRUNKAUTH_REG_CONTACT", "2001:db8::1"),
    ("TRUNKAUTH_RING_SECONDS", "0"),
    ("TRUNKAUTH_RING_SECONDS", "3601"),
    ("TRUNKAUTH_SETUP_SECONDS", "179"),
    ("TRUNKAUTH_WORKERS", "0"),
    ("TRUNKAUTH_WORKERS", "257"),
    ("TRUNKAUTH_WORKERS", "four"),
    ("TRUNKAUTH_WORKERS", "\uff14"),
    ("TRUNKAUTH_MAX_CPS", "-1"),
    ("TRUNKAUTH_MAX_CPS", "100001"),
    ("TRUNKAUTH_MEMORY", "31"),
    ("TRUNKAUTH_MEMORY", "1048577"),
    ("TRUNKAUTH_MEMORY", "1G"),
    ("TRUNKAUTH_LOG_LEVEL", "4"),
    ("TRUNKAUTH_LOG_LEVEL", "1.5"),
    ("TRUNKAUTH_KEY_FILE", "/srv/a key"),
    ("TRUNKAUTH_PREEMPTIVE", "on"),
    ("TRUNKAUTH_PREEMPTIVE", "Auto"),
    ("TRUNKAUTH_LOG", "JSON"),
    ("TRUNKAUTH_LOG", "xlog"),
    ("TRUNKAUTH_HTTP", "9494"),
    ("TRUNKAUTH_HTTP", "127.0.0.1"),
    ("TRUNKAUTH_HTTP", "127.0.0.1:0"),
    ("TRUNKAUTH_HTTP", "127.0.0.1:65536"),
    ("TRUNKAUTH_HTTP", "http://127.0.0.1:9494"),
    ("TRUNKAUTH_RTPENGINE", "127.0.0.1:2223"),
    ("TRUNKAUTH_RTPENGINE", "udp:127.0.0.1"),
    ("TRUNKAUTH_RTPENGINE", "udp:127.0.0.1:0"),
    ("TRUNKAUTH_RTPENGINE", "udp:127.0.0.1:2223 SRTP"),
    ("TRUNKAUTH_RTPENGINE", 'udp:127.0.0.1:2223 RTP/SAVP"'),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_one_line_that_names_the_variable(name: str, value: str) -> None:
    with pytest.raises(SettingError) as wrong:
        Settings.from_environment(STATE | {name: value})
    line = str(wrong.value)
    assert line.startswith(f"{name}: ")
    assert "\n" not in line


def test_a_password_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"^TRUNKAUTH_DB_PASSWORD_FILE: .*: No such file"):
        Settings.from_environment(
            STATE
            | {
                "TRUNKAUTH_DB_URL": "postgresql+psycopg://u@h/d",
                "TRUNKAUTH_DB_PASSWORD_FILE": str(tmp_path / "none"),
            }
        )


@pytest.mark.parametrize(
    "listen",
    [
        "udp:0.0.0.0:5060", "udp:0.0.0.0:5060/192.0.2.1", "tcp:[::]:5060", "udp:10.0.0.5:5060/0.0.0.0",
        "udp:[::0]:5060", "udp:[0:0:0:0:0:0:0:0]:5060", "udp:[fd00::5]:5060/[0::]",
    ],
)  # fmt: skip
def test_a_wildcard_is_no_address(listen: str) -> None:
    with pytest.raises(SettingError, match=r"^TRUNKAUTH_LISTEN: '.*' is no address that others can reach"):
        Settings.from_environment(STATE | {"TRUNKAUTH_LISTEN": listen})


ADVERTISED = {
    "udp:10.0.0.5:5060/203.0.113.5:5080": ("203.0.113.5:5080", "udp:10.0.0.5:5060 advertise 203.0.113.5:5080"),
    "tcp:10.0.0.5:5070/sip.example": ("sip.example:5070", "tcp:10.0.0.5:5070 advertise sip.example:5070"),
    "udp:[fd00::5]:5060/[2001:db8::5]": ("[2001:db8::5]:5060", "udp:[fd00::5]:5060 advertise [2001:db8::5]:5060"),
    "udp:10.0.0.5:5060": ("10.0.0.5:5060", "udp:10.0.0.5:5060"),
}


@pytest.mark.parametrize(("listen", "contact", "statement"), [(key, *value) for key, value in ADVERTISED.items()])
def test_an_advertised_address_is_called_back(listen: str, contact: str, statement: str) -> None:
    settings = Settings.from_environment(STATE | {"TRUNKAUTH_LISTEN": listen})
    assert (settings.reg_contact, settings.listen[0].statement) == (contact, statement)
    assert Socket.parse(str(settings.listen[0])) == settings.listen[0]


def test_an_interface_without_an_address_asks_for_a_contact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_addresses_of_interface", lambda _: ())
    environment = STATE | {"TRUNKAUTH_LISTEN": "udp:lo:5060"}
    with pytest.raises(SettingError, match=r"^TRUNKAUTH_REG_CONTACT: not set"):
        Settings.from_environment(environment)
    assert (
        Settings.from_environment(environment | {"TRUNKAUTH_REG_CONTACT": "sip.example"}).reg_contact == "sip.example"
    )


def test_an_interface_is_called_back_at_its_address() -> None:
    assert Settings.from_environment(STATE | {"TRUNKAUTH_LISTEN": "udp:lo:5060"}).reg_contact == "127.0.0.1:5060"


SERVERS = {
    "postgresql+psycopg://u:p@/d?host=a:5432&host=b:5433": ("a,b", "5432,5433"),
    "postgresql+psycopg://u:p@/d?host=a,b&port=5432,5433": ("a,b", "5432,5433"),
    "postgresql+psycopg://u:p@h:5432/d?sslmode=verify-full&sslrootcert=/etc/ca.pem": ("h", 5432),
    "mysql+pymysql://u:p@h:3306/d?ssl_ca=/etc/ca.pem&ssl_check_hostname=true": ("h", 3306),
}


@pytest.mark.parametrize("url", SERVERS)
def test_options_of_the_driver_reach_it(url: str) -> None:
    db_url = Settings.from_environment(STATE | {"TRUNKAUTH_DB_URL": url}).db_url
    _, options = db_url.get_dialect()().create_connect_args(db_url)
    assert (options["host"], options["port"]) == SERVERS[url]


SECRET_URLS = [
    "postgresql+psycopg://u:secret@h/d",
    "postgresql://u:secret@h/d",
    "://u:secret@h/d",
    "postgresql+psycopg://u@/d?host=a&host=b&password=secret&sslpassword=secret",
    "postgresql+psycopg://u:secret@/d?host=a:x&host=b",
]


@pytest.mark.parametrize("url", SECRET_URLS)
def test_a_database_password_is_never_shown(url: str) -> None:
    try:
        settings = Settings.from_environment(STATE | {"TRUNKAUTH_DB_URL": url})
        shown = f"{settings!r} {settings.shown_db_url}"
    except SettingError as wrong:
        shown = f"{wrong} {wrong.__cause__} {wrong.__suppress_context__ or wrong.__context__}"
    assert "secret" not in shown


def test_each_transport_reaches_the_addresses_of_its_sockets() -> None:
    listen = [Socket.parse(text) for text in ("tcp:[::1]:5060", "udp:[::1]:5060", "udp:eth0:5060")]
    assert list(reach(listen).items()) == [("udp", ("A", "AAAA")), ("tcp", ("AAAA",))]
