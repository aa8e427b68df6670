"""The template, deployed whole into MiniStack: orders come out enriched, a change switches their partition. Told twice,
with reference data in the table and in an object on S3.

    main.py --template BUILT --ministack EXECUTABLE --logs FOLDER

MiniStack holds every call of a function to its role. What it cannot show is tested elsewhere: it ignores
batch item failures and never throttles.
"""

import argparse
import csv
import hashlib
import io
import json
import pathlib
import signal
import subprocess
import sys
import time
import urllib.parse

from samcli.yamlhelper import yaml_parse

from emulator import REGION, client, ministack, until

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
    """The deployed stack, seen from outside: its stream and its buckets."""

    def __init__(self, name, environment):
        names = ("cloudformation", "dynamodb", "events", "kinesis", "lambda", "s3", "sqs")
        self.aws = {service: client(service, environment) for service in names}
        [stack] = self.aws["cloudformation"].describe_stacks(StackName=name)["Stacks"]
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
        self.orders = []

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

    def version_of(self, change):
        """The version of the newest change that has all of this, if the log has one."""
        bucket = self.outputs["StateBucket"]
        for key in reversed(self.objects(bucket, "changes/")):
            file = json.loads(self.text(bucket, key))
            if any(change.items() <= found.items() for found in file["changes"]):
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

    def announced(self, version, times):
        """Whether every shard has so many flags of this version or later."""
        return all(sum(flag >= version for flag in flags) >= times for flags in self.flags().values())

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


class Table:
    """Reference data in the stack's table."""

    # change-capture's own flag, and flag-injector's upon the notice.
    flags = 2

    def __init__(self, stack):
        self.stack, self.rows = stack, {}

    def hold(self, priorities):
        """Makes these the rows, and says what the log will name last."""
        changed = {item: priority for item, priority in priorities.items() if self.rows.get(item) != priority}
        for item, priority in changed.items():
            row = {"item": {"S": item}, "price": {"N": "100"}, "priority": {"S": priority}}
            self.stack.aws["dynamodb"].put_item(TableName=self.stack.outputs["ReferenceTable"], Item=row)
        self.rows = dict(priorities)
        return {"op": "put", "row": {"item": item, "price": 100, "priority": priority}}


class Object:
    """Reference data in an object of a bucket that is not the stack's, which sends its notices to the stack's queue."""

    bucket, key = "menus", "reference/products.jsonl"
    # flag-injector's, upon the notice of its own change file.
    flags = 1

    def __init__(self, stack):
        self.s3 = stack.aws["s3"]
        self.s3.create_bucket(Bucket=self.bucket)
        events = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:LifecycleExpiration:*"]
        queue = {"QueueArn": stack.outputs["NoticeQueueArn"], "Events": events}
        configuration = {"QueueConfigurations": [queue]}
        self.s3.put_bucket_notification_configuration(Bucket=self.bucket, NotificationConfiguration=configuration)

    def hold(self, priorities):
        """Makes these the rows, and says what the log will name."""
        rows = [{"item": item, "price": 100, "priority": priority} for item, priority in priorities.items()]
        content = "\n".join(map(json.dumps, rows)).encode()
        self.s3.put_object(Bucket=self.bucket, Key=self.key, Body=content)
        return {"op": "replace", "sha256": hashlib.sha256(content).hexdigest()}


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


def tell_the_story(stack, reference):
    started = time.monotonic()

    def say(text):
        print(f"{time.monotonic() - started:6.1f} s  {text}", flush=True)

    def hold(priorities):
        change = reference.hold(priorities)
        version = until("the change is in the change log", lambda: stack.version_of(change))
        until("every shard has its flag", lambda: stack.announced(version, reference.flags))
        return version

    check_mappings(stack)
    check_schedules(stack)
    take_plain_http(stack)
    say(f"the rows are version {hold(PRIORITIES)}, and announced in every shard")

    before = stack.put_orders(100)
    until("the orders came out", lambda: set(before) <= stack.enriched().keys())
    say(f"{len(before)} orders came out")

    priorities = PRIORITIES | {"burger": "high"}
    say(f"the burger's change is version {hold(priorities)}, and announced in every shard")

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
    keep(stack)
    say("log-keeper did each of its tasks")
    say("every order came out once; burgers are under priority=medium before the change and priority=high after it")


