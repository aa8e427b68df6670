"""Criterion's medians as one table, from the folder that it writes them to."""

import datetime
import json
import os
import pathlib
import sys

UNITS = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1, "ns"))


def text(nanos):
    """With a unit that leaves one to three digits before the point."""
    size, unit = next((each for each in UNITS if nanos >= each[0]), UNITS[-1])
    return f"{nanos / size:.2f} {unit}"


def rows(folder):
    for path in sorted(pathlib.Path(folder).glob("*/*/new/benchmark.json")):
        about = json.loads(path.read_text())
        median = json.loads((path.parent / "estimates.json").read_text())["median"]
        interval = median["confidence_interval"]
        elements = (about["throughput"] or {}).get("Elements")
        yield (
            about["full_id"],
            text(median["point_estimate"]),
            f"{text(interval['lower_bound'])} to {text(interval['upper_bound'])}",
            text(median["point_estimate"] / elements) if elements else "",
        )


def main():
    print(f"{datetime.date.today()}, {os.cpu_count()} CPUs\n")
    print("| in process | median | 95 % confidence | an element |\n|---|---|---|---|")
    for row in rows(sys.argv[1]):
        print(f"| {' | '.join(row)} |")


main()
