"""Kinesis events as an event source mapping sends them: compact JSON, base64 data, one shard, rising sequence numbers.

The same seed gives the same orders, so that every contestant is handed the same records.
"""

import base64
import json
import random

STREAM = "orders"
SHARD = "shardId-000000000000"
REGION = "us-east-1"

TABLE = "ProductPriority"
ROWS = [
    {"item": "salad", "price": 100, "priority": "high"},
    {"item": "pizza", "price": 100, "priority": "low"},
    {"item": "burger", "price": 100, "priority": "medium"},
    {"item": "ice-cream", "price": 100, "priority": "very very high"},
]
# The last one is in no row: a left join keeps its orders.
DISHES = ["salad", "pizza", "burger", "ice-cream", "donut"]


def sequence(number):
    """A sequence number of Kinesis's length."""
    return f"49590338271490256608559692538361571095{number:018d}"


def event(first, count, seed):
    """The text of an event whose records are numbered from `first` on."""
    rng = random.Random(seed)
    records = []
    for number in range(first, first + count):
        order = {"dish": rng.choice(DISHES), "cost": rng.randrange(10, 150), "customer_id": rng.randrange(10**6)}
        data = base64.b64encode(json.dumps(order).encode()).decode()
        records.append({
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": str(order["customer_id"]),
                "sequenceNumber": sequence(number),
                "data": data,
                "approximateArrivalTimestamp": 1764000000 + number % 100000 / 1000,
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": f"{SHARD}:{sequence(number)}",
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": "arn:aws:iam::123456789012:role/lambda-role",
            "awsRegion": REGION,
            "eventSourceARN": f"arn:aws:kinesis:{REGION}:123456789012:stream/{STREAM}",
        })
    return json.dumps({"Records": records}, separators=(",", ":")).encode()
