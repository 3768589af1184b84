"""What is counted and timed as it happens."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector

from recwire_server.encoder import Priority
from recwire_server.encoder.queue import BatchRun, QueuedSequence
from recwire_server.index.adaptive import Method
from recwire_server.recommendation import Answer, Shortfall, Strategy
from recwire_server.recommender import Update
from recwire_server.store.group_commit import GroupCommit

# Those of the semantic conventions for rpc.server.call.duration, from 5 ms on; below, where most calls here end, finer.
CALL_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
# What is done within a call: from a search of .1 ms to a disk that hangs.
STEP_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
RATIO_BUCKETS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


class Metrics:
    """Takes what the parts tell of. Belongs to the event loop; the registry may be read on any thread.

    The series of a label's known values are there from the start, at zero.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.call_duration = Histogram(
            "rpc_server_call_duration_seconds",
            "Calls by rpc and outcome, refused ones included; of a stream, as long as it lasts.",
            ("rpc_system_name", "rpc_method", "rpc_response_status_code"),
            buckets=CALL_BUCKETS_S,
            registry=registry,
        )
        queue_wait = self._steps(
            "recwire_encoder_queue_wait_seconds", "How long sequences waited for the model, by class.", "class"
        )
        self._queue_waits = {priority: queue_wait.labels(priority.name.lower()) for priority in Priority}
        self._run = self._steps("recwire_encoder_run_seconds", "How long the model took for a batch.")
        self._tokenize = self._steps("recwire_encoder_tokenize_seconds", "How long it took to tokenize a call's texts.")
        self._batch_size = Histogram(
            "recwire_encoder_batch_sequences",
            "Sequences (texts, or chunks of long ones) that the model ran together.",
            buckets=SIZE_BUCKETS,
            registry=registry,
        )
        self._batch_fill = Histogram(
            "recwire_encoder_batch_fill_ratio",
            "How full batches were, by max_batch_size or max_batch_tokens, whichever was nearer.",
            buckets=RATIO_BUCKETS,
            registry=registry,
        )
        tokens = Counter(
            "recwire_encoder_tokens",
            "Tokens that the model ran, of texts and of padding.",
            ("kind",),
            registry=registry,
        )
        self._text_tokens, self._padding_tokens = tokens.labels("text"), tokens.labels("padding")
        search = self._steps("recwire_search_seconds", "How long searches of the index took, by method.", "method")
        self._searches = {method: search.labels(method.value) for method in Method}
        self._commit = self._steps(
            "recwire_store_commit_seconds", "How long the store took to commit a group of writes."
        )
        self._group_size = Histogram(
            "recwire_store_group_writes", "Writes that shared a commit.", buckets=SIZE_BUCKETS, registry=registry
        )
        self._failed_writes = Counter(
            "recwire_store_failed_writes",
            "Writes that were not stored, for the disk or the database.",
            registry=registry,
        )
        self.loop_lag = self._steps("recwire_event_loop_lag_seconds", "How late the event loop's heartbeats were.")
        events = Counter("recwire_events", "Events of users, applied or known before.", ("outcome",), registry=registry)
        self._applied, self._duplicate = events.labels("applied"), events.labels("duplicate")
        served = Counter(
            "recwire_recommendations", "Items recommended, by where they came from.", ("strategy",), registry=registry
        )
        self._served = {strategy: served.labels(strategy.name.lower()) for strategy in Strategy}
        short = Counter(
            "recwire_short_answers",
            "Answers of fewer items than asked for, by reason.",
            ("shortfall",),
            registry=registry,
        )
        self._short = {why: short.labels(why.name.lower()) for why in Shortfall if why is not Shortfall.NONE}

    def tokenized(self, duration_s: float) -> None:
        """Count the texts of a call as tokenized."""
        self._tokenize.observe(duration_s)

    def batch_ran(self, sequences: Sequence[QueuedSequence], run: BatchRun) -> None:
        """Count a batch that the model has run."""
        for sequence in sequences:
            self._queue_waits[sequence.priority].observe(run.begin_s - sequence.queue_time_s)
        self._run.observe(run.end_s - run.begin_s)
        self._batch_size.observe(len(sequences))
        self._batch_fill.observe(run.fill_ratio)
        self._text_tokens.inc(run.token_count)
        self._padding_tokens.inc(run.padded_token_count - run.token_count)

    def searched(self, method: Method, duration_s: float) -> None:
        """Count a search."""
        self._searches[method].observe(duration_s)

    def committed(self, commit: GroupCommit) -> None:
        """Count a group of writes that the store has committed, or could not."""
        if commit.is_stored:
            self._commit.observe(commit.duration_s)
            self._group_size.observe(commit.write_count)
        else:
            self._failed_writes.inc(commit.write_count)

    def updated(self, update: Update) -> None:
        """Count a user's new events."""
        self._applied.inc(update.applied_count)
        self._duplicate.inc(len(update.duplicate_event_ids))

    def recommended(self, answer: Answer) -> None:
        """Count an answer."""
        if answer.shortfall is not Shortfall.NONE:
            self._short[answer.shortfall].inc()
        recommendations = answer.recommendations
        if not recommendations:
            return
        strategy, count = recommendations[0].strategy, len(recommendations)
        if strategy in (Strategy.POPULAR, Strategy.RECENT):  # the two that an answer mixes
            popular_count = sum(one.strategy is Strategy.POPULAR for one in recommendations)
            self._served[Strategy.POPULAR].inc(popular_count)
            self._served[Strategy.RECENT].inc(count - popular_count)
        else:
            self._served[strategy].inc(count)

    def _steps(self, name: str, documentation: str, *labels: str) -> Histogram:
        return Histogram(name, documentation, labels, buckets=STEP_BUCKETS_S, registry=self.registry)
