import os
import re
from pathlib import Path
from typing import Any

import pytest

from stream.config import (
    TOKEN_VARIABLE,
    VIEWER_TOKEN_VARIABLE,
    WEBHOOK_SECRET_VARIABLE,
    CameraConfig,
    Config,
    EventsConfig,
    GalleryConfig,
    NotifyConfig,
    RecognizerConfig,
    RuleConfig,
    Section,
    ServerConfig,
    VideoConfig,
    VisitorsConfig,
    WebhookConfig,
    load_config,
    parse_camera,
)
from stream.errors import ConfigError
from stream.frames import EventKind

ZONED = '[[cameras]]\nname = "a"\nurl = "x"\n[cameras.zones]\n'


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (TOKEN_VARIABLE, VIEWER_TOKEN_VARIABLE, WEBHOOK_SECRET_VARIABLE):
        monkeypatch.delenv(variable, raising=False)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "facewire.toml"
    path.write_text(text)
    return path


def test_defaults_are_the_demo_on_this_machine_only() -> None:
    config = load_config()
    assert config.is_demo
    assert (config.server.host, config.server.port) == ("127.0.0.1", 8080)


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "")) == load_config()


def test_a_flag_beats_the_file_and_the_file_the_default(tmp_path: Path) -> None:
    path = write(tmp_path, "[server]\nport = 1000\n[gallery]\nmargin = 0.2\n")
    config = load_config(path, {"server": {"port": 2000}})
    assert (config.server.port, config.gallery.margin) == (2000, 0.2)


def test_cameras_of_flags_replace_the_files(tmp_path: Path) -> None:
    path = write(tmp_path, '[[cameras]]\nname = "a"\nurl = "x.mp4"\n')
    assert [camera.name for camera in load_config(path).cameras] == ["a"]
    config = load_config(path, {"cameras": {"list": [parse_camera("b=y.mp4?a=b")]}})
    assert [(camera.name, camera.url) for camera in config.cameras] == [("b", "y.mp4?a=b")]
    assert not config.is_demo


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[serve]\n", "unknown key serve"),
        ("[server]\nprot = 1\n", "unknown key server.prot"),
        ("[server]\nport = -1\n", "server.port: Input should be greater than or equal to 0"),
        ('[server]\nport = "x"\n', "server.port"),
        ('[recognizer]\ndevice = "tpu"\n', "recognizer.device"),
        ("[server\n", "is not TOML"),
        ('[[cameras]]\nname = "a b"\nurl = "x"\n', "must be 1 to 64 letters"),
        ('[[cameras]]\nname = "a"\n', "cameras.0.url"),
        ('[[cameras]]\nname = "a"\nurl = "x"\nregion = [0.5, 0, 0.5, 1]\n', "x1 < x2"),
        ('[[cameras]]\nname = "a"\nurl = "x"\nrotation = 45\n', "cameras.0.rotation"),
        (f"{ZONED} porch = [[0, 0], [1, 0]]\n", "zones.porch: a zone has 3 to 20 points, got 2"),
        (f"{ZONED} porch = [[0, 0], [1, 0], [1, 1.5]]\n", "zones.porch.2.1"),
        (f"{ZONED} porch = [[0, 0], [1, 0], [0.5]]\n", "zones.porch.2"),
        (f"{ZONED} porch = [[0, 0], [1, 1], [1, 0], [0, 1]]\n", "zones.porch: the sides of a zone"),
        (f'{ZONED} "the porch" = [[0, 0], [1, 0], [1, 1]]\n', "must be 1 to 64 letters"),
        (f"{ZONED} porch = 5\n", "zones.porch"),
        (
            ZONED + "".join(f"z{n} = [[0, 0], [1, 0], [1, 1]]\n" for n in range(21)),
            "zones: Dictionary should have at most 20 items",
        ),
        ('[[webhooks]]\nurl = "ftp://user:hunter2@a/"\n', "begins with http:// or https://"),
        ('[video]\nice_servers = ["turn:me:hunter2"]\n', "stun:host:3478"),
        ('[video]\nice_servers = ["turn:h"]\n', "turn:h needs credentials"),
        ('[[webhooks]]\nurl = "http://a..b/"\n', "between single dots"),
        (f'[[webhooks]]\nurl = "http://{"a" * 70}/"\n', "1 to 63 characters"),
        ('[[webhooks]]\nurl = "http://a/"\nevents = ["leave"]\n', "webhooks.0.events"),
        (
            '[[cameras]]\nname = "a"\nurl = "x"\n[[cameras]]\nname = "a"\nurl = "y"\n',
            "two cameras are named 'a'",
        ),
    ],
)
def test_a_mistake_is_one_line_that_names_it(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


SECTIONS = ("server", "recognizer", "gallery", "events", "video", "cameras", "webhooks")
SHAPES = ("1", "1.5", "nan", "inf", "true", '"x"', "[]", "[1]", "[[]]", "{}", "1979-05-27")


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_section_of_any_shape_is_read_or_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str, shape: str
) -> None:
    path = write(tmp_path, f"{section} = {shape}\n")
    is_fine = shape in (("[]",) if section in ("cameras", "webhooks") else ("{}",))
    settings: tuple[dict[str, Any], ...] = (
        {},
        {"server": {"port": 1000}, "gallery": {"directory": tmp_path}},
    )
    for flags in settings:
        monkeypatch.setenv(TOKEN_VARIABLE, "0123456789abcdef")
        monkeypatch.setenv(WEBHOOK_SECRET_VARIABLE, "s3cret")
        if is_fine:
            load_config(path, flags)
            continue
        with pytest.raises(ConfigError) as caught:
            load_config(path, flags)
        assert section in str(caught.value)
        assert "\n" not in str(caught.value)


