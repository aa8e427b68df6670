"""The template, deployed whole into MiniStack: orders come out enriched, a change switches their partition.

    main.py --template BUILT --ministack EXECUTABLE --logs FOLDER

MiniStack holds every call of a function to its role. What it cannot show is tested elsewhere: it ignores
batch item failures and never throttles.
"""

import argparse
import csv
import io
import json
import pathlib
import signal
import subprocess
import sys
import time
import urllib.parse

from emulator import REGION, client, ministack, until

STACK = "freshjoin"
PRIORITIES = {"salad": "high", "pizza": "low", "burger": "medium", "ice-cream": "very very high"}
# Not in the table: a left join keeps its orders, with no priority.
UNMATCHED = "donut"
NULL = "__HIVE_DEFAULT_PARTITION__"

# What exactly once rests on, whatever an emulator makes of it.
FROM_THE_BEGINNING_FOR_EVER = {
    "StartingPosition": "TRIM_HORIZON",
    "ParallelizationFactor": 1,
    "BisectBatchOnFunctionError": False,
    "MaximumRetryAttempts": -1,
    "MaximumRecordAgeInSeconds": -1,
    "FunctionResponseTypes": ["ReportBatchItemFailures"],
}
MAPPINGS = {
    "ChangeCapture": FROM_THE_BEGINNING_FOR_EVER,
    "Enricher": FROM_THE_BEGINNING_FOR_EVER,
    "FlagInjector": {"FunctionResponseTypes": ["ReportBatchItemFailures"]},
}


