"""The settings of a server: what each means, its unit, and why its default. `setting_source` reads them."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from recwire.credentials import stays_on_machine
from recwire_server.access.standard import HealthAccess, ReflectionAccess
from recwire_server.encoder.device import DeviceChoice
from recwire_server.encoder.embedding import MAX_BATCH_SIZE, MAX_BATCH_TOKENS
from recwire_server.index.sealed import SearchMethod
from recwire_server.model.cache import default_cache_dir
from recwire_server.model.recipe import Precision
from recwire_server.setting_check import (
    checked_address,
    checked_key_file,
    checked_metrics_address,
    checked_url,
    checked_weights,
    setting_name,
)

DAY_S = 24 * 3600.0


class VectorSpaceName(StrEnum):
    """How vectors are mapped before they serve."""

    CENTRED = "centred"
    PLAIN = "plain"


class OlderEvents(StrEnum):
    """How events count that a long history no longer holds one by one."""

    COUNT = "count"
    IGNORE = "ignore"


class LogLevel(StrEnum):
    """How much the log says."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a line of the log is written."""

    TEXT = "text"
    JSON = "json"


class Settings(BaseSettings):
    """What an operator decides. Each description is the help of the flag, with the unit and why that default."""

    model_config = SettingsConfigDict(
        env_prefix="RECWIRE_", env_ignore_empty=True, extra="forbid", frozen=True, protected_namespaces=()
    )

    data_dir: Path = Field(Path("recwire-data"), description="Directory of everything durable; made if missing.")
    listen: Annotated[str, AfterValidator(checked_address)] = Field(
        "127.0.0.1:50051",
        description="HOST:PORT to listen on; port 0 picks a free one. The default stays on this machine; an address "
        "that others reach needs tls_certificate_file, tls_key_file and keys_file, or insecure.",
    )
    keys_file: Path | None = Field(
        None,
        description="File of API keys, which `recwire-server keys` writes; read again within a second of a change. "
        "Without it every caller may do everything.",
    )
    tls_certificate_file: Path | None = Field(
        None,
        description="Certificate of the server with its chain, PEM; read again once it has changed. Without it there "
        "is no TLS.",
    )
    tls_key_file: Path | None = Field(None, description="Private key of that certificate, PEM, not encrypted.")
    tls_client_ca_file: Path | None = Field(
        None,
        description="Certificates, PEM, of which one must have signed each client's own. Without it clients need none.",
    )
    insecure: bool = Field(
        False, description="Listen beyond this machine also without TLS or keys: on a network without strangers."
    )
    health_access: HealthAccess = Field(
        HealthAccess.OPEN,
        description="Who may ask for health: everybody, because load balancers have no key, or who has any valid key.",
    )
    reflection: ReflectionAccess = Field(
        ReflectionAccess.KEY,
        description="Who may ask which rpcs there are: nobody (off), everybody (open), or who has any valid key; "
        "without keys_file key is as open. The default tells strangers nothing, and serves grpcurl.",
    )
    user_id_key_file: Annotated[Path | None, AfterValidator(checked_key_file)] = Field(
        None,
        description="File with a key, 32 random bytes or more, outside the data directory: users are kept under "
        "pseudonyms that are made with it, so that what is on disk names nobody. Without it: under their ids, which "
        "needs no key to look after.",
    )
    model: Path | None = Field(
        None,
        description="Folder of an exported model; without it the default model is exported on first use.",
    )
    device: DeviceChoice = Field(
        DeviceChoice.AUTO,
        description="Where the model runs: auto takes cuda where onnxruntime-gpu finds a GPU, else cpu.",
    )
    precision: Precision = Field(
        Precision.INT8, description="Precision of the default model; int8 is twice as fast as fp32. On cuda: fp16."
    )
    cache_dir: Path = Field(
        default_factory=lambda: default_cache_dir(os.environ),
        description="Where exported models are kept, by content; default: the user's cache folder.",
    )
    vector_space: VectorSpaceName = Field(
        VectorSpaceName.CENTRED,
        description="How vectors are mapped: centred subtracts the catalogue's mean from 1,000 items on (better "
        "answers), plain leaves them as they are.",
    )
    decay_per_event: float = Field(
        1.0,
        gt=0,
        le=1,
        description="What earlier events keep at each further event of a user, 0-1; 1 is the plain mean.",
    )
    decay_half_life_s: float = Field(
        0.0,
        ge=0,
        description="Seconds in which an event loses half of its weight beside later ones; 0: no decay by time. Goes "
        "together with decay_per_event.",
    )
    event_weights: Annotated[dict[str, float], BeforeValidator(checked_weights)] = Field(
        {},
        description='Weights by type of event, such as {"view": 0.5, "purchase": 5, "skip": -1}; a type that is not '
        "named keeps its own (view 1, purchase 3, dislike -1, ...).",
    )
    repeat_window_s: float = Field(
        0.0,
        ge=0,
        description="Of equal events of a user (subject, type and weight) those within so many seconds of one that "
        "counts do not count; 0: all count.",
    )
    max_history_events: int = Field(
        1_000,
        ge=1,
        description="Events of a user, the newest, that count and are explained one by one; all are kept.",
    )
    older_events: OlderEvents = Field(
        OlderEvents.COUNT,
        description="How a user's events count that are older than those: count as one sum, or ignore. Their items are "
        "seen in any case.",
    )
    popularity_weight: float = Field(
        0.0,
        ge=0,
        le=1e6,
        description="What the most popular item has added to its score (scores are -1 to 1), the others less. Users of "
        "whom nothing is known get the popular in any case.",
    )
    popularity_half_life_s: float = Field(
        30 * DAY_S, ge=0, description="Seconds after which an event counts half towards popularity; 0: all the same."
    )
    recency_weight: float = Field(
        0.0, ge=0, le=1e6, description="What an item that is published now has added to its score, older ones less."
    )
    recency_half_life_s: float = Field(
        30 * DAY_S, gt=0, description="Seconds after which an item has half of that added."
    )
    recall_target: float = Field(
        0.95,
        gt=0,
        le=1,
        description="Share of the ten nearest items that a search finds for every kind of user, 0-1; decides how wide "
        "it is.",
    )
    exact_search_max_items: int = Field(
        2_000,
        ge=0,
        description="Up to this many items every search scores all of them: it takes .1 ms.",
    )
    search_method: SearchMethod = Field(
        SearchMethod.AUTO,
        description="How more items are searched: by a scan of their codes, by an HNSW graph, or auto, by whichever is "
        "measured to cost less.",
    )
    graph_min_items: int = Field(
        30_000,
        ge=0,
        description="From this many items on a graph is built, which takes .3 ms of CPU an item; below, a scan is as "
        "fast.",
    )
    encoder_thread_count: int = Field(
        default_factory=lambda: os.cpu_count() or 1,
        ge=1,
        description="Threads that encode; default: one a core, and one on cuda.",
    )
    max_batch_size: int = Field(
        MAX_BATCH_SIZE,
        ge=1,
        description="Sequences that the encoder runs together (a text is one, or several if it is long); more gains "
        "nothing on a CPU. On cuda: 256.",
    )
    max_batch_tokens: int = Field(
        MAX_BATCH_TOKENS,
        ge=1,
        description="Tokens of such a batch, with padding: on a CPU more gains nothing, and who comes next waits "
        "longer (256 take 25 ms); on cuda: 16,384.",
    )
    max_batch_wait_s: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Seconds that a batch waits to fill, from its first text on; 0: none, which is best on a CPU. On "
        "cuda: .0005, for larger batches.",
    )
    max_queue_size: int = Field(
        1_024,
        ge=1,
        description="Sequences that may wait for the encoder, about a second of titles on two cores; beyond it calls "
        "are refused with RESOURCE_EXHAUSTED. Imports wait instead.",
    )
    max_queue_wait_s: float = Field(
        0.5,
        gt=0,
        description="Seconds, by estimate, that a text may wait for the encoder, or a search for its turn, in a burst; "
        "beyond it calls are refused with RESOURCE_EXHAUSTED, as those are whose own deadline comes sooner.",
    )
    max_standing_wait_s: float = Field(
        0.05,
        gt=0,
        description="The same once some have waited for most of a second, so that more comes than can be done: two "
        "batches on a CPU, which keep the encoder busy; longer only makes every call slower.",
    )
    embedding_cache_bytes: int = Field(
        64 * 1024 * 1024,
        ge=0,
        description="Bytes of embeddings kept by text, the last asked for; 0: none. The default holds 30,000 at 384 "
        "dimensions: the queries that come again.",
    )
    index_thread_count: int = Field(
        default_factory=lambda: max(1, (os.cpu_count() or 1) - 1),
        ge=1,
        description="Threads that build a graph; default: all cores but one, which serves.",
    )
    user_cache_bytes: int = Field(
        1 << 30,
        ge=0,
        description="Bytes of users held in memory, 9 KB each and .5 KB an event; others are read when asked for.",
    )
    max_calls: int = Field(
        1_000,
        ge=1,
        description="Calls in work at a time, beyond which they are refused with RESOURCE_EXHAUSTED: about what a "
        "process serves in a second. AdminService and health are always taken.",
    )
    max_streams: int = Field(
        200,
        ge=1,
        description="Streams open at a time, beyond which they are refused too: one holds up to 5 MiB of requests.",
    )
    default_timeout_s: float = Field(
        30.0,
        gt=0,
        description="Seconds after which a call that set no deadline is given up (streams are not): as long as 256 "
        "long items may take to be embedded. Callers who wait should set what their answer is worth.",
    )
    keepalive_interval_s: float = Field(
        30.0,
        gt=0,
        le=3600,
        description="Seconds of silence after which the server pings a connection: less than the minute after which "
        "the least patient load balancers drop an idle one; a peer that does not answer within 10 is gone.",
    )
    max_connection_age_s: float = Field(
        0.0,
        ge=0,
        description="Seconds, and up to a tenth more, after which a connection is asked to go and come back, so that "
        "clients spread over new servers; calls under way end before. 0: never.",
    )
    drain_s: float = Field(
        10.0, ge=0, le=3600, description="Seconds, at most 3600, that calls under way have to end at a stop."
    )

    log_level: LogLevel = Field(LogLevel.INFO, description="How much the log on standard error says.")
    log_format: LogFormat = Field(
        LogFormat.TEXT, description="How its lines are written: text for people, or json, one object a line."
    )
    metrics_listen: Annotated[str | None, AfterValidator(checked_metrics_address)] = Field(
        None,
        description="HOST:PORT on which Prometheus reads /metrics; port 0 picks a free one. None by default: a server "
        "opens no port that nobody asked for. There is no access control, and nothing in it names users or items.",
    )
    trace_endpoint: Annotated[str | None, AfterValidator(checked_url)] = Field(
        None,
        description="URL to send traces to as OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces; by default none "
        "are made. Needs the traces extra.",
    )
    trace_sample_share: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Share of calls that are traced, 0-1; the caller decides for calls that come with a trace. The "
        "default shows what is usual, and costs calls that are not traced next to nothing.",
    )

    @model_validator(mode="after")
    def _check_access(self) -> Self:
        """Refuse what cannot be, or would be open to strangers by mistake."""
        certificate, key, authority = map(setting_name, ("tls_certificate_file", "tls_key_file", "tls_client_ca_file"))
        if (self.tls_certificate_file is None) != (self.tls_key_file is None):
            there, missing = (key, certificate) if self.tls_certificate_file is None else (certificate, key)
            raise ValueError(f"{there} is set without {missing}; set both for TLS, or neither")
        if self.tls_client_ca_file is not None and self.tls_certificate_file is None:
            raise ValueError(
                f"{authority} is set without {certificate}; clients show certificates over TLS only: set both"
            )
        is_closed = self.tls_certificate_file is not None and self.keys_file is not None
        if not (is_closed or self.insecure or stays_on_machine(self.listen)):
            raise ValueError(
                f"{setting_name('listen')} is {self.listen!r}, which others may reach, and anybody could read and"
                f" write: set {certificate}, {key} and {setting_name('keys_file')}; or listen on 127.0.0.1;"
                f" or set {setting_name('insecure')} where the network has no strangers"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return where settings come from, the strongest first."""
        return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls))
