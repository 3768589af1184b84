"""How a command ends that cannot do what it was asked."""

from typing import NoReturn

import typer


def leave(message: str, status: int = 1) -> NoReturn:
    """Say what is wrong on standard error, and end with a status: 1 for what failed, 2 for wrong usage."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(status)