class Stack:
    """The deployed stack, seen from outside: its table, its stream and its buckets."""

    def __init__(self, environment):
        names = ("cloudformation", "dynamodb", "kinesis", "lambda", "s3", "sqs")
        self.aws = {name: client(name, environment) for name in names}
        [stack] = self.aws["cloudformation"].describe_stacks(StackName=STACK)["Stacks"]
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
        self.orders = []

    def put_row(self, item, priority):
        row = {"item": {"S": item}, "price": {"N": "100"}, "priority": {"S": priority}}
        self.aws["dynamodb"].put_item(TableName=self.outputs["ReferenceTable"], Item=row)

    def put_orders(self, count):
        """Puts orders of every dish into every shard, numbered on by customer, and returns their numbers."""
        numbers = range(len(self.orders), len(self.orders) + count)
        dishes = [*PRIORITIES, UNMATCHED]
        orders = [{"dish": dishes[n % len(dishes)], "cost": 10 + n, "customer_id": n} for n in numbers]
        self.orders += orders
        records = [{"Data": json.dumps(order).encode(), "PartitionKey": str(order["customer_id"])} for order in orders]
        answer = self.aws["kinesis"].put_records(StreamName=self.outputs["SourceStream"], Records=records)
        assert answer["FailedRecordCount"] == 0, answer
        return numbers

    def objects(self, bucket, prefix):
        pages = self.aws["s3"].get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def text(self, bucket, key):
        return self.aws["s3"].get_object(Bucket=bucket, Key=key)["Body"].read().decode()

    def newest_version_with(self, item, priority):
        """The version that brought this row, if the log has it."""
        bucket = self.outputs["StateBucket"]
        for key in reversed(self.objects(bucket, "changes/")):
            file = json.loads(self.text(bucket, key))
            for change in file["changes"]:
                if change["op"] == "put" and (change["row"]["item"], change["row"]["priority"]) == (item, priority):
                    return file["version"]
        return None

    def flags(self):
        """Of each shard, the versions of the flags in it."""
        name, kinesis, found = self.outputs["SourceStream"], self.aws["kinesis"], {}
        for shard in kinesis.list_shards(StreamName=name)["Shards"]:
            start = {"StreamName": name, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
            records = kinesis.get_records(ShardIterator=kinesis.get_shard_iterator(**start)["ShardIterator"])["Records"]
            texts = [json.loads(record["Data"]) for record in records]
            found[shard["ShardId"]] = [text["version"] for text in texts if "freshjoin" in text]
        return found

    def announced_twice(self, version):
        """Whether every shard has two flags of this version or later: change-capture's own, and the notice's."""
        return all(sum(flag >= version for flag in flags) >= 2 for flags in self.flags().values())

    def enriched(self):
        """Of each customer, the partition and row of every order that came out."""
        _, _, prefix = self.outputs["Output"].removeprefix("s3://").partition("/")
        bucket, rows = self.outputs["OutputBucket"], {}
        for key in self.objects(bucket, f"{prefix}/"):
            if not key.endswith(".csv"):
                continue
            parts = key.removeprefix(f"{prefix}/").split("/")[:2]
            item, priority = (urllib.parse.unquote(part.partition("=")[2]) for part in parts)
            for row in csv.DictReader(io.StringIO(self.text(bucket, key))):
                rows.setdefault(int(row["customer_id"]), []).append((item, priority, row))
        return rows


def check_mappings(stack):
    for function, settings in MAPPINGS.items():
        mappings = stack.aws["lambda"].list_event_source_mappings(FunctionName=stack.outputs[function])
        [mapping] = mappings["EventSourceMappings"]
        found = {name: mapping.get(name) for name in settings}
        assert found == settings, f"{function}: {found}"
        assert mapping["BatchSize"] <= 10 or mapping["MaximumBatchingWindowInSeconds"] >= 1, mapping
        assert "FilterCriteria" not in mapping, mapping


def take_plain_http(stack):
    """MiniStack speaks plain HTTP, which the policies of both buckets refuse: they are looked at, and taken away."""
    for bucket in (stack.outputs["StateBucket"], stack.outputs["OutputBucket"]):
        [statement] = json.loads(stack.aws["s3"].get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
        assert statement["Effect"] == "Deny", statement
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}, statement
        stack.aws["s3"].delete_bucket_policy(Bucket=bucket)


def check_order(stack, number, rows, priorities):
    """One order came out once, where and as it should."""
    order = stack.orders[number]
    [(item, priority, row)] = rows[number]
    known = order["dish"] in priorities
    assert (item, priority) == (order["dish"], priorities.get(order["dish"], NULL)), (order, item, priority)
    assert row == {"cost": str(order["cost"]), "price": "100" if known else "", "customer_id": str(number)}, row


def tell_the_story(stack):
    started = time.monotonic()

    def say(text):
        print(f"{time.monotonic() - started:6.1f} s  {text}", flush=True)

    check_mappings(stack)
    take_plain_http(stack)
    priorities = dict(PRIORITIES)
    for item, priority in priorities.items():
        stack.put_row(item, priority)
    item, priority = list(priorities.items())[-1]
    version = until("the rows are in the change log", lambda: stack.newest_version_with(item, priority))
    until("change-capture and flag-injector announced them in every shard", lambda: stack.announced_twice(version))
    say(f"rows are in the change log at version {version}, and announced in every shard")

    before = stack.put_orders(100)
    until("the orders came out", lambda: set(before) <= stack.enriched().keys())
    say(f"{len(before)} orders came out")

    priorities["burger"] = "high"
    stack.put_row("burger", "high")
    version = until("the change is in the change log", lambda: stack.newest_version_with("burger", "high"))
    until("it is announced in every shard", lambda: stack.announced_twice(version))
    say(f"the burger's change is version {version}, and announced in every shard")

    after = stack.put_orders(100)
    rows = until("the later orders came out", lambda: set(after) <= (found := stack.enriched()).keys() and found)
    say(f"{len(after)} later orders came out")

    for numbers, expected in ((before, PRIORITIES), (after, priorities)):
        for number in numbers:
            check_order(stack, number, rows, expected)
    assert len(rows) == len(stack.orders), sorted(rows)
    letters = stack.objects(stack.outputs["StateBucket"], "dead-letters/")
    assert not letters, letters
    for queue in ("NoticeDeadLetterQueueUrl", "GivenUpQueueUrl"):
        assert not stack.aws["sqs"].receive_message(QueueUrl=stack.outputs[queue]).get("Messages"), queue
    say("every order came out once; burgers are under priority=medium before the change and priority=high after it")


def main():
    arguments = argparse.ArgumentParser()
    for name in ("--template", "--ministack", "--logs"):
        arguments.add_argument(name, type=pathlib.Path, required=True)
    given = arguments.parse_args()
    given.logs.mkdir(parents=True, exist_ok=True)
    # So that being ended is an exception, and everything started is ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))

    with ministack(given.ministack, given.logs / "ministack.log") as environment:
        deploy = [pathlib.Path(sys.executable).with_name("sam"), "deploy", "--template-file", given.template]
        deploy += ["--stack-name", STACK, "--region", REGION, "--resolve-s3", "--capabilities", "CAPABILITY_IAM"]
        # A samconfig.toml that somebody has says nothing about this environment.
        deploy += ["--config-env", "test", "--no-confirm-changeset", "--no-progressbar"]
        with (given.logs / "sam-deploy.log").open("wb") as log:
            status = subprocess.run(deploy, env=environment, stdout=log, stderr=subprocess.STDOUT).returncode
        assert status == 0, f"sam deploy failed, see {log.name}"
        tell_the_story(Stack(environment))


if __name__ == "__main__":
    main()
