"""The loop that one finds in many a script: transformers on torch, text by text, each padded to all positions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from recwire_server.encoder import Vector
from recwire_server.encoder.device import Device

PADDED_TOKENS = 512  # the positions that MiniLM has, and what padding="max_length" comes to


def naive_loop(folder: Path, device: Device) -> Callable[[str], Vector]:
    """Return what embeds a text with the weights in a folder, on one thread.

    Raises ModuleNotFoundError without torch.
    """
    import torch
    import transformers

    torch.set_num_threads(1)
    model: Any = transformers.AutoModel.from_pretrained(folder).eval().to(device)
    loader: Any = transformers.AutoTokenizer  # its methods have no types
    tokenizer = loader.from_pretrained(folder)

    def embed(text: str) -> Vector:
        inputs = tokenizer(text, padding="max_length", truncation=True, max_length=PADDED_TOKENS, return_tensors="pt")
        inputs = inputs.to(device)
        with torch.no_grad():
            tokens = model(**inputs).last_hidden_state[0]
        mask = inputs["attention_mask"][0].unsqueeze(1)
        pooled = (tokens * mask).sum(dim=0) / mask.sum()
        vector: Vector = torch.nn.functional.normalize(pooled, dim=0).cpu().numpy()
        return vector

    return embed
