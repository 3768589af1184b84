"""The default model on torch, as one would write it down for speed: SDPA, no padding beyond the batch, no gradients."""

from pathlib import Path
from typing import Any

from recwire_server.encoder import Vector
from recwire_server.encoder.device import Device
from recwire_server.encoder.padding import padded
from recwire_server.model.fidelity import Run


def load_torch(folder: Path, device: Device, half: bool = False) -> Run:
    """Return what runs sequences as one batch with the weights in the folder. half: in float16 rather than float32.

    Raises ImportError without torch or transformers.
    """
    import torch
    import transformers

    dtype = torch.float16 if half else torch.float32
    model: Any = transformers.AutoModel.from_pretrained(folder, attn_implementation="sdpa", dtype=dtype)
    model = model.eval().to(device.value)

    def run(sequences: Any) -> Vector:
        inputs = {name: torch.from_numpy(array).to(device.value) for name, array in padded(sequences).items()}
        with torch.inference_mode():
            tokens = model(**inputs).last_hidden_state.float()
            mask = inputs["attention_mask"].unsqueeze(-1)
            pooled = (tokens * mask).sum(dim=1) / mask.sum(dim=1)
            vectors: Vector = torch.nn.functional.normalize(pooled, dim=1).cpu().numpy()
        return vectors

    return run