VALUES = (*SHAPES, "-1", "9223372036854775808", "1e400", '"\\u0000"', '""', "[nan, 0, 1, 1]")


@pytest.mark.parametrize("value", [*VALUES, "9" * 5000])
@pytest.mark.parametrize(
    ("section", "model"),
    [
        ("server", ServerConfig),
        ("recognizer", RecognizerConfig),
        ("gallery", GalleryConfig),
        ("events", EventsConfig),
        ("visitors", VisitorsConfig),
        ("video", VideoConfig),
        ("[cameras]", CameraConfig),
        ("[webhooks]", WebhookConfig),
        ("notify", NotifyConfig),
        ("[rules]", RuleConfig),
    ],
)
def test_a_value_of_any_kind_is_read_or_refused_in_one_line(
    tmp_path: Path, section: str, model: type[Section], value: str
) -> None:
    needed = {
        "[cameras]": 'name = "a"\nurl = "b.mp4"\n',
        "[webhooks]": 'url = "http://a/"\n',
        "[rules]": 'name = "a"\nthen = [{type = "push"}]\n',
    }
    for key in model.model_fields:
        lines = needed.get(section, "").splitlines(keepends=True)
        lines = [line for line in lines if not line.startswith(f"{key} =")]
        path = write(tmp_path, f"[{section}]\n{''.join(lines)}{key} = {value}\n")
        message = ""
        try:
            config = load_config(path)
        except ConfigError as error:
            message = str(error)
        else:
            assert "nan" not in repr(config)
            assert "inf" not in repr(config)
        assert "\n" not in message
        assert not message or str(path) in message or TOKEN_VARIABLE in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[server]\nport = 1 # caf\xe9\n", r"is not UTF-8 text \(byte 23\): save it as UTF-8"),
        (b"[server]\nport = 1\x00\n", "is not TOML"),
        (b"a = " + b"[" * 50_000, "is not TOML"),
        (b"a = " + b"9" * 5000, "is not TOML: a number"),
        (b"\xff\xfe[\x00", "is not UTF-8 text"),
        (b"x" * (4 * 2**20 + 1), "more than 4194304 bytes"),
    ],
)
def test_a_file_that_is_none_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "facewire.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load_config(path)


