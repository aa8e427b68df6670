"""What an invocation costs, cold and warm: CPU time of the function's own process, and wall time from handing out the
event to the answer; of a cold start, both from the start of the process.

The contestants take turns at every event, so that whatever else the machine does meets all of them; and the order
changes from turn to turn, so that nobody always finds the servers warmed by another.
"""

import events
from runtime_api import Failed

ANSWER = b'{"batchItemFailures":[]}'


class Events:
    """Events of one shard, one after the other."""

    def __init__(self, records):
        self._records = records
        self.sent = 0

    def next(self):
        first = self.sent + 1
        self.sent += self._records
        return events.event(first, self._records, seed=first)


def turns(entrants, count):
    """Whose turn it is: every entrant once in each of `count` turns."""
    for turn in range(count):
        start = turn % len(entrants)
        yield turn, entrants[start:] + entrants[:start]


def invoke(function, event):
    """(CPU, wall) seconds."""
    answer, wall, cpu = function.invoke(event)
    if answer.strip() != ANSWER:
        raise Failed(f"{function.name} answered {answer[:200]!r}")
    return cpu, wall


def cold(entrants, source, count, logs):
    """(CPU, wall) seconds of each entrant's starts, its first event included."""
    spent = {entrant.prefix: [] for entrant in entrants}
    # In the first turn disks are cold and the base is still to be made: it does not count.
    for turn, order in turns(entrants, count + 1):
        event = source.next()
        for entrant in order:
            function = entrant.start(logs)
            try:
                (init_cpu, init_wall), (cpu, wall) = function.init, invoke(function, event)
            finally:
                function.stop()
            if turn > 0:
                spent[entrant.prefix].append((init_cpu + cpu, init_wall + wall))
    return spent


def warm(entrants, source, warm_up, count, logs):
    """(CPU, wall) seconds of each entrant's warm invocations, turn by turn; and the memory of each, in bytes."""
    spent = {entrant.prefix: [] for entrant in entrants}
    functions = {}
    try:
        for entrant in entrants:
            functions[entrant.prefix] = entrant.start(logs)
        for turn, order in turns(entrants, warm_up + count):
            event = source.next()
            for entrant in order:
                cost = invoke(functions[entrant.prefix], event)
                if turn >= warm_up:
                    spent[entrant.prefix].append(cost)
        return spent, {prefix: function.resident_bytes() for prefix, function in functions.items()}
    finally:
        for function in functions.values():
            function.stop()
