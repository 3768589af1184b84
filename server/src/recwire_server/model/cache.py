"""The exported models that this machine keeps, found again by what they were made from."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recwire_server.encoder import ModelFolderError
from recwire_server.model import ModelExportError, Report
from recwire_server.model.folder import new_model_folder
from recwire_server.model.manifest import MANIFEST_FILE, Manifest, load_manifest, read_manifest
from recwire_server.model.processor import detect_quantization_target
from recwire_server.model.recipe import Precision, Recipe, make_recipe
from recwire_server.model.settings import SettingsOverrides, read_settings
from recwire_server.model.source import DEFAULT_ORIGIN, Source, resolve_source
from recwire_server.model.texts import built_in_texts, read_texts

NO_OVERRIDES = SettingsOverrides()


@dataclass(frozen=True)
class ExportedModel:
    """A model folder. up_to_date: it was there already and nothing was written."""

    folder: Path
    manifest: Manifest
    up_to_date: bool


@dataclass(frozen=True)
class CachedModel:
    """A model folder in the cache. size_bytes: of its files."""

    folder: Path
    manifest: Manifest
    size_bytes: int


def default_cache_dir(environment: Mapping[str, str]) -> Path:
    """Return RECWIRE_CACHE_DIR, or else recwire's folder in the user's cache."""
    if configured := environment.get("RECWIRE_CACHE_DIR"):
        return Path(configured)
    # The XDG standard has an empty variable mean the same as an unset one.
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "recwire"


def export_model(
    source: str | None,
    precision: Precision,
    out: Path | None,
    cache_dir: Path,
    report: Report,
    overrides: SettingsOverrides = NO_OVERRIDES,
    texts_file: Path | None = None,
) -> ExportedModel:
    """Return the model folder made from `source` (None: the default model), exporting only if there is none.

    out: the folder to write; None: one in the cache. A folder that the same recipe made is left as it is,
    which takes under a second and imports no torch. `report` is called with each step's name as the step
    begins. overrides: what to do otherwise than the source says. texts_file: texts, one a line, to calibrate and
    check with; None: the built-in mix. Raises ModelExportError.
    """
    resolved = resolve_source(source)
    texts = read_texts(texts_file) if texts_file else built_in_texts()
    recipe = make_recipe(resolved, precision, read_settings(resolved, overrides), texts)
    cached = _cached_folder(resolved, recipe, cache_dir)
    destination = out or cached
    if manifest := _current(destination, recipe):
        return ExportedModel(destination, manifest, up_to_date=True)
    if manifest := _current(cached, recipe):
        report("copy from the cache")
        with new_model_folder(destination) as folder:
            shutil.copytree(cached, folder, dirs_exist_ok=True)
        return ExportedModel(destination, manifest, up_to_date=False)
    # Only here: it needs the export extra, and what it imports in turn takes seconds.
    from recwire_server.model.export import build_model_folder

    manifest = build_model_folder(resolved, recipe, texts, destination, report)
    return ExportedModel(destination, manifest, up_to_date=False)


def export_reference(manifest: Manifest, cache_dir: Path, report: Report) -> Path:
    """Return the fp32 folder in the cache of the source that a model was made from, exporting it if it is not there.

    Raises ModelExportError if the source is not what it was, or not there any more.
    """
    source = None if manifest.source == DEFAULT_ORIGIN else manifest.source
    overrides = SettingsOverrides(manifest.pooling, manifest.query_prefix, manifest.document_prefix)
    try:
        exported = export_model(source, Precision.FP32, None, cache_dir, report, overrides)
    except ModelExportError as error:
        raise ModelExportError(f"{error}; or name a folder of {manifest.name} in fp32 with --reference") from error
    if exported.manifest.source_hash != manifest.source_hash:
        raise ModelExportError(
            f"{manifest.source} is not what {manifest.name} was exported from; export the model again, or name its "
            "fp32 folder with --reference"
        )
    return exported.folder


def find_default_model(precision: Precision, cache_dir: Path) -> Path | None:
    """Return the default model's folder in the cache; None if it is not there. Imports no torch.

    Where it could not be exported anyway, for want of the tools or of the weights, the newest one that somebody put
    there does, whatever tools made it. Raises ModelFolderError, which says how to get a model, if there is none either.
    """
    try:
        resolved = resolve_source(None)
        recipe = make_recipe(resolved, precision, read_settings(resolved, NO_OVERRIDES), built_in_texts())
    except ModelExportError as error:
        if newest := _newest_default_model(precision, cache_dir):
            return newest
        raise _no_default_model(error) from error
    folder = _cached_folder(resolved, recipe, cache_dir)
    return folder if _current(folder, recipe) else None


def export_default_model(precision: Precision, cache_dir: Path, report: Report) -> Path:
    """Return the default model's folder in the cache, exporting it first if it is not there.

    Raises ModelFolderError, which says how to get a model, if it cannot be exported.
    """
    try:
        return export_model(None, precision, None, cache_dir, report).folder
    except ModelExportError as error:
        raise _no_default_model(error) from error


def list_models(cache_dir: Path) -> list[CachedModel]:
    """Return the models in the cache by folder name; folders that cannot be read are left out."""
    models = []
    for folder in sorted((cache_dir / "models").glob("[!.]*")):
        try:
            manifest = read_manifest(folder)
        except ModelFolderError:
            continue
        models.append(CachedModel(folder, manifest, sum(f.size_bytes for f in manifest.files.values())))
    return models


def _cached_folder(source: Source, recipe: Recipe, cache_dir: Path) -> Path:
    return cache_dir / "models" / f"{source.name}-{recipe.precision.value}-{recipe.key[:12]}"


def _newest_default_model(precision: Precision, cache_dir: Path) -> Path | None:
    target = detect_quantization_target()
    folders = [
        model.folder
        for model in list_models(cache_dir)
        if model.manifest.source == DEFAULT_ORIGIN
        and model.manifest.precision == precision.value
        and model.manifest.quantization_target in ("", target)
    ]
    return max(folders, key=lambda folder: (folder / MANIFEST_FILE).stat().st_mtime_ns, default=None)


def _no_default_model(error: ModelExportError) -> ModelFolderError:
    return ModelFolderError(
        f"no --model was given and the default model cannot be exported: {error}; "
        "pip install 'recwire-server[export,minilm]' installs all that this needs"
    )


def _current(folder: Path, recipe: Recipe) -> Manifest | None:
    try:
        manifest = load_manifest(folder)
    except ModelFolderError:
        return None
    return manifest if manifest.recipe_key == recipe.key else None
