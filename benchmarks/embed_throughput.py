"""Texts a second that a server embeds in bulk, beside the same session in process.

The same texts, threads, and bounds of a batch; each pass embeds all texts once. In process the texts are there all at
once, and sorted by length: the best that there is. Through the server they come in messages.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypedDict

import grpc
import numpy as np
from rich.table import Table

from benchmarks.encoder.sample import draw_sample
from benchmarks.measurement import Contender, Measurement, measure
from benchmarks.served import Served
from recwire import Client, LongText
from recwire.v1.recommender_service_pb2 import EmbedPurpose, EmbedRequest
from recwire_server.device_default import settings_for
from recwire_server.encoder import Encoder, Purpose, Vector
from recwire_server.encoder.device import Device
from recwire_server.load.workload import PATHS, Call
from recwire_server.setting_source import load_settings

IN_PROCESS, STREAM, CALLS = "in_process", "embed_stream", "embed_calls"
TEXTS_A_CALL, CALLS_IN_FLIGHT = 64, 4  # one batch or more is encoded while others wait
SHORT_WORDS = 8  # a query or a title: about 12 tokens
PROMISED_SHARE = 0.95


class Throughput(TypedDict):
    """What is kept, ready for JSON. texts: their count and mean tokens, by kind ("short", "items"). speed: by kind and
    contender, texts a second, and CPU milliseconds a text, of the server or in process. share, cpu_share: by the same,
    of what it is in process, of the texts a second and of those a CPU second."""

    data: str
    texts: dict[str, dict[str, float]]
    speed: dict[str, dict[str, dict[str, Any]]]
    share: dict[str, dict[str, float]]
    cpu_share: dict[str, dict[str, float]]


def measure_throughput(
    server: Served, encoder: Encoder, device: Device, rounds: int, item_count: int, short_count: int
) -> Throughput:
    """Return the speeds for texts of items, and for as many of their first words."""
    sample = draw_sample(size=max(item_count, short_count) // 2)
    short = [" ".join(text.split()[:SHORT_WORDS]) for text in sample.texts[:short_count]]
    texts = {"short": short, "items": sample.texts[:item_count]}
    measured = {kind: _measure(server, encoder, device, rounds, texts) for kind, texts in texts.items()}
    speed = {
        kind: {name: _speed(one, len(texts[kind])) for name, one in measurements.items()}
        for kind, measurements in measured.items()
    }
    return {
        "data": sample.data,
        "texts": {
            kind: {"count": len(each), "mean_tokens": _mean_tokens(encoder, each)} for kind, each in texts.items()
        },
        "speed": speed,
        "share": {kind: _ratios(by_name, lambda one: one["texts_per_s"]) for kind, by_name in speed.items()},
        "cpu_share": {kind: _ratios(by_name, lambda one: 1 / one["cpu_ms_a_text"]) for kind, by_name in speed.items()},
    }


def _ratios(by_name: Mapping[str, Mapping[str, Any]], figure: Callable[[Mapping[str, Any]], float]) -> dict[str, float]:
    return {name: round(figure(by_name[name]) / figure(by_name[IN_PROCESS]), 3) for name in (STREAM, CALLS)}


def _measure(
    server: Served, encoder: Encoder, device: Device, rounds: int, texts: Sequence[str]
) -> dict[str, Measurement]:
    settings = settings_for(device, load_settings({}))
    requests = [
        EmbedRequest(
            texts=texts[place : place + TEXTS_A_CALL],
            purpose=EmbedPurpose.EMBED_PURPOSE_DOCUMENT,
            long_text=LongText.LONG_TEXT_TRUNCATE,
        ).SerializeToString()
        for place in range(0, len(texts), TEXTS_A_CALL)
    ]

    def stream() -> None:
        answers = client.embed_stream(
            texts, purpose=EmbedPurpose.EMBED_PURPOSE_DOCUMENT, long_text=LongText.LONG_TEXT_TRUNCATE
        )
        assert sum(1 for _ in answers) == len(texts)

    def in_process() -> None:
        embed_all(encoder, texts, settings.max_batch_size, settings.max_batch_tokens)

    with (
        Client(server.address, timeout_s=60) as client,
        grpc.insecure_channel(server.address) as channel,
        ThreadPoolExecutor(CALLS_IN_FLIGHT) as callers,
    ):
        embed = channel.unary_unary(PATHS[Call.EMBED])
        contenders = {
            IN_PROCESS: Contender(in_process, time.process_time),
            STREAM: Contender(stream, server.threads_cpu_s),
            CALLS: Contender(lambda: list(callers.map(embed, requests)), server.threads_cpu_s),
        }
        return measure(contenders, rounds, calls=1, warm_up_calls=1)


def embed_all(encoder: Encoder, texts: Sequence[str], max_batch_size: int, max_batch_tokens: int) -> Vector:
    """Return the texts' vectors, (len(texts), dim), made in batches of near length; long texts are cut."""
    heads = [text.head for text in encoder.tokenize(texts, Purpose.DOCUMENT)]
    batches: list[list[int]] = []
    for place in sorted(range(len(heads)), key=lambda place: len(heads[place])):
        if batches and len(batches[-1]) < min(max_batch_size, max_batch_tokens // len(heads[place])):
            batches[-1].append(place)
        else:
            batches.append([place])
    vectors = np.empty((len(texts), encoder.dim), np.float32)
    for batch in batches:
        vectors[batch] = encoder.run([heads[place] for place in batch])
    return vectors


def _mean_tokens(encoder: Encoder, texts: Sequence[str]) -> float:
    return round(sum(len(text.head) for text in encoder.tokenize(texts, Purpose.DOCUMENT)) / len(texts), 1)


def _speed(passes: Measurement, count: int) -> dict[str, Any]:
    return {
        "texts_per_s": round(1e3 * count / passes.p50_ms, 1),
        "cpu_ms_a_text": round(passes.cpu_ms / count, 4),
        "rounds_texts_per_s": [round(1e3 * count / ms, 1) for ms in passes.rounds_p50_ms],
    }


def throughput_table(throughput: Throughput) -> Table:
    """Return the speeds for people."""
    shown = Table("texts", "by", "texts/s", "CPU ms a text", "of in process", "by CPU", title="in bulk")
    for kind, by_name in throughput["speed"].items():
        texts = throughput["texts"][kind]
        for name, speed in by_name.items():
            shown.add_row(
                f"{texts['count']:,} {kind}, {texts['mean_tokens']:.0f} tokens",
                name,
                f"{speed['texts_per_s']:,.1f}",
                f"{speed['cpu_ms_a_text']:.3f}",
                *(f"{throughput[key][kind].get(name, '')}" for key in ("share", "cpu_share")),
            )
    shown.caption = f"promised: {PROMISED_SHARE} of in process"
    return shown
