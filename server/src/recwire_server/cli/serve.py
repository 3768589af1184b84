"""recwire-server serve: the server."""

import asyncio
import logging
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import typer
from threadpoolctl import threadpool_limits

from recwire_server import serving
from recwire_server.access import AccessError
from recwire_server.access.standard import HealthAccess, ReflectionAccess
from recwire_server.cli.progress import StepProgress
from recwire_server.config import (
    LogFormat,
    LogLevel,
    OlderEvents,
    Settings,
    VectorSpaceName,
)
from recwire_server.device_default import settings_for
from recwire_server.encoder import Encoder, EncoderError
from recwire_server.encoder.device import Device, DeviceChoice, check_runtimes, choose_device, installed_runtimes
from recwire_server.event_loop import new_event_loop
from recwire_server.index.sealed import SearchMethod
from recwire_server.model import ModelExportError
from recwire_server.model.cache import export_default_model, find_default_model
from recwire_server.model.recipe import Precision
from recwire_server.setting_source import SettingsError, load_settings
from recwire_server.store import StoreError
from recwire_server.telemetry.log import start_logging
from recwire_server.user_id import UserIdKeyError

logger = logging.getLogger(__name__)

FIELDS = Settings.model_fields


def _flag(field: str) -> Any:
    """Return a setting's flag: its help is the setting's own, with its default and its environment variable."""
    info = FIELDS[field]
    default = "" if info.default_factory or info.default is None else f" Default: {info.default}."
    return typer.Option(help=f"{info.description}{default} Also RECWIRE_{field.upper()}.", show_default=False)


