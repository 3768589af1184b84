"""The command line: `recwire-server`.

One module a command: `serve`, `model`, `imports`, `demo`, `explanation`, `check`, `backup`, `restore`, `bench`, `keys`.
`access` has the options of those that call a server, `grpc_log` quiets gRPC.
"""

import recwire_server.cli.grpc_log  # noqa: F401  # before all that imports gRPC

# isort: split
import typer

from recwire_server.cli import imports, keys, model
from recwire_server.cli.backup import backup
from recwire_server.cli.bench import bench
from recwire_server.cli.check import check
from recwire_server.cli.demo import demo
from recwire_server.cli.explanation import explain
from recwire_server.cli.restore import restore
from recwire_server.cli.serve import serve

app = typer.Typer(
    name="recwire-server",
    help="recwire: real-time personal recommendations over gRPC, in one process.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(serve)
app.command()(demo)
app.command()(explain)
app.command()(check)
app.command()(backup)
app.command()(restore)
app.command()(bench)
app.add_typer(model.app, name="model")
app.add_typer(imports.app, name="import")
app.add_typer(keys.app, name="keys")
