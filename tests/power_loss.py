"""What a disk surely has when the power goes: a process's writes, of which only what was synced is safe.

The writes are those that strace saw. The model is that of a file system that keeps no order and promises nothing beyond
POSIX: what was written to a file is safe once fsync or fdatasync of the file has returned; that a file is there, or is
gone, once fsync of its folder has. Of all else any part may be on the disk, in pieces of SECTOR_BYTES.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

SECTOR_BYTES = 512
CALLS = ("mkdir", "openat", "pwrite64", "ftruncate", "fsync", "fdatasync", "rename", "unlink", "sendmsg")
LINE = re.compile(r"(?P<thread>\d+) +(?:<\.\.\. (?P<resumed>\w+) resumed>)?(?P<rest>.*)")
CALL = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+)")
TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"|<((?:\\x[0-9a-f]{2})+)>')
UNFINISHED = " <unfinished ...>"


def strace(trace: Path) -> list[str]:
    """Return the command that is given another, and runs it, as its parent's own child, with its calls in a file."""
    return [
        "strace",
        "-D",
        "-f",
        "-q",
        "-yy",
        "-xx",
        "-s",
        "4194304",
        "-e",
        f"trace={','.join(CALLS)}",
        "-o",
        str(trace),
    ]


@dataclass(frozen=True)
class Call:
    """A system call that succeeded. texts: paths and contents among its arguments, in order. arguments: as shown."""

    name: str
    texts: Sequence[bytes]
    arguments: str
    result: int


def calls(trace: Path) -> Iterator[Call]:
    """Yield the calls in the order in which they returned; what is sent as of when it began to be."""
    begun: dict[str, str] = {}
    for line in trace.read_text().splitlines():
        found = LINE.fullmatch(line)
        assert found, line
        rest, thread = found["rest"], found["thread"]
        if found["resumed"]:
            rest = begun.pop(thread) + rest.lstrip()
        elif rest.endswith(UNFINISHED):
            begun[thread] = rest.removesuffix(UNFINISHED)
            if not rest.startswith("sendmsg"):
                continue
            rest = f"{begun[thread]}) = 0"
        if (call := CALL.match(rest)) and int(call["result"]) >= 0:
            texts = [bytes.fromhex((one or other).replace("\\x", "")) for one, other in TEXT.findall(call["arguments"])]
            yield Call(call["name"], texts, call["arguments"], int(call["result"]))


class File:
    """A file's content as the process sees it, as it surely is on the disk, and the places written since."""

    def __init__(self) -> None:
        self._seen, self._safe = bytearray(), bytearray()
        self._written: list[range] = []

    def write(self, place: int, content: bytes) -> None:
        _put(self._seen, place, content)
        self._written.append(range(place, place + len(content)))

    def truncate(self, size: int) -> None:
        del self._seen[size:]
        self._written = [range(one.start, min(one.stop, size)) for one in self._written]

    def sync(self) -> None:
        self._safe = bytearray(self._seen)
        self._written.clear()

    def survivor(self, random: Random | None) -> bytes:
        """What may be left of it; see Disk.survivors."""
        left = bytearray(self._safe)
        for written in self._written if random else []:
            for place in range(written.start, written.stop, SECTOR_BYTES):
                if random.random() < 0.5:
                    _put(left, place, self._seen[place : min(place + SECTOR_BYTES, written.stop)])
        return bytes(left)


def _put(content: bytearray, place: int, piece: bytes) -> None:
    content.extend(bytes(max(0, place + len(piece) - len(content))))
    content[place : place + len(piece)] = piece


class Disk:
    """What is below a folder that was there, and empty, before: files, and None for folders."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._seen: dict[Path, File | None] = {}
        self._safe: dict[Path, File | None] = {root: None}

    def apply(self, call: Call) -> None:
        """Take note of a call."""
        path = Path(os.fsdecode(call.texts[-1 if call.name == "openat" else 0]))
        if not path.is_relative_to(self._root):
            return
        file = self._seen.get(path)
        match call.name:
            case "mkdir":
                self._seen[path] = None
            case "openat":
                if "O_CREAT" in call.arguments:
                    self._seen.setdefault(path, File())
            case "rename":
                self._seen[Path(os.fsdecode(call.texts[1]))] = self._seen.pop(path)
            case "unlink":
                self._seen.pop(path)
            case "fsync" | "fdatasync":
                self._sync(path)
            case "pwrite64":
                assert file is not None, path
                file.write(int(call.arguments.rpartition(", ")[2]), call.texts[1])
            case "ftruncate":
                assert file is not None, path
                file.truncate(int(call.arguments.rpartition(", ")[2]))

    def _sync(self, path: Path) -> None:
        if file := self._seen.get(path):
            file.sync()
            return
        for old in [one for one in self._safe if one.parent == path]:
            del self._safe[old]
        self._safe |= {new: file for new, file in self._seen.items() if new.parent == path}

    def survivors(self, random: Random | None) -> dict[Path, bytes]:
        """What files may be left, with their contents.

        random: decides what is of all that is not safe; None: nothing is.
        """
        there = self._safe
        if random:
            names = sorted(self._safe.keys() | self._seen.keys())
            sources = {name: random.choice([self._safe, self._seen]) for name in names}
            there = {name: source[name] for name, source in sources.items() if name in source} | {self._root: None}
        return {
            path: file.survivor(random)
            for path, file in there.items()
            if file is not None and all(folder in there for folder in path.parents if folder.is_relative_to(self._root))
        }