def test_what_editors_of_windows_write_is_read(tmp_path: Path) -> None:
    path = tmp_path / "facewire.toml"
    path.write_bytes(b"\xef\xbb\xbf[server]\r\nport = 1234\r\n")
    assert load_config(path).server.port == 1234


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="is a named pipe"):
        load_config(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="is a directory"):
        load_config(tmp_path)
    with pytest.raises(ConfigError, match="is a device"):
        load_config(Path("/dev/zero"))


def test_a_secret_that_is_not_text_is_refused_without_being_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "0123456789abcdef\udce9")
    with pytest.raises(ConfigError, match=r"server\.token: must be UTF-8") as caught:
        load_config()
    assert "0123456789" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*none\.toml: No such file"):
        load_config(tmp_path / "none.toml")


@pytest.mark.parametrize("text", ["", "door", "=rtsp://x", "door=", "a b=x"])
def test_a_camera_flag_needs_name_and_url(text: str) -> None:
    with pytest.raises(ConfigError, match="NAME=URL"):
        parse_camera(text)


def test_others_are_let_in_only_with_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    beyond = {"server": {"host": "0.0.0.0"}}
    with pytest.raises(ConfigError, match=TOKEN_VARIABLE):
        load_config(None, beyond)
    assert load_config(None, {"server": {"host": "0.0.0.0", "insecure": True}})
    monkeypatch.setenv(TOKEN_VARIABLE, "0123456789abcdef")
    assert load_config(None, beyond).server.token == "0123456789abcdef"


def test_a_viewers_token_needs_an_administrators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VIEWER_TOKEN_VARIABLE, "fedcba9876543210")
    with pytest.raises(ConfigError, match="set both"):
        load_config()
    monkeypatch.setenv(TOKEN_VARIABLE, "fedcba9876543210")
    with pytest.raises(ConfigError, match="two different"):
        load_config()
    monkeypatch.setenv(TOKEN_VARIABLE, "0123456789abcdef")
    assert load_config().server.viewer_token == "fedcba9876543210"


def test_a_webhook_takes_its_secret_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(
        tmp_path,
        '[[webhooks]]\nurl = "http://a/"\n'
        '[[webhooks]]\nurl = "https://b/"\nsecret = "own"\nevents = ["exit"]\n',
    )
    monkeypatch.setenv(WEBHOOK_SECRET_VARIABLE, "s3cret")
    config = load_config(path)
    assert [hook.secret for hook in config.webhooks] == ["s3cret", "own"]
    assert config.webhooks[1].events == (EventKind.EXIT,)
    assert "s3cret" not in repr(config)


def test_secrets_do_not_show_in_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "0123456789abcdef")
    cameras = {"cameras": {"list": [parse_camera("door=rtsp://user:hunter2@host/live")]}}
    shown = repr(load_config(None, cameras))
    assert "hunter2" not in shown
    assert "0123456789abcdef" not in shown


def test_the_shipped_file_changes_nothing() -> None:
    assert load_config(Path(__file__).parents[3] / "facewire.toml") == Config()


def test_smaller_faces_are_searched_in_cameras_than_in_photos() -> None:
    default, file = load_config(), load_config(overrides={"recognizer": {"min_face_px": 30}})
    assert (default.recognizer.min_face_px, default.recognizer.photo_min_face_px) == (24, 40)
    assert (file.recognizer.min_face_px, file.recognizer.photo_min_face_px) == (30, 30)


