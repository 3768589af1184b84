"""Quiets gRPC, on import: it reads its environment when it is imported itself, so that this has to come first.

Its lines (handshakes that failed, frames that break HTTP/2's rules) go past our log in a format of their own, and
whoever reaches the port can make as many as they like.
"""

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")
