"""`recwire-server model`: export models and look at them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from recwire_server.model.recipe import Precision

app = typer.Typer(help="Export models and look at them.", no_args_is_help=True)


@app.command()
def export(
    source: Annotated[
        str | None,
        typer.Argument(help="A model's folder or hub id; the default is all-MiniLM-L6-v2.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The model folder to write; the default is in the cache.", show_default=False),
    ] = None,
    precision: Annotated[
        Precision,
        typer.Option(
            help="int8 is twice as fast as fp32, which gives the original's vectors; fp16 is for CUDA; int8-dynamic is "
            "the usual int8, for comparison."
        ),
    ] = Precision.INT8,
    texts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Texts like those that will be embedded, one a line, at least 64: half calibrate int8, half check the "
            "result; the default is a built-in mix.",
            show_default=False,
        ),
    ] = None,
    pooling: Annotated[
        Literal["mean", "cls", "lasttoken"] | None,
        typer.Option(
            help="How token vectors become one; the default is what the source says, else mean.", show_default=False
        ),
    ] = None,
    query_prefix: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Put before a query; the default is what the source says, and 'query: ' for e5 models.",
            show_default=False,
        ),
    ] = None,
    document_prefix: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Put before a document; the default is what the source says, and 'passage: ' for e5 models.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make the model folder that `serve --model` takes; at once if it is there already."""
    from recwire_server.cli.progress import StepProgress
    from recwire_server.model.cache import default_cache_dir, export_model
    from recwire_server.model.settings import SettingsOverrides

    overrides = SettingsOverrides(pooling, query_prefix, document_prefix)
    with _one_line_errors(), StepProgress() as progress:
        exported = export_model(source, precision, out, default_cache_dir(os.environ), progress.begin, overrides, texts)
    manifest = exported.manifest
    prefixes = manifest.query_prefix, manifest.document_prefix
    typer.echo(
        f"{'up to date' if exported.up_to_date else 'exported'}: {exported.folder} ({manifest.name}, "
        f"{manifest.precision}, version {manifest.version}, mean cosine {manifest.fidelity.mean_cosine:.4f}"
        f"{', prefixes {!r} and {!r}'.format(*prefixes) if any(prefixes) else ''})"
    )


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A model folder.")],
    texts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Texts, one a line, at least 64; the default is a built-in mix.", show_default=False
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="The same model in fp32; the default is exported from its source.", show_default=False
        ),
    ] = None,
) -> None:
    """Measure a model beside its original in fp32; exit status 1 if it is below the gate in its manifest."""
    from rich.console import Console

    from recwire_server.cli.progress import StepProgress
    from recwire_server.cli.verification_table import verification_table
    from recwire_server.model.cache import default_cache_dir, export_reference
    from recwire_server.model.manifest import load_manifest
    from recwire_server.model.texts import TextSplit, built_in_texts, read_texts, split_texts
    from recwire_server.model.verification import verify_model

    with _one_line_errors(), StepProgress() as progress:
        # The built-in texts in the halves of an export, so that the figures are those that it published with.
        split = TextSplit(calibration=(), check=read_texts(texts)) if texts else split_texts(built_in_texts())
        original = reference or export_reference(load_manifest(folder), default_cache_dir(os.environ), progress.begin)
        progress.begin(f"measure on {len(split.check):,} texts")
        verification = verify_model(folder, original, split)
    Console().print(verification_table(verification))
    if verification.shortfalls:
        typer.echo(f"below its gate: {'; '.join(verification.shortfalls)}", err=True)
        raise typer.Exit(1)
    typer.echo("passes its gate")


@app.command("list")
def list_cached() -> None:
    """List the models in the cache."""
    from rich.console import Console
    from rich.table import Table

    from recwire_server.model.cache import default_cache_dir, list_models

    cache_dir = default_cache_dir(os.environ)
    models = list_models(cache_dir)
    if not models:
        typer.echo(f"no models in {cache_dir}; make one: recwire-server model export")
        return
    table = Table("name", "precision", "dimension", "cosine", "version", "MB", box=None)
    table.add_column("folder", overflow="fold")  # whole, for copying
    for model in models:
        manifest, megabytes = model.manifest, f"{model.size_bytes / 1e6:.0f}"
        table.add_row(
            manifest.name,
            manifest.precision,
            str(manifest.dim),
            f"{manifest.fidelity.mean_cosine:.4f}",
            manifest.version,
            megabytes,
            str(model.folder),
        )
    Console().print(table)


@app.command()
def show(folder: Annotated[Path, typer.Argument(metavar="DIR", help="A model folder.")]) -> None:
    """Show what a model folder says about itself, after checking that its files are whole."""
    from rich.console import Console
    from rich.table import Column, Table

    from recwire_server.model.manifest import load_manifest

    with _one_line_errors():
        manifest = load_manifest(folder)
    fidelity = manifest.fidelity
    rows = {
        "name": manifest.name,
        "version": manifest.version,
        "source": manifest.source,
        "source hash": manifest.source_hash,
        "dimension": manifest.dim,
        "max tokens": manifest.max_tokens,
        "pooling": manifest.pooling,
        "query prefix": repr(manifest.query_prefix),
        "document prefix": repr(manifest.document_prefix),
        "precision": manifest.precision,
        "weights": f"{manifest.weight_bits} bits {manifest.quantization_target}".rstrip(),
        "kept in float32": ", ".join(manifest.float32_layers) or "nothing",
        "batch invariant": "yes" if manifest.batch_invariant else "no: sequences run one by one",
        "cosine": f"mean {fidelity.mean_cosine:.5f}, least {fidelity.min_cosine:.5f} to the original, "
        f"over {fidelity.text_count} texts (gate {manifest.gate.min_mean_cosine})",
        "top-10 kept": f"{fidelity.neighbours_kept:.4f} (gate {manifest.gate.min_neighbours_kept})",
        "batch difference": f"{fidelity.batch_difference:.1e}",
        "made with": ", ".join(f"{tool} {version}" for tool, version in manifest.tool_versions.items()),
        **{
            name: f"{digest.size_bytes:,} bytes, SHA-256 {digest.sha256[:16]}"
            for name, digest in manifest.files.items()
        },
    }
    table = Table(Column(), Column(overflow="fold"), box=None, show_header=False)
    for label, value in rows.items():
        table.add_row(label, str(value))
    Console().print(table)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Turn what the operator can mend into one line on standard error and exit status 1."""
    from recwire_server.encoder import ModelFolderError
    from recwire_server.model import ModelExportError

    try:
        yield
    except (ModelExportError, ModelFolderError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
