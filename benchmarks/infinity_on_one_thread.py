"""infinity-emb's command with one thread a session of ONNX Runtime, for which it has no option.

Runs in its own environment. By default a session starts a thread a core and ties it there, out of the core that the
server has been given.
"""

from typing import Any

import onnxruntime
from infinity_emb.cli import cli

default_start = onnxruntime.InferenceSession.__init__


def start_on_one_thread(session: Any, model: Any, sess_options: Any = None, *others: Any, **named: Any) -> None:
    """Start a session as it is asked for, with one thread."""
    options = sess_options or onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    default_start(session, model, options, *others, **named)


onnxruntime.InferenceSession.__init__ = start_on_one_thread
cli()
