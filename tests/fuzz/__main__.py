"""`python -m tests.fuzz --seconds 600`: both targets, guided by coverage (atheris: requirements/fuzz.txt).

Each has half of the time. What was found before is kept in .fuzz/ and gone on from. A finding is kept there too, and
makes the exit status 1.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / ".fuzz"
LONGEST = {"bodies": 8_192, "wire": 4_096}

_POST = b"POST CALLBACK HTTP/1.1\r\nhost: x\r\n"
_NEWS = b'{"task_status":"processing"}'
WIRE_SEEDS = [
    b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n",
    _POST + b"content-length: %d\r\n\r\n%b" % (len(_NEWS), _NEWS),
    _POST + b"transfer-encoding: chunked\r\n\r\n%x;a=b\r\n%b\r\n0\r\nx: y\r\n\r\n" % (len(_NEWS), _NEWS),
    _POST + b"expect: 100-continue\r\ncontent-length: 2\r\n\r\n{}GET /metrics HTTP/1.1\r\n\r\n",
    _POST + b"connection: upgrade\r\nupgrade: h2c\r\ncontent-length: 2\r\n\r\n{}",
    _POST + b"content-encoding: gzip\r\ncontent-length: 2\r\n\r\n\x1f\x8b",
    b"POST /v1/tasks HTTP/1.1\r\nauthorization: Bearer KEY\r\ncontent-length: 2\r\n\r\n{}",
    b"GET /v1/tasks?limit=1&after=x HTTP/1.1\r\nauthorization: Bearer KEY\r\n\r\n" * 6,
    b"GET /v1/events?after=0 HTTP/1.1\r\nauthorization: Bearer KEY\r\n\r\n",
    (
        b"POST /v1/submissions/x/answer HTTP/1.1\r\nauthorization: Bearer KEY\r\n"
        b'content-length: 36\r\n\r\n{"http_status":200,"body_base64":""}'
    ),
    b"CONNECT x:443 HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /" + b"a" * 300 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"a: bcdef\r\n" * 13 + b"\r\n",
    b"GET / HTTP/1.1\r\nx: " + b"y" * 600,
    _POST + b"transfer-encoding: chunked\r\n\r\n1;" + b"x" * 600 + b"\r\nz\r\n0\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET http://x/readyz HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
]
WORDS = {
    "bodies": ["task_id", "id", "task_status", "status", "succeed", "processing", "failed", "data", "task_result",
               "images", "series_images", "url", "index", "outputs", "billing", "amount", "task_info",
               "external_task_id", "created_at", "1e999", "NaN", "\\ud800", "\\u0000", "task_status_msg"],
    "wire": ["\r\n", "\r\n\r\n", ": ", "GET ", "POST ", " HTTP/1.1\r\n", "CALLBACK", "content-length: ", "chunked",
             "transfer-encoding: ", "connection: ", "close", "upgrade: ", "keep-alive", "expect: 100-continue",
             "/v1/tasks", "/metrics", "content-encoding: ", "host: ", "0\r\n\r\n", "%00", "%ff"],
}  # fmt: skip


def main() -> int:
    """Both targets, one after the other; what they did as a line of JSON each."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--only", choices=sorted(LONGEST))
    asked = parser.parse_args()
    targets = [asked.only] if asked.only else sorted(LONGEST)
    results = [_run(target, max(1, asked.seconds // len(targets))) for target in targets]
    for result in results:
        sys.stdout.write(json.dumps(result) + "\n")
    return int(any(result["finding"] for result in results))


def _run(target: str, seconds: int) -> dict[str, object]:
    corpus, findings = KEPT / target, KEPT / "findings"
    for directory in (corpus, findings):
        directory.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(_seeds(target)):
        (corpus / f"seed-{number}").write_bytes(seed)
    words = KEPT / f"{target}.dict"
    words.write_text("".join(f'"{_quoted(word)}"\n' for word in WORDS[target]))
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST[target]}",
        f"-dict={words}",
        f"-artifact_prefix={findings}/{target}-",
        "-timeout=25",
        "-rss_limit_mb=1024",
        "-print_final_stats=1",
        "-verbosity=1",
    ]
    command = [sys.executable, "-m", "tests.fuzz.target", target, str(corpus), *options]
    done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    return _result(target, done)


def _result(target: str, done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    def last(pattern: str) -> int:
        found = re.findall(pattern, done.stderr)
        return int(found[-1]) if found else 0

    if done.returncode:
        sys.stderr.write(done.stderr[-6_000:])
    return {
        "target": target,
        "executions": last(r"stat::number_of_executed_units: *(\d+)"),
        "seconds": last(r"Done \d+ runs in (\d+) second"),
        "coverage": last(r" cov: (\d+) "),
        "features": last(r" ft: (\d+) "),
        "coverage_at_start": int(next(iter(re.findall(r"INITED +cov: (\d+)", done.stderr)), 0)),
        "finding": done.returncode != 0,
    }


def _seeds(target: str) -> list[bytes]:
    if target == "wire":
        return [bytes([255]) + seed for seed in WIRE_SEEDS] + [bytes([1]) + seed for seed in WIRE_SEEDS[:4]]
    recordings = sorted((ROOT / "tests" / "recordings").glob("*.json"))
    return [json.loads(each.read_text())["body"].encode() for each in recordings]


def _quoted(word: str) -> str:
    return "".join(char if char.isprintable() and char not in '"\\' else f"\\x{ord(char):02x}" for char in word)


if __name__ == "__main__":
    sys.exit(main())
