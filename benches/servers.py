"""The servers that every contestant talks to, on loopback: moto for DynamoDB and Kinesis, and an S3."""

import socket
import subprocess
import time

import boto3
import botocore.config

import events
from runtime_api import Failed

OUTPUT, STATE = "bench-output", "bench-state"
SECRET = "benchbench"


class Servers:
    """Running, with buckets, table and stream in place, until the block ends."""

    def __init__(self, options, folder, logs):
        self._running = []
        try:
            port = free_port()
            command = [options.moto_python, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
            self.moto = self.s3_url = self._start(command, port, logs / "moto.log")
            self.s3_name = "moto"
            if options.versitygw:
                port = free_port()
                # S3 keeps connections open, as this server does only when told.
                command = [options.versitygw, "--port", f"127.0.0.1:{port}", "--keep-alive"]
                command += ["--access", SECRET, "--secret", SECRET, "posix", folder]
                self.s3_url = self._start(command, port, logs / "versitygw.log")
                self.s3_name = "versitygw"
            self.s3 = client("s3", self.s3_url)
            self._prepare()
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self._running:
            process.kill()
            process.wait()

    def _start(self, command, port, log):
        with open(log, "wb") as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        self._running.append(process)
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return f"http://127.0.0.1:{port}"
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise Failed(f"{command[0]} does not start; see {log}") from None
                time.sleep(0.05)

    def _prepare(self):
        for bucket in (OUTPUT, STATE):
            self.s3.create_bucket(Bucket=bucket)
        dynamodb = client("dynamodb", self.moto)
        dynamodb.create_table(
            TableName=events.TABLE,
            KeySchema=[{"AttributeName": "item", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "item", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        for row in events.ROWS:
            item = {name: {"N": str(value)} if isinstance(value, int) else {"S": value} for name, value in row.items()}
            dynamodb.put_item(TableName=events.TABLE, Item=item)
        client("kinesis", self.moto).create_stream(StreamName=events.STREAM, ShardCount=1)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def client(service, url):
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=events.REGION,
        aws_access_key_id=SECRET,
        aws_secret_access_key=SECRET,
        config=botocore.config.Config(s3={"addressing_style": "path"}),
    )
