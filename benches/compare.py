"""What a record costs in a warm invocation of 5,000: the real enricher against the same join in Python.

Both run as processes under a Runtime API, against the same S3, DynamoDB and Kinesis on loopback, on the same events in
turn. The cost of an invocation is the CPU time of the function's own process, and the wall time from handing out the
event to the answer. Before a figure counts, what the contestants wrote is compared, row for row; any difference ends
this with exit code 1. Figures are medians; the quartiles beside them say how noisy the machine was.
"""

import argparse
import csv
import datetime
import io
import os
import pathlib
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import boto3
import botocore.config

import events
from runtime_api import Failed, Function

HERE = pathlib.Path(__file__).parent
DEFINITION = f"""
name = "orders"
[[reference]]
dynamodb = "{events.TABLE}"
on = {{ dish = "item" }}
[output]
columns = ["cost", "price", "priority", "customer_id", "item"]
partition_by = ["item", "priority"]
"""
OUTPUT, STATE = "bench-output", "bench-state"
SECRET = "benchbench"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A server on loopback, until it is stopped."""

    def __init__(self, command, port, log):
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise Failed(f"{command[0]} does not start; see its log") from None
                time.sleep(0.05)

    def stop(self):
        self.process.kill()
        self.process.wait()


def client(service, url):
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=events.REGION,
        aws_access_key_id=SECRET,
        aws_secret_access_key=SECRET,
        config=botocore.config.Config(s3={"addressing_style": "path"}),
    )


def prepare(s3, moto):
    for bucket in (OUTPUT, STATE):
        s3.create_bucket(Bucket=bucket)
    dynamodb = client("dynamodb", moto)
    dynamodb.create_table(
        TableName=events.TABLE,
        KeySchema=[{"AttributeName": "item", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "item", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    for row in events.ROWS:
        item = {name: {"N": str(value)} if isinstance(value, int) else {"S": value} for name, value in row.items()}
        dynamodb.put_item(TableName=events.TABLE, Item=item)
    client("kinesis", moto).create_stream(StreamName=events.STREAM, ShardCount=1)


def contestants(enricher, s3, moto):
    """Name, command and environment of each."""
    common = {
        "PATH": os.environ["PATH"],
        "AWS_REGION": events.REGION,
        "AWS_DEFAULT_REGION": events.REGION,
        "AWS_ACCESS_KEY_ID": SECRET,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": moto,
        "AWS_ENDPOINT_URL_S3": s3,
    }
    ours = {
        "FRESHJOIN_PIPELINE": DEFINITION,
        "FRESHJOIN_STATE": f"s3://{STATE}",
        "FRESHJOIN_OUTPUT": f"s3://{OUTPUT}/freshjoin",
        "FRESHJOIN_STREAM": events.STREAM,
    }
    python = {"TABLE": events.TABLE, "OUTPUT_BUCKET": OUTPUT}
    handler = [sys.executable, str(HERE / "python_handler.py")]
    return [
        ("freshjoin", [enricher], common | ours),
        ("python", handler, common | python | {"OUTPUT_PREFIX": "python"}),
        ("python, 8 threads", handler, common | python | {"OUTPUT_PREFIX": "python-8", "PUT_THREADS": "8"}),
    ]


def written(s3, prefix):
    """Rows by partition and range, of all objects below a prefix; the header is the first."""
    found = {}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=OUTPUT, Prefix=f"{prefix}/"):
        for entry in page.get("Contents", []):
            key = entry["Key"].removeprefix(f"{prefix}/")
            if not key.startswith("_"):
                text = s3.get_object(Bucket=OUTPUT, Key=entry["Key"])["Body"].read().decode()
                found[key] = list(csv.reader(io.StringIO(text)))
    return found


def compare(s3, names, records):
    """How many rows every contestant wrote, all of them the same."""
    first, *others = (written(s3, prefix) for prefix in names)
    rows = sum(len(rows) - 1 for rows in first.values())
    if rows != records:
        raise Failed(f"{rows} rows were written for {records} records")
    for prefix, other in zip(names[1:], others):
        if other.keys() != first.keys():
            odd = sorted(other.keys() ^ first.keys())[0]
            raise Failed(f"{names[0]} and {prefix} differ: only one of them wrote {odd}")
        for key, rows_of_other in other.items():
            if rows_of_other != first[key]:
                raise Failed(f"{names[0]} and {prefix} differ in {key}")
    return rows


def measure(functions, arguments):
    """(CPU, wall) seconds of every counted invocation, by function; and of its first."""
    spent = {function.name: [] for function in functions}
    first = {}
    number = 1
    for turn in range(arguments.warm_up + arguments.invocations):
        event = events.event(number, arguments.records, seed=turn)
        number += arguments.records
        # Whoever comes second finds warmer or busier servers: they take turns.
        for function in functions[turn % len(functions):] + functions[:turn % len(functions)]:
            answer, wall, cpu = function.invoke(event)
            if answer.strip() != b'{"batchItemFailures":[]}':
                raise Failed(f"{function.name} answered {answer[:200]!r}")
            first.setdefault(function.name, (cpu, wall))
            if turn >= arguments.warm_up:
                spent[function.name].append((cpu, wall))
    return spent, first


def micros(seconds, records):
    """Median and quartiles in microseconds a record."""
    low, middle, high = statistics.quantiles([each / records * 1e6 for each in seconds], n=4)
    return middle, f"{middle:6.2f} ({low:.2f}-{high:.2f})"


def report(functions, spent, first, arguments):
    with open("/proc/cpuinfo") as text:
        model = next((line.split(":")[1].strip() for line in text if line.startswith("model name")), "unknown")
    print(f"{datetime.date.today()}, {os.cpu_count()} x {model}, Python {platform.python_version()}")
    print(f"{arguments.invocations} warm invocations of {arguments.records} records each; S3: {arguments.s3_name}")
    print("microseconds a record, median (quartiles)\n")
    print("| | CPU | wall | CPU to Python's | wall to Python's | first event, ms CPU | memory, MB |")
    print("|---|---|---|---|---|---|---|")
    columns = {name: list(zip(*values)) for name, values in spent.items()}
    best = [min(statistics.median(columns[f.name][of]) for f in functions[1:]) for of in (0, 1)]
    for function in functions:
        cpu, wall = columns[function.name]
        ratios = [statistics.median(each) / least for each, least in zip((cpu, wall), best)]
        print(
            f"| {function.name} | {micros(cpu, arguments.records)[1]} | {micros(wall, arguments.records)[1]} "
            f"| {ratios[0]:.2f} | {ratios[1]:.2f} | {first[function.name][0] * 1e3:.0f} "
            f"| {function.resident_bytes() / 1e6:.0f} |"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--enricher", required=True, help="the enricher's bootstrap")
    parser.add_argument("--moto-python", required=True, help="a Python that has moto")
    parser.add_argument("--versitygw", help="versitygw's binary; without it moto serves S3 too")
    parser.add_argument("--records", type=int, default=5000, help="records an event")
    parser.add_argument("--invocations", type=int, default=30, help="counted invocations of each contestant")
    parser.add_argument("--warm-up", type=int, default=6, help="invocations before them")
    parser.add_argument("--logs", default="target/bench-logs", help="where the processes' output goes")
    arguments = parser.parse_args()
    logs = pathlib.Path(arguments.logs)
    logs.mkdir(parents=True, exist_ok=True)

    def log(name):
        return open(logs / f"{name}.log", "wb")

    running = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            port = free_port()
            command = [arguments.moto_python, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
            moto = Server(command, port, log("moto"))
            running.append(moto)
            gateway = moto
            if arguments.versitygw:
                port = free_port()
                # S3 keeps connections open, as this server does only when told.
                command = [arguments.versitygw, "--port", f"127.0.0.1:{port}", "--keep-alive"]
                credentials = ["--access", SECRET, "--secret", SECRET]
                gateway = Server(command + credentials + ["posix", folder], port, log("versitygw"))
                running.append(gateway)
            arguments.s3_name = "versitygw" if arguments.versitygw else "moto"
            s3 = client("s3", gateway.url)
            prepare(s3, moto.url)
            functions = []
            for name, command, environment in contestants(arguments.enricher, gateway.url, moto.url):
                functions.append(Function(name, command, environment, log(name)))
                running.append(functions[-1])
            spent, first = measure(functions, arguments)
            records = (arguments.warm_up + arguments.invocations) * arguments.records
            rows = compare(s3, ["freshjoin", "python", "python-8"], records)
            report(functions, spent, first, arguments)
            print(f"\n{rows} rows of each compared with the others': the same")
        finally:
            for each in reversed(running):
                each.stop()


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        sys.exit(f"bench: {error}")
