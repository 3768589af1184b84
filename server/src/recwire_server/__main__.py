"""python -m recwire_server: the same as the command recwire-server."""

from recwire_server.cli import app

app()