def test_a_database_names_the_place_of_people_and_is_not_shown(monkeypatch, tmp_path):
    path = tmp_path / "facewire.toml"
    path.write_text('[gallery]\ndatabase = "postgresql://ada:secret@db/faces"\n')
    config = load_config(path)
    assert config.gallery_place == "postgresql://ada:secret@db/faces"
    assert "secret" not in repr(config)
    assert not config.is_demo
    monkeypatch.setenv("FACEWIRE_DATABASE", "postgresql://other/faces")
    assert load_config(path).gallery_place == "postgresql://other/faces"
    for wrong in ("faces", "http://ada:secret@db/faces", "postgresql://ada:se@cret@db/faces"):
        monkeypatch.setenv("FACEWIRE_DATABASE", wrong)
        with pytest.raises(ConfigError, match=r"gallery\.database: .*postgresql://") as caught:
            load_config(path)
        assert "cret" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 65, "many", 1.5])
def test_workers_are_a_number_or_auto(workers: object) -> None:
    with pytest.raises(ValueError, match='must be "auto" or 1 to 64, got'):
        RecognizerConfig.model_validate({"workers": workers})
    for good in ("auto", 1, 64):
        assert RecognizerConfig.model_validate({"workers": good}).workers == good


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('kind = "janus"', 'kind = "janus" needs url'),
        ('kind = "janus"\nurl = "http://a"', 'kind = "janus" needs url'),
        ('kind = "janus"\nurl = "ws://:8188"', "must be an address such as ws://HOST:8188"),
        ('kind = "janus"\nurl = "ws://a:0"', "must be an address such as ws://HOST:8188"),
        ('kind = "whip"', 'kind = "whip" needs url'),
        ('kind = "whip"\nurl = "http://a/whip"', "name it in cameras"),
        ('kind = "whip"\nurl = "http://a/{camera}"\nwatch_url = "ws://a"', "watch_url must be"),
        ('url = "rtsp://a"', "must be an address that begins with http://"),
        ('kind = "mcu"', "kind"),
        ("max_viewers = 1", "max_viewers"),
    ],
)
def test_an_sfu_needs_an_address_of_its_kind(tmp_path, lines, message):
    file = tmp_path / "facewire.toml"
    file.write_text(f"[sfu]\n{lines}\n")
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_config(file)


def test_the_secret_of_the_sfu_comes_from_the_environment(tmp_path, monkeypatch):
    file = tmp_path / "facewire.toml"
    file.write_text('[sfu]\nkind = "janus"\nurl = "wss://janus.example:8989/janus"\n')
    monkeypatch.setenv("FACEWIRE_SFU_SECRET", "s3cret")
    config = load_config(file)
    assert config.sfu.secret == "s3cret"
    assert "s3cret" not in repr(config)


def test_a_camera_has_zones(tmp_path: Path) -> None:
    zone = "porch = [[0, 0.5], [0.4, 0.5], [0.4, 1], [0, 1]]\n"
    text = f'{ZONED}{zone}[[cameras]]\nname = "b"\nurl = "y"\n'
    first, second = load_config(write(tmp_path, text)).cameras
    assert first.zones == {"porch": ((0, 0.5), (0.4, 0.5), (0.4, 1), (0, 1))}
    assert second.zones == {}
    assert CameraConfig.model_validate_json(first.model_dump_json()) == first


def test_cluster_needs_a_database_and_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEWIRE_CLUSTER_URL", "http://10.0.0.2:8080/")
    with pytest.raises(ConfigError, match=r"\[cluster\] needs the database of \[gallery\]"):
        load_config()
    monkeypatch.setenv("FACEWIRE_DATABASE", "postgresql://db.example/faces")
    assert load_config().cluster.url == "http://10.0.0.2:8080"
    for wrong in ("10.0.0.2:8080", "ws://10.0.0.2", "http://user:word@a", "http://a/?b", "http://"):
        monkeypatch.setenv("FACEWIRE_CLUSTER_URL", wrong)
        with pytest.raises(ConfigError, match="must be an address"):
            load_config()


def test_a_file_that_names_who_assigns_for_all_machines_is_still_accepted(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "[visitors]\nenabled = true\nall_machines = true\n"))
    assert config.visitors.enabled
