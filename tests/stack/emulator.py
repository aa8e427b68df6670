"""MiniStack, the AWS that the template is deployed into: on loopback only, on a free port, gone with its block."""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import boto3

REGION = "us-east-1"
# How long anything may take before it counts as failed. Nothing waits so long where all is well.
DEADLINE = 120


def until(what, probe):
    """What `probe` gives as soon as that is true."""
    end = time.monotonic() + DEADLINE
    while not (result := probe()):
        if time.monotonic() > end:
            raise TimeoutError(f"{DEADLINE} s passed, and still not: {what}")
        time.sleep(0.2)
    return result


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def ministack(executable: pathlib.Path, log: pathlib.Path):
    """Runs MiniStack and yields the environment in which every client, `sam` too, finds it and no account."""
    port, folder = free_port(), tempfile.mkdtemp(prefix="freshjoin-stack-")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FRESHJOIN_"))}
    environment = inherited | {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }
    own = {
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "MINISTACK_REGION": REGION,
        "TMPDIR": folder,
        # Every call must be allowed by the policies of its caller.
        "AUTH": "true",
        # Two of its services would listen on ports of their own.
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
    }
    with log.open("wb") as output:
        # A session of its own: the functions that it starts end with it.
        process = subprocess.Popen(
            [executable], env=environment | own, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        until("MiniStack answers", lambda: answers(port, process))
        yield environment
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def answers(port, process):
    if process.poll() is not None:
        raise RuntimeError(f"MiniStack ended at once, with {process.returncode}")
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def client(service, environment):
    return boto3.client(
        service,
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name=REGION,
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )
