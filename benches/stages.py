"""Criterion's samples as one Markdown table, from the folder that it writes them to: what an element takes."""

import json
import pathlib
import sys

import report

# What one element of a stage is; of any other stage it is a record.
ELEMENTS = {"record": "sub-record", "refresh": "batch", "load": "row"}


def measured(folder):
    """Stage, what was measured, and the nanoseconds an element took in each sample; in the order of the run."""
    for path in sorted(pathlib.Path(folder).glob("*/*/new/benchmark.json"), key=lambda path: path.stat().st_mtime_ns):
        about = json.loads(path.read_text())
        sample = json.loads((path.parent / "sample.json").read_text())
        elements = about["throughput"]["Elements"]
        times = [time / count / elements for time, count in zip(sample["times"], sample["iters"])]
        yield about["group_id"], about["function_id"], times


def micros(nanos):
    """More digits after the point of what is small."""
    return report.spread([each / 1e3 for each in nanos], "{:.3f}" if max(nanos) < 10_000 else "{:.1f}")


def main():
    folder, row_bytes = sys.argv[1:]
    lines = []
    for stage, what, times in measured(folder):
        lines.append([stage, what, micros(times), f"a {ELEMENTS.get(stage, 'record')}"])
    print(f"Measured on {report.machine()}, in the process and into memory. Medians and, in brackets, quartiles.\n")
    print(report.table(["stage", "what", "µs", ""], lines, texts=2))
    if row_bytes:
        print(f"\nA row of a loaded table of 1,000,000 takes {row_bytes} bytes of memory.")


main()
