"""Where settings come from: flags, then RECWIRE_* environment variables, then a TOML file, then defaults."""

from collections.abc import Mapping
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsConfigDict
from pydantic_settings import SettingsError as SettingsErrorInFile

from recwire_server.config import Settings
from recwire_server.setting_check import setting_name


class SettingsError(Exception):
    """A setting is wrong; the message names it, where it comes from, and what is allowed."""


def load_settings(flags: Mapping[str, Any], config_file: Path | None = None) -> Settings:
    """Return the settings; raises SettingsError.

    flags: those that were given, by the names of the fields. config_file: TOML with the same names.
    """
    if config_file is not None and not config_file.is_file():
        raise SettingsError(f"--config {config_file} is not a file")

    class FileSettings(Settings):
        model_config = SettingsConfigDict(toml_file=config_file)

    try:
        return FileSettings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        raise SettingsError("; ".join(_told(fault, config_file) for fault in error.errors())) from error
    except (SettingsErrorInFile, TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings cannot be read: {error}") from error


def _told(fault: ErrorDetails, config_file: Path | None) -> str:
    if fault["type"] == "extra_forbidden":  # only a file can name what is none: the others are asked by name
        return f"unknown setting {fault['loc'][0]!r} in {config_file}"
    message = fault["msg"].removeprefix("Value error, ")
    if not fault["loc"]:  # settings that do not go together: the message names them
        return message
    return f"{setting_name(str(fault['loc'][0]))} is {fault['input']!r}: {message}"
