"""What downloads without a mount: curl and the community's SDK."""

import concurrent.futures
import http.client
import subprocess
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from claude_compliance_sdk import ComplianceClient

from tests.bench.mounts import NO_LIMIT_RPM
from tests.bench.servers import Servers

_LIMIT_S = 900


def curl_many(servers: Servers, ids: Sequence[str], *, parallel: int = 1) -> None:
    """Download contents to nowhere with one curl; `parallel` of them at once."""
    lines = [f'header = "x-api-key: {servers.read_key}"', "fail"]
    for file_id in ids:
        lines += [f'url = "{servers.content_url(file_id)}"', 'output = "/dev/null"']
    command = ["curl", "--no-progress-meter", "-K", "-"]
    if parallel > 1:
        command += ["-Z", "--parallel-max", str(parallel)]
    subprocess.run(command, input="\n".join(lines).encode(), check=True, timeout=_LIMIT_S)


def curl_timing(servers: Servers, file_id: str, which: str) -> float:
    """Download one content to nowhere with curl; return the seconds that it says for `which`."""
    command = ["curl", "-sSf", "-o", "/dev/null", "-w", f"%{{{which}}}"]
    command += ["-H", f"x-api-key: {servers.read_key}", servers.content_url(file_id)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_LIMIT_S)
    return float(done.stdout)


def curl_first_byte(servers: Servers, file_id: str) -> float:
    """Return the seconds until curl has the first byte; the rest is not fetched."""
    command = (
        f"curl -sS -N -w '%{{stderr}}%{{time_starttransfer}}' -H 'x-api-key: {servers.read_key}' \
'{servers.content_url(file_id)}' | head -c1 >/dev/null"
    )
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=True, timeout=_LIMIT_S
    )
    return float(done.stderr.split()[-1])


def sdk_many(servers: Servers, ids: Sequence[str], *, parallel: int = 1) -> None:
    """Download contents into memory with the SDK, `parallel` at once."""
    with (
        ComplianceClient(
            servers.read_key, base_url=servers.api_url, rate_limit_rpm=NO_LIMIT_RPM
        ) as sdk,
        concurrent.futures.ThreadPoolExecutor(parallel) as threads,
    ):
        for body in threads.map(sdk.files.download, ids):
            assert body


def sdk_to_file(servers: Servers, file_id: str, target: Path) -> None:
    """Download one content to a file with the SDK."""
    with ComplianceClient(servers.read_key, base_url=servers.api_url) as sdk:
        sdk.files.download_to_file(file_id, target)


class Ranges:
    """One connection that asks the API for parts of a content, as fast as Python's own client can."""

    def __init__(self, servers: Servers, file_id: str) -> None:
        parts = urlsplit(servers.content_url(file_id))
        self._path = parts.path
        self._key = servers.read_key
        self._connection = http.client.HTTPConnection(parts.netloc, timeout=60)

    def read(self, offset: int, size: int) -> bytes:
        """Return a part, which the server must honour."""
        headers = {"x-api-key": self._key, "range": f"bytes={offset}-{offset + size - 1}"}
        self._connection.request("GET", self._path, headers=headers)
        answer = self._connection.getresponse()
        assert answer.status == 206
        return answer.read()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
