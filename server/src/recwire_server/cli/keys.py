"""recwire-server keys: the API keys of a server."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from recwire_server.access import KeyFileError
from recwire_server.access.key import Key, new_token
from recwire_server.access.key_file import changing_keys, read_keys
from recwire_server.access.rate_limit import parse_limit
from recwire_server.access.role import Role
from recwire_server.access.secret import hash_secret
from recwire_server.cli.leave import leave

MAX_DAYS = 36_500  # a hundred years; without an expiry a key is valid for ever
MAX_PREFIX_BYTES = 128  # of the 256 of an id
MAX_NAME_CHARACTERS = 100  # of a line of `keys list`

app = typer.Typer(help="Create, list and revoke the API keys of a server.", no_args_is_help=True)

KeysFile = Annotated[Path, typer.Option(metavar="FILE", help="The server's keys_file.", show_default=False)]


@app.command()
def create(
    keys_file: KeysFile,
    role: Annotated[
        Role, typer.Option(help="What it may do: read, write as well, or all, AdminService too.", show_default=False)
    ],
    name: Annotated[str, typer.Option(help="Whose it is, for `keys list`.")] = "",
    id_prefix: Annotated[
        str,
        typer.Option(help="What all user ids that it names begin with, and all item ids that it writes. Default: any."),
    ] = "",
    expires_in: Annotated[
        float | None, typer.Option(metavar="DAYS", help="Days until it expires. Default: never.", show_default=False)
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COUNT/TIME",
            help="Calls and messages of streams that it may make, such as 100/second or 1000000/day; several "
            "times for several limits. Default: any number.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make a key, and print it: on standard output nothing else.

    It cannot be shown again: the file has a hash of it. A file that is missing
    is made. A running server knows the key within a second.

    Exit status: 0 made, 1 the file cannot be read or written, 2 usage.
    """
    if role is Role.ADMIN and id_prefix:
        leave("--id-prefix goes with --role read or write: an admin key may name every id", 2)
    if expires_in is not None and not 0 < expires_in <= MAX_DAYS:
        leave(f"--expires-in is {expires_in:g}; give days, more than 0, at most {MAX_DAYS:,}", 2)
    if len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
        leave(f"--name has {len(name):,} characters; give at most {MAX_NAME_CHARACTERS}, all of them printable", 2)
    if len(id_prefix.encode()) > MAX_PREFIX_BYTES:
        leave(f"--id-prefix has {len(id_prefix.encode()):,} bytes; the limit is {MAX_PREFIX_BYTES}", 2)
    for text in limit or []:
        try:
            parse_limit(text)
        except ValueError as error:
            leave(f"--limit {error}", 2)
    now = datetime.now(UTC)
    expire_time = None if expires_in is None else now + timedelta(days=expires_in)
    token = new_token()
    key = Key(token.key_id, name, role, id_prefix, now, expire_time, hash_secret(token.secret), tuple(limit or ()))
    try:
        with changing_keys(keys_file) as keys:
            keys[key.id] = key
    except KeyFileError as error:
        leave(str(error))
    typer.echo(f"key {key.id}, role {key.role}: keep it now, it is not shown again", err=True)
    typer.echo(token.text)


@app.command(name="list")
def list_keys(keys_file: KeysFile) -> None:
    """Show the keys: all but their secrets.

    Exit status: 0 shown, 1 the file cannot be read, 2 usage.
    """
    try:
        keys = read_keys(keys_file)
    except KeyFileError as error:
        leave(str(error))
    table = Table("key id", "role", "name", "id prefix", "limits", "created", "expires")
    for key in keys.values():
        expiry = "never" if key.expire_time is None else f"{key.expire_time:%Y-%m-%d %H:%M}"
        told = f"{expiry} (over)" if key.is_expired else expiry
        table.add_row(
            key.id, key.role, key.name, key.id_prefix, ", ".join(key.limits), f"{key.create_time:%Y-%m-%d}", told
        )
    Console(highlight=False, markup=False).print(table)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="The key's id, as `keys list` shows it.")],
    keys_file: KeysFile,
) -> None:
    """Remove a key. A running server refuses it within a second.

    Exit status: 0 removed, 1 there is no such key or the file cannot be
    written, 2 usage.
    """
    try:
        if not keys_file.exists():
            leave(f"--keys-file {keys_file} is no file", 2)
        with changing_keys(keys_file) as keys:
            if keys.pop(key_id, None) is None:
                leave(f"{keys_file} has no key of that id; `recwire-server keys list` shows those that there are")
    except KeyFileError as error:
        leave(str(error))
    typer.echo(f"key {key_id} is revoked")
