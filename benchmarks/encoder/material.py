"""What the text encoders are made from: one set of weights, traced once."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from recwire_server.encoder import Purpose
from recwire_server.encoder.tokenization import Tokenization
from recwire_server.model.manifest import TOKENIZER_FILE
from recwire_server.model.settings import SettingsOverrides, read_settings
from recwire_server.model.source import Source, resolve_source
from recwire_server.model.trace import plain_tokenizer, quiet_libraries, trace


@dataclass(frozen=True)
class Material:
    """The default model before anything is done to it.

    source: its weights. traced: the float32 graph as Optimum traces it, token vectors out. pooled: the same with
    pooling and unit length. calibration: texts that are not in the sample. cache_dir: of exported models. work: a
    folder to write to.
    """

    source: Source
    traced: Path
    pooled: Path
    tokenization: Tokenization
    max_tokens: int
    calibration: Sequence[str]
    cache_dir: Path
    work: Path

    def token_ids(self, texts: Sequence[str]) -> list[Sequence[int]]:
        """Return the token ids of each text, cut at max_tokens."""
        return [text.head for text in self.tokenization.tokenize(texts, Purpose.DOCUMENT)]

    def folder_with_graph(self) -> Path:
        """Return a folder of the source's files with `traced` as onnx/model.onnx, where Optimum's users look for it."""
        folder = self.work / "with-graph"
        if not folder.is_dir():
            (folder / "onnx").mkdir(parents=True)
            for path in self.source.folder.iterdir():
                (folder / path.name).symlink_to(path.resolve())
            (folder / "onnx" / "model.onnx").symlink_to(self.traced)
        return folder


@contextmanager
def trace_default_model(calibration: Sequence[str], cache_dir: Path) -> Iterator[Material]:
    """Trace the default model; its files live as long as the block. Needs the export extra."""
    # Only here: the other benchmarks do without the export extra.
    import onnx

    from recwire_server.model.pooling import add_pooling

    source = resolve_source(None)
    settings = read_settings(source, SettingsOverrides())
    with tempfile.TemporaryDirectory(prefix="recwire-encoder-") as folder, quiet_libraries():
        work = Path(folder)
        traced = trace(source, work, Console(stderr=True).print)
        pooled = work / "pooled.onnx"
        onnx.save(add_pooling(onnx.load(traced), settings.pooling), pooled)
        tokenizer_file = work / TOKENIZER_FILE
        plain_tokenizer(source, settings).save(str(tokenizer_file))
        tokenization = Tokenization.load(tokenizer_file, settings.max_tokens, dict.fromkeys(Purpose, ""))
        yield Material(source, traced, pooled, tokenization, settings.max_tokens, calibration, cache_dir, work)
