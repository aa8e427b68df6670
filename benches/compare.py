"""What a record costs: the real enricher against the same join in Python and in Node, all in the same run.

Each runs as a process under a Runtime API of its own, against the same S3, DynamoDB and Kinesis on loopback, on the
same events in turn. Before a figure counts, what the contestants wrote is compared, row for row; any difference ends
this with exit code 1. What is measured is in measure.py; the table goes to standard output as Markdown.
"""

import argparse
import pathlib
import sys
import tempfile

import contestants
import measure
import outputs
import report
from runtime_api import Failed
from servers import Servers


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--enricher", required=True, help="the enricher's bootstrap")
    parser.add_argument("--moto-python", required=True, help="a Python that has moto")
    parser.add_argument("--versitygw", help="versitygw's binary; without it moto serves S3 too")
    parser.add_argument("--node-handler", help="the Node handler, bundled; without it there is no such row")
    parser.add_argument("--records", type=int, default=5000, help="records an event")
    parser.add_argument("--invocations", type=int, default=30, help="counted warm invocations of each contestant")
    parser.add_argument("--warm-up", type=int, default=10, help="invocations before them")
    parser.add_argument("--cold", type=int, default=10, help="counted cold starts of each contestant")
    parser.add_argument("--logs", default="target/bench/logs", help="where the processes' output goes")
    return parser.parse_args()


def main():
    options = arguments()
    logs = pathlib.Path(options.logs)
    logs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Servers(options, folder, logs) as servers:
        entrants = contestants.entrants(options, servers)
        events = measure.Events(options.records)
        cold = measure.cold(entrants, events, options.cold, logs)
        warm = measure.warm(entrants, events, options.warm_up, options.invocations, logs)
        rows = outputs.compare(servers.s3, [entrant.prefix for entrant in entrants], events.sent)
        report.compared(entrants, cold, warm, rows, options, servers.s3_name)


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        sys.exit(f"bench: {error}")