def check_lifecycle(template):
    """What log-keeper tags is deleted. MiniStack makes no lifecycle rules, so the template itself is asked."""
    bucket = yaml_parse(template.read_text())["Resources"]["StateBucket"]["Properties"]
    rules = {rule.get("Prefix"): rule for rule in bucket["LifecycleConfiguration"]["Rules"]}
    for prefix in ("changes/", "snapshots/"):
        rule = rules[prefix]
        assert rule["TagFilters"] == [{"Key": "freshjoin", "Value": "expired"}], rule
        assert rule["Status"] == "Enabled" and rule["ExpirationInDays"] == 1, rule
        assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 1}, rule


def check_schedules(stack):
    """log-keeper runs every minute, and once a day for the comparison."""
    arn = stack.aws["lambda"].get_function(FunctionName=stack.outputs["LogKeeper"])["Configuration"]["FunctionArn"]
    schedules = {}
    for name in stack.aws["events"].list_rule_names_by_target(TargetArn=arn)["RuleNames"]:
        rule = stack.aws["events"].describe_rule(Name=name)
        [target] = stack.aws["events"].list_targets_by_rule(Rule=name)["Targets"]
        schedules[json.loads(target["Input"])["task"]] = (rule["ScheduleExpression"], rule["State"])
    expected = {"scheduled": ("rate(1 minute)", "ENABLED"), "reconcile": ("rate(1 day)", "ENABLED")}
    assert schedules == expected, schedules


def keep(stack):
    """log-keeper's tasks, each with its role's permissions."""

    def run(event):
        answer = stack.aws["lambda"].invoke(FunctionName=stack.outputs["LogKeeper"], Payload=json.dumps(event).encode())
        text = answer["Payload"].read().decode()
        return ("FunctionError" in answer), text

    def done(task):
        failed, text = run({"task": task})
        assert not failed, (task, text)
        return json.loads(text)

    bucket = stack.outputs["StateBucket"]
    head = len(stack.objects(bucket, "changes/"))
    before = min(sum(flag >= head for flag in flags) for flags in stack.flags().values())
    assert done("rebroadcast")["rebroadcast"]["version"] == head
    assert stack.announced(head, before + 1), "log-keeper's flag"
    done("bootstrap")
    done("snapshot")
    assert f"snapshots/{head:020}.fjs" in stack.objects(bucket, "snapshots/0"), stack.objects(bucket, "snapshots/")
    done("reconcile")
    assert len(stack.objects(bucket, "changes/")) == head, "nothing was amiss"
    done("scheduled")
    # As if days had gone by.
    floor = json.dumps({"freshjoin": "floor/1", "version": 1}).encode()
    stack.aws["s3"].put_object(Bucket=bucket, Key="floor.json", Body=floor)
    done("scheduled")
    tags = [stack.aws["s3"].get_object_tagging(Bucket=bucket, Key=f"changes/{n:020}.json")["TagSet"] for n in (1, 2)]
    assert tags == [[{"Key": "freshjoin", "Value": "expired"}], []], tags
    failed, text = run({"task": "reconsile"})
    assert failed and "reconcile" in text, text


def deploy(name, given, environment, *more):
    command = [pathlib.Path(sys.executable).with_name("sam"), "deploy", "--template-file", given.template]
    command += ["--stack-name", name, "--region", REGION, "--resolve-s3", "--capabilities", "CAPABILITY_IAM"]
    # A samconfig.toml that somebody has says nothing about this environment.
    command += ["--config-env", "test", "--no-confirm-changeset", "--no-progressbar", *more]
    with (given.logs / f"sam-deploy-{name}.log").open("wb") as log:
        status = subprocess.run(command, env=environment, stdout=log, stderr=subprocess.STDOUT).returncode
    assert status == 0, f"sam deploy failed, see {log.name}"


def main():
    arguments = argparse.ArgumentParser()
    for name in ("--template", "--ministack", "--logs"):
        arguments.add_argument(name, type=pathlib.Path, required=True)
    given = arguments.parse_args()
    given.logs.mkdir(parents=True, exist_ok=True)
    # So that being ended is an exception, and everything started is ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))

    check_lifecycle(given.template)
    with ministack(given.ministack, given.logs / "ministack.log") as environment:
        print("reference data in the table", flush=True)
        deploy("orders-table", given, environment)
        stack = Stack("orders-table", environment)
        tell_the_story(stack, Table(stack))

        print("reference data in an object", flush=True)
        url = f"s3://{Object.bucket}/{Object.key}"
        names = ["ReferenceTableName=Unused", "SourceStreamName=OtherStream"]
        deploy("orders-object", given, environment, "--parameter-overrides", f"ReferenceObject={url}", *names)
        stack = Stack("orders-object", environment)
        tell_the_story(stack, Object(stack))


if __name__ == "__main__":
    main()
