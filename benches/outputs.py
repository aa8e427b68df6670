"""What the contestants wrote, compared row for row: figures of different work are no comparison."""

from runtime_api import Failed
from servers import OUTPUT


def compare(s3, prefixes, records):
    """How many rows every contestant wrote, the same rows in the same order under the same keys."""
    first = written(s3, prefixes[0])
    rows = sum(len(rows) - 1 for rows in first.values())
    if rows != records:
        raise Failed(f"{prefixes[0]} wrote {rows} rows for {records} records")
    for prefix in prefixes[1:]:
        other = written(s3, prefix)
        if other.keys() != first.keys():
            odd = min(other.keys() ^ first.keys())
            raise Failed(f"{prefixes[0]} and {prefix} differ: only one of them wrote {odd}")
        for key, rows_of_other in other.items():
            if rows_of_other != first[key]:
                raise Failed(f"{prefixes[0]} and {prefix} differ in {key}")
    return rows


def written(s3, prefix):
    """Rows by partition and range, of all objects below a prefix; the header is the first."""
    found = {}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=OUTPUT, Prefix=f"{prefix}/"):
        for entry in page.get("Contents", []):
            key = entry["Key"].removeprefix(f"{prefix}/")
            if not key.startswith("_"):
                # As bytes: a parsed row could not tell null from an empty string. No value here holds a line break.
                found[key] = s3.get_object(Bucket=OUTPUT, Key=entry["Key"])["Body"].read().splitlines()
    return found
