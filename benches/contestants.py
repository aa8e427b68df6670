"""Who is measured: freshjoin, and the same join in Python and in Node, each under its own output prefix."""

import dataclasses
import importlib.metadata
import os
import pathlib
import platform
import subprocess
import sys

import events
from runtime_api import Function
from servers import OUTPUT, SECRET, STATE

DEFINITION = f"""
name = "orders"
[[reference]]
dynamodb = "{events.TABLE}"
on = {{ dish = "item" }}
[output]
columns = ["cost", "price", "priority", "customer_id", "item"]
partition_by = ["item", "priority"]
"""


@dataclasses.dataclass(frozen=True)
class Entrant:
    """A function that can be started any number of times."""

    prefix: str
    name: str
    command: list
    environment: dict

    def start(self, logs):
        """A new execution environment of it, when it has asked for its first event."""
        with open(logs / f"{self.prefix}.log", "ab") as log:
            return Function(self.name, self.command, self.environment, log)


def entrants(options, servers):
    """freshjoin first, then whom it is compared with."""
    common = {
        "PATH": os.environ["PATH"],
        "AWS_REGION": events.REGION,
        "AWS_DEFAULT_REGION": events.REGION,
        "AWS_ACCESS_KEY_ID": SECRET,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": servers.moto,
        "AWS_ENDPOINT_URL_S3": servers.s3_url,
    }
    ours = {
        "FRESHJOIN_PIPELINE": DEFINITION,
        "FRESHJOIN_STATE": f"s3://{STATE}",
        "FRESHJOIN_OUTPUT": f"s3://{OUTPUT}/freshjoin",
        "FRESHJOIN_STREAM": events.STREAM,
    }
    found = [Entrant("freshjoin", "freshjoin", [options.enricher], common | ours)]

    def peer(prefix, name, command):
        theirs = {"TABLE": events.TABLE, "OUTPUT_BUCKET": OUTPUT, "OUTPUT_PREFIX": prefix}
        found.append(Entrant(prefix, name, command, common | theirs))

    handler = pathlib.Path(__file__).parent / "python" / "handler.py"
    libraries = " and ".join(f"{name} {importlib.metadata.version(name)}" for name in ("orjson", "boto3"))
    peer("python", f"Python {platform.python_version()}, {libraries}", [sys.executable, str(handler)])
    if options.node_handler:
        version = subprocess.run(["node", "--version"], check=True, capture_output=True, text=True).stdout.strip()
        peer("node", f"Node {version.removeprefix('v')}, AWS SDK v3", ["node", options.node_handler])
    return found
