"""The README says what is so: its snippets run, its files exist."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ADDRESS = "127.0.0.1:50051"


def blocks(language: str) -> list[str]:
    """Return the README's fenced blocks in a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def same_but_for_rounding(printed: str, expected: str) -> bool:
    """Return whether two outputs differ by no more than int8 arithmetic may between processors."""
    words, expected_words = printed.split(), expected.split()
    numbers = [(w, e) for w, e in zip(words, expected_words, strict=True) if w != e]
    return all(abs(float(word) - float(expected_word)) <= 0.02 for word, expected_word in numbers)


def test_the_python_call_prints_what_the_readme_shows(minilm_server):
    """The first snippet runs as it stands, but for the address, and prints what stands below it."""
    (snippet,), (output,) = blocks("python"), blocks("text")
    code = snippet.replace(ADDRESS, minilm_server.address)
    assert code != snippet

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert same_but_for_rounding(done.stdout, output), done.stdout


def run_script(script: str, folder: Path, model_cache: Path, **variables: str) -> str:
    """Run a script with the tests' commands in a folder, and return what it printed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "RECWIRE_CACHE_DIR": str(model_cache), **variables}
    done = subprocess.run(
        ["bash", "-c", f"set -e\n{script}"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_commands_run_on_a_users_own_files(tmp_path: Path, model_cache: Path, int8_model: Path):
    """Export, serve and import work as the README writes them."""
    (tmp_path / "items.jsonl").write_text('{"id": "1", "title": "A lamp"}\n{"id": "2", "title": "A kettle"}\n')
    (tmp_path / "events.csv").write_text("user,item,when\nada,1,2026-01-02T03:04:05Z\nada,2,1767323045\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    commands, _ = blocks("sh")
    script = f"{commands.replace(ADDRESS, address)}\nkill %1\nwait %1\n"

    printed = run_script(script, tmp_path, model_cache, RECWIRE_LISTEN=address)

    assert "imported 2 items" in printed
    assert "imported 2 events" in printed


def test_the_commands_for_precisions_run(tmp_path: Path, model_cache: Path, int8_model: Path, fp32_model: Path):
    """The default model passes its gate, and its original is there for the asking, as the README writes it."""
    shutil.copytree(int8_model, tmp_path / "model")
    _, commands = blocks("sh")

    printed = run_script(commands, tmp_path, model_cache)

    assert "passes its gate" in printed
    assert "exported: model-fp32 " in printed


@pytest.mark.parametrize("target", sorted(set(re.findall(r"make ([a-z]+)", README))))
def test_every_make_target_exists(target: str):
    """`make` knows what the README tells people to type."""
    subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, check=True)


def test_every_file_that_is_named_exists():
    """Each path in backquotes is a file or a folder of the project, or of the server's package."""
    named = re.findall(r"`((?:\w+/)*\w+\.(?:py|proto|txt)|(?:\w+/)+)`", README)
    folders = (ROOT, ROOT / "server" / "src" / "recwire_server")

    assert named
    assert [name for name in named if not any((folder / name).exists() for folder in folders)] == []
