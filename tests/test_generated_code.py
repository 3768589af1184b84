"""The client's generated code is what the protos say."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMITTED = ROOT / "client" / "src" / "recwire" / "v1"


def generate(out: Path) -> None:
    """Generate into a folder, as `make proto` does."""
    protos = sorted((ROOT / "protos" / "recwire" / "v1").glob("*.proto"))
    services = [proto for proto in protos if proto.stem.endswith("_service")]
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'protos'}"]
    subprocess.run([*protoc, f"--python_out={out}", f"--pyi_out={out}", *protos], check=True)
    subprocess.run([*protoc, f"--grpc_python_out={out}", *services], check=True)


def test_committed_code_is_the_generated_code_byte_for_byte(tmp_path: Path) -> None:
    """`make proto` changes nothing: no file differs, is missing or is left over."""
    generate(tmp_path)

    generated = {path.name: path.read_bytes() for path in (tmp_path / "recwire" / "v1").iterdir()}
    committed = {path.name: path.read_bytes() for path in COMMITTED.glob("*_pb2*")}

    assert generated.keys() == committed.keys()
    assert [name for name in generated if generated[name] != committed[name]] == []
