"""The snippets that users of the Python client read first, run against a real server."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import recwire
from recwire.channel import DEFAULT_ADDRESS

README = Path(__file__).parent.parent / "client/README.md"
SNIPPETS = [
    *re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL),
    *(textwrap.dedent(indented) for indented in re.findall(r"(?:^    .*\n|^\n)+", recwire.__doc__ or "", re.M)),
]


@pytest.mark.parametrize("snippet", [snippet for snippet in SNIPPETS if snippet.strip()])
def test_snippets_run(snippet, hash_server):
    """Each snippet of the README and of the package's docstring runs as it stands, but for the address."""
    code = snippet.replace(DEFAULT_ADDRESS, hash_server.address)
    assert code != snippet
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
