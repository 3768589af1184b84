"""The documentation says what is so: every snippet runs and prints what stands below it, every setting exists."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from access_files import make_certificates
from conftest import StartServer
from google.protobuf.descriptor import Descriptor
from test_readme import ADDRESS, ROOT, run_script, same_but_for_rounding
from typer.testing import CliRunner

from recwire import Client
from recwire.v1 import (
    admin_service_pb2,
    catalog_service_pb2,
    event_pb2,
    filter_pb2,
    item_pb2,
    recommendation_pb2,
    recommender_service_pb2,
    user_service_pb2,
)
from recwire_server.cli import app
from recwire_server.config import Settings
from recwire_server.encoder.onnx import OnnxEncoder

DOCS = ROOT / "docs"
PAGES = sorted(page for page in DOCS.glob("*.md") if page.name != "README.md")
CONTRACT = (
    admin_service_pb2,
    catalog_service_pb2,
    event_pb2,
    filter_pb2,
    item_pb2,
    recommendation_pb2,
    recommender_service_pb2,
    user_service_pb2,
)
SERVE, SHOW = "recwire-server serve ", "recwire-server "
METRICS_ADDRESS = "127.0.0.1:9464"


@dataclass(frozen=True)
class Section:
    """A section of a page, to be run: settings of its server, code, and commands with what they print."""

    name: str
    settings: dict[str, str]
    code: str
    commands: list[tuple[str, str]]


def sections(page: Path) -> list[Section]:
    """Return the page's sections that have code or commands; all begin with the code before the first of them."""
    first, *rest = re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    begin = "".join(code(first))
    return [section(page.stem, text, begin) for text in rest if code(text) or "```sh" in text]


def section(page: str, text: str, begin: str) -> Section:
    settings: dict[str, str] = {}
    commands = []
    for command, printed in re.findall(r"```sh\n(.*?)```(?:\s*```text\n(.*?)```)?", text, re.DOTALL):
        if command.startswith(SERVE):
            flags = shlex.split(command.removeprefix(SERVE))
            settings |= {flag[2:].replace("-", "_"): value for flag, value in zip(flags[::2], flags[1::2], strict=True)}
        else:
            commands.append((command, printed))
    return Section(f"{page}: {text.splitlines()[0]}", settings, begin + "\n".join(code(text)), commands)


def code(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


SECTIONS = [section for page in PAGES for section in sections(page)]


@pytest.mark.parametrize("section", [pytest.param(section, id=section.name) for section in SECTIONS])
def test_a_section_runs_and_prints_what_it_shows(
    section: Section,
    start_server: StartServer,
    int8_encoder: OnnxEncoder,
    model_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """On a server with the settings that it names, code prints the `# ->` lines, and commands the text below; those on
    a data directory, `data`, and those that measure succeed: their output has sizes and times. Commands on keys are run
    before the server starts, in its folder, where certificates are too."""
    monkeypatch.chdir(tmp_path)
    make_certificates(tmp_path)
    for command, _ in section.commands:
        if "--keys-file" in command:
            run_script(command, tmp_path, model_cache)
    port_0 = {name: "127.0.0.1:0" for name, value in section.settings.items() if value == METRICS_ADDRESS}
    server = start_server(int8_encoder, **section.settings | port_0)
    script = section.code.replace(ADDRESS, server.address).replace(METRICS_ADDRESS, server.metrics_address or "")
    expected = "".join(f"{line}\n" for line in re.findall(r"^\s*# -> (.*)$", section.code, re.MULTILINE))

    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert alike(done.stdout, expected), done.stdout
    for command, printed in section.commands:
        if "--keys-file" in command:
            continue
        words = [word.replace(ADDRESS, server.address) for word in shlex.split(command.removeprefix(SHOW))]
        arguments = [sys.executable, "-m", "recwire_server", *words]
        if "--data-dir" in arguments or words[0] == "bench":
            subprocess.run(arguments, capture_output=True, check=True, cwd=tmp_path)
            continue
        shown = subprocess.run([*arguments, "--to", server.address], capture_output=True, text=True, check=True)
        assert alike(shown.stdout, printed), shown.stdout


def alike(printed: str, expected: str) -> bool:
    """Return whether two outputs have the same words, and numbers that differ only as int8 arithmetic may."""
    if len(printed.split()) != len(expected.split()):
        return False
    try:
        return same_but_for_rounding(printed, expected)
    except ValueError:  # what differs is no number
        return False


def test_every_name_in_backquotes_exists():
    """Names with underscores are settings, fields of the contract, or what the client has; flags are a command's."""
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    names = set(re.findall(r"`([a-z]{2,}(?:_[a-z]+)+)`", text))
    fields = {field.name for module in CONTRACT for message in messages(module) for field in message.fields}
    flags = set(re.findall(r"(?<=[` ])--([a-z-]+)", text))
    options = {
        option
        for command in (
            "serve",
            "explain",
            "check",
            "backup",
            "restore",
            "bench",
            "keys create",
            "keys list",
            "keys revoke",
        )
        for option in options_of(command)
    }

    assert names
    assert names - fields - set(Settings.model_fields) - set(dir(Client)) == set()
    assert flags - options == set()


def messages(module: ModuleType) -> Iterable[Descriptor]:
    return module.DESCRIPTOR.message_types_by_name.values()


def options_of(command: str) -> list[str]:
    shown = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "200"}, terminal_width=200).stdout
    return re.findall(r"--([a-z-]+)", shown)


@pytest.mark.parametrize("page", [ROOT / "README.md", *DOCS.glob("*.md")], ids=lambda page: page.name)
def test_every_link_between_pages_leads_somewhere(page: Path):
    """Files that are linked exist, and so do their headings."""
    for target, anchor in re.findall(
        r"\]\(([^)#:\s]+)(?:#([^)\s]*))?(?:\s+\"[^\"]*\")?\)", page.read_text(encoding="utf-8")
    ):
        linked = page.parent / target
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
