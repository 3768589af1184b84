"""What every result is stamped with: the machine, the versions, the commit, the command."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "recwire",
    "recwire-server",
    "grpcio",
    "protobuf",
    "onnxruntime",
    "onnxruntime-gpu",
    "tokenizers",
    "hnswlib",
    "numpy",
)


def environment() -> dict[str, object]:
    """Return the stamp, ready for JSON."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": ["python", "-m", "benchmarks", *map(_without_folder, sys.argv[1:])],
        "commit": _git("rev-parse", "HEAD"),
        "changed_since_commit": bool(_git("status", "--porcelain")),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := installed_version(name))},
    }


def installed_version(package: str) -> str | None:
    """Return a package's version; None: it is not there, as of ONNX Runtime's two one is not."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _without_folder(argument: str) -> str:
    """Return an argument as it is, an absolute path without its folders: where a machine keeps files tells nothing."""
    return Path(argument).name if Path(argument).is_absolute() else argument


def _git(*arguments: str) -> str:
    root = Path(__file__).parents[1]
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False).stdout.strip()


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
