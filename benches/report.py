"""Figures as Markdown, ready for the README: always the median, with the quartiles beside it."""

import datetime
import os
import platform
import statistics


def spread(values, form="{:.2f}"):
    """Median and quartiles."""
    low, middle, high = (form.format(each) for each in statistics.quantiles(values, n=4, method="inclusive"))
    return f"{middle} ({low}–{high})"


def machine():
    """What was measured on, and when."""
    with open("/proc/cpuinfo") as text:
        model = next((line.split(":")[1].strip() for line in text if line.startswith("model name")), "unknown")
    return f"{datetime.date.today()}, {os.cpu_count()} × {model}, {platform.system()} on {platform.machine()}"


def table(head, rows, texts=1):
    """A table whose columns but the first so many are figures."""
    lines = [head, ["---"] * texts + ["--:"] * (len(head) - texts), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def compared(entrants, cold, warm, rows, options, s3_name):
    spent, memory = warm
    ours, *peers = (entrant.prefix for entrant in entrants)
    head = ["", "CPU, µs a record", "wall, µs a record", "CPU ratio", "wall ratio"]
    head += ["cold start, ms CPU", "cold start, ms wall", "memory, MB"]
    lines = []
    for entrant in entrants:
        mine = spent[entrant.prefix]
        line = [entrant.name]
        line += [spread([cost[of] / options.records * 1e6 for cost in mine]) for of in (0, 1)]
        # Of the same turn, so that what slowed both is in neither.
        ratios = (spread([our[of] / its[of] for our, its in zip(spent[ours], mine)]) for of in (0, 1))
        line += ratios if entrant.prefix in peers else ["", ""]
        line += [spread([cost[of] * 1e3 for cost in cold[entrant.prefix]], "{:.0f}") for of in (0, 1)]
        lines.append([*line, f"{memory[entrant.prefix] / 1e6:.0f}"])
    print(
        f"Measured on {machine()}: {options.invocations} warm invocations of {options.records:,} records and "
        f"{options.cold} cold starts of each, in turn; S3 is {s3_name}. Medians and, in brackets, quartiles; a ratio is "
        "freshjoin's cost to the other's in the same turn; a cold start ends with the answer to the first event.\n"
    )
    print(table(head, lines))
    print(f"\nThe {rows:,} rows that each wrote were compared first: they are the same.")
