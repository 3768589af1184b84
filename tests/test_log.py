"""The log, as a program reads it that collects lines."""

import json
import logging
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from server_process import LINE_START, PATIENCE_S
from trace_collector import collecting

from recwire.v1 import recommender_service_pb2 as pb
from recwire.v1.recommender_service_pb2_grpc import RecommenderServiceStub
from recwire_server.telemetry.log import JsonFormatter

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SERVER = Path(__file__).with_name("failing_server.py")


def lines_of_a_failing_call(data_dir: Path, **settings: object) -> tuple[list[str], str]:
    """Return what a server logs that is called once, in a trace, and stopped; and what the caller is told."""
    flags = {"listen": "127.0.0.1:0", "data_dir": str(data_dir), **settings}
    command = [sys.executable, str(SERVER), json.dumps(flags)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().removeprefix(LINE_START).strip()
            with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as raised:
                RecommenderServiceStub(channel).Embed(
                    pb.EmbedRequest(texts=["secret text"]),
                    metadata=[("traceparent", f"00-{TRACE_ID}-{PARENT_ID}-01")],
                    timeout=PATIENCE_S,
                )
            process.terminate()
            _, log = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    assert process.returncode == 0, log
    return log.splitlines(), raised.value.details()


def test_each_line_is_an_object_that_ties_a_bug_to_its_call(tmp_path: Path):
    """With the incident that the caller is told, the trace that the caller began, and the whole exception."""
    with collecting() as collector:
        log, told = lines_of_a_failing_call(
            tmp_path, log_format="json", trace_endpoint=collector.endpoint, metrics_listen="127.0.0.1:0"
        )
    lines = [json.loads(line) for line in log]
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    (incident,) = [line for line in lines if line["level"] == "ERROR"]
    assert told.endswith(incident["incident_id"])
    assert incident["rpc"] == "recwire.v1.RecommenderService/Embed"
    assert incident["trace_id"] == TRACE_ID
    assert re.fullmatch("[0-9a-f]{16}", incident["span_id"])
    assert incident["exception"].startswith("Traceback")
    assert incident["exception"].endswith("ZeroDivisionError: a bug\nin two lines")
    assert abs(datetime.fromisoformat(incident["time"]) - datetime.now(UTC)).total_seconds() < PATIENCE_S
    assert incident["time"].endswith("Z")
    assert any("metrics are served on http://127.0.0.1:" in line["message"] for line in lines)
    assert "secret" not in "".join(log)


def test_text_is_for_people(tmp_path: Path):
    """The default, with the incident in words."""
    log, told = lines_of_a_failing_call(tmp_path)
    incident_id = told.split()[-1]
    assert any(f"ERROR recwire_server.service.status: incident {incident_id} in " in line for line in log)
    assert "secret" not in "".join(log)


def test_whatever_a_line_is_given_is_one_line_of_json():
    """Fields that JSON has no word for are written as text; line breaks and lone surrogates are escaped."""
    record = logging.makeLogRecord({"msg": "a\n%s \ud800", "args": ("b",), "path": Path("/x"), "count": 3})
    line = JsonFormatter(dict).format(record)
    assert "\n" not in line
    written = json.loads(line)
    assert (written["message"], written["path"], written["count"]) == ("a\nb \ud800", "/x", 3)
    assert "trace_id" not in written