def serve(
    data_dir: Annotated[Path | None, _flag("data_dir")] = None,
    listen: Annotated[str | None, _flag("listen")] = None,
    keys_file: Annotated[Path | None, _flag("keys_file")] = None,
    tls_certificate_file: Annotated[Path | None, _flag("tls_certificate_file")] = None,
    tls_key_file: Annotated[Path | None, _flag("tls_key_file")] = None,
    tls_client_ca_file: Annotated[Path | None, _flag("tls_client_ca_file")] = None,
    insecure: Annotated[bool | None, _flag("insecure")] = None,
    health_access: Annotated[HealthAccess | None, _flag("health_access")] = None,
    reflection: Annotated[ReflectionAccess | None, _flag("reflection")] = None,
    user_id_key_file: Annotated[Path | None, _flag("user_id_key_file")] = None,
    model: Annotated[Path | None, _flag("model")] = None,
    device: Annotated[DeviceChoice | None, _flag("device")] = None,
    precision: Annotated[Precision | None, _flag("precision")] = None,
    cache_dir: Annotated[Path | None, _flag("cache_dir")] = None,
    vector_space: Annotated[VectorSpaceName | None, _flag("vector_space")] = None,
    decay_per_event: Annotated[float | None, _flag("decay_per_event")] = None,
    decay_half_life_s: Annotated[float | None, _flag("decay_half_life_s")] = None,
    event_weights: Annotated[str | None, _flag("event_weights")] = None,
    repeat_window_s: Annotated[float | None, _flag("repeat_window_s")] = None,
    max_history_events: Annotated[int | None, _flag("max_history_events")] = None,
    older_events: Annotated[OlderEvents | None, _flag("older_events")] = None,
    popularity_weight: Annotated[float | None, _flag("popularity_weight")] = None,
    popularity_half_life_s: Annotated[float | None, _flag("popularity_half_life_s")] = None,
    recency_weight: Annotated[float | None, _flag("recency_weight")] = None,
    recency_half_life_s: Annotated[float | None, _flag("recency_half_life_s")] = None,
    recall_target: Annotated[float | None, _flag("recall_target")] = None,
    exact_search_max_items: Annotated[int | None, _flag("exact_search_max_items")] = None,
    search_method: Annotated[SearchMethod | None, _flag("search_method")] = None,
    graph_min_items: Annotated[int | None, _flag("graph_min_items")] = None,
    encoder_thread_count: Annotated[int | None, _flag("encoder_thread_count")] = None,
    max_batch_size: Annotated[int | None, _flag("max_batch_size")] = None,
    max_batch_tokens: Annotated[int | None, _flag("max_batch_tokens")] = None,
    max_batch_wait_s: Annotated[float | None, _flag("max_batch_wait_s")] = None,
    max_queue_size: Annotated[int | None, _flag("max_queue_size")] = None,
    max_queue_wait_s: Annotated[float | None, _flag("max_queue_wait_s")] = None,
    max_standing_wait_s: Annotated[float | None, _flag("max_standing_wait_s")] = None,
    embedding_cache_bytes: Annotated[int | None, _flag("embedding_cache_bytes")] = None,
    index_thread_count: Annotated[int | None, _flag("index_thread_count")] = None,
    user_cache_bytes: Annotated[int | None, _flag("user_cache_bytes")] = None,
    max_calls: Annotated[int | None, _flag("max_calls")] = None,
    max_streams: Annotated[int | None, _flag("max_streams")] = None,
    default_timeout_s: Annotated[float | None, _flag("default_timeout_s")] = None,
    keepalive_interval_s: Annotated[float | None, _flag("keepalive_interval_s")] = None,
    max_connection_age_s: Annotated[float | None, _flag("max_connection_age_s")] = None,
    drain_s: Annotated[float | None, _flag("drain_s")] = None,
    log_level: Annotated[LogLevel | None, _flag("log_level")] = None,
    log_format: Annotated[LogFormat | None, _flag("log_format")] = None,
    metrics_listen: Annotated[str | None, _flag("metrics_listen")] = None,
    trace_endpoint: Annotated[str | None, _flag("trace_endpoint")] = None,
    trace_sample_share: Annotated[float | None, _flag("trace_sample_share")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with the same names, weaker than all else.")] = None,
) -> None:
    """Serve embeddings and recommendations over gRPC, until SIGTERM."""
    flags = {name: value for name, value in locals().items() if name in FIELDS}
    try:
        settings = load_settings(flags, config or _config_from_environment())
        start_log(settings)
        chosen = _choose_device(settings.device)
        settings = settings_for(chosen, settings)
        encoder = _load_encoder(settings, chosen)
        # Exact searches run on the event loop: on more threads they take a third less time, but half more CPU.
        with threadpool_limits(1, "blas"), asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(serving.serve(settings, encoder))
    except SettingsError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    except (AccessError, EncoderError, ModelExportError, StoreError, UserIdKeyError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error


def _config_from_environment() -> Path | None:
    path = os.environ.get("RECWIRE_CONFIG")
    return Path(path) if path else None


def start_log(settings: Settings) -> None:
    """Write the log as the settings say. Raises SettingsError for traces without the traces extra."""
    if settings.trace_endpoint is None:
        start_logging(settings.log_level, settings.log_format)
        return
    try:
        from recwire_server.telemetry.tracing import current_trace
    except ModuleNotFoundError as error:
        advice = "trace_endpoint needs OpenTelemetry: pip install 'recwire-server[traces]', or leave it out"
        raise SettingsError(f"{error}; {advice}") from error
    start_logging(settings.log_level, settings.log_format, current_trace)


def _choose_device(asked: DeviceChoice) -> Device:
    check_runtimes(installed_runtimes())
    # Only here: where ONNX Runtime is missing or torn, the check above says so better than the import would.
    from recwire_server.encoder.session import available_providers, cuda_starts

    device = choose_device(asked, available_providers(), cuda_starts)
    logger.info("the model runs on %s", device)
    return device


def _load_encoder(settings: Settings, device: Device) -> Encoder:
    """Return the encoder of --model, or of the default model, which is exported the first time."""
    from recwire_server.encoder.onnx import OnnxEncoder

    folder = settings.model or find_default_model(settings.precision, settings.cache_dir)
    if folder is None:  # in a process of its own, so that torch does not stay in the server's memory
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            folder = process.submit(_export_default_model, settings.precision, settings.cache_dir).result()
    return OnnxEncoder.load(folder, device)


def _export_default_model(precision: Precision, cache_dir: Path) -> Path:
    with StepProgress() as progress:
        return export_default_model(precision, cache_dir, progress.begin)
