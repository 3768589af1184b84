"""Settings come from flags, then the environment, then a file, then defaults; what is wrong is named."""

import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recwire_server.cli import app
from recwire_server.config import Settings
from recwire_server.setting_source import SettingsError, load_settings


def test_the_stronger_source_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A flag over a variable, a variable over the file, the file over the default."""
    file = tmp_path / "recwire.toml"
    file.write_text('recall_target = 0.5\ndrain_s = 5.0\ndecay_per_event = 0.5\nlisten = "127.0.0.1:1"\n')
    monkeypatch.setenv("RECWIRE_DRAIN_S", "6")
    monkeypatch.setenv("RECWIRE_DECAY_PER_EVENT", "0.6")

    settings = load_settings({"decay_per_event": 0.7, "drain_s": None}, file)

    assert (settings.decay_per_event, settings.drain_s, settings.recall_target) == (0.7, 6.0, 0.5)
    assert settings.listen == "127.0.0.1:1"
    assert settings.exact_search_max_items == 2_000


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ({"listen": "nowhere"}, "RECWIRE_LISTEN"),
        ({"listen": ":50051"}, "RECWIRE_LISTEN"),
        ({"listen": "localhost:65536"}, "0-65535"),
        ({"decay_per_event": 1.5}, "--decay-per-event"),
        ({"recall_target": 0}, "recall_target"),
        ({"vector_space": "round"}, "RECWIRE_VECTOR_SPACE"),
        ({"encoder_thread_count": 0}, "--encoder-thread-count"),
        ({"drain_s": math.inf}, "--drain-s"),
        ({"drain_s": math.nan}, "--drain-s"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value(flags, name):
    """In the spellings in which it can be given."""
    with pytest.raises(SettingsError) as raised:
        load_settings(flags)
    assert name in str(raised.value)
    assert repr(next(iter(flags.values()))) in str(raised.value)


@pytest.mark.parametrize("content", [b'no_such_setting = "x"', b"drain_s = [", b"\xff"])
def test_a_file_that_says_nonsense_is_refused(content, tmp_path: Path):
    """An unknown name, no TOML, or no UTF-8."""
    file = tmp_path / "recwire.toml"
    file.write_bytes(content)
    with pytest.raises(SettingsError):
        load_settings({}, file)


def test_an_unknown_setting_is_told_as_one_of_the_file(tmp_path: Path):
    """There is no such flag to name."""
    file = tmp_path / "recwire.toml"
    file.write_text("drian_s = 5\n")
    with pytest.raises(SettingsError) as raised:
        load_settings({}, file)
    assert str(raised.value) == f"unknown setting 'drian_s' in {file}"


@pytest.mark.parametrize("address", ["localhost:0", "0.0.0.0:65535", "[::1]:50051"])
def test_addresses(address):
    """A name or an address, and a port."""
    assert load_settings({"listen": address, "insecure": True}).listen == address


def test_an_empty_variable_is_no_setting(monkeypatch: pytest.MonkeyPatch):
    """As an unset one."""
    monkeypatch.setenv("RECWIRE_MODEL", "")
    assert load_settings({}).model is None


def test_a_missing_file_is_refused(tmp_path: Path):
    """The path is named."""
    with pytest.raises(SettingsError, match=r"gone\.toml"):
        load_settings({}, tmp_path / "gone.toml")


def test_help_shows_every_setting():
    """`serve --help` has each with its variable."""
    shown = CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "200"}, terminal_width=200).output
    assert [name for name in Settings.model_fields if f"RECWIRE_{name.upper()}" not in shown] == []
