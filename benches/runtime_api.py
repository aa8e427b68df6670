"""A Lambda Runtime API for one function, on loopback: hands out events one at a time, and takes the answers.

`invoke` returns only when the function has asked for its next event, so that whatever it does after its answer is in
its CPU time too. A function that ends, or answers with an error, fails the invocation.
"""

import queue
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Failed(Exception):
    """The function did not answer, or answered with an error."""


class Function:
    """A function's process and its Runtime API."""

    def __init__(self, name, command, environment, log):
        self.name = name
        self._events = queue.Queue()
        self._answers = queue.Queue()
        self._idle = threading.Semaphore(0)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{self._server.server_address[1]}"
        environment = environment | {
            "AWS_LAMBDA_RUNTIME_API": address,
            "AWS_LAMBDA_FUNCTION_NAME": "bench",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        }
        begun = time.perf_counter()
        self._process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self._wait_idle()
        except Failed:
            self.stop()
            raise
        # CPU and wall seconds from the start of the process until it asked for its first event.
        self.init = self._cpu_nanos() / 1e9, time.perf_counter() - begun

    def invoke(self, event):
        """The answer, the seconds from handing out the event to the answer, and the CPU seconds of the process."""
        before = self._cpu_nanos()
        self._events.put(event)
        answer = self._get(self._answers)
        self._wait_idle()
        spent = self._cpu_nanos() - before
        if isinstance(answer, Failed):
            raise answer
        begun, ended, body = answer
        return body, ended - begun, spent / 1e9

    def resident_bytes(self):
        """The resident set of the process, at its largest."""
        with open(f"/proc/{self._process.pid}/status") as status:
            line = next(line for line in status if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024

    def stop(self):
        """Ends the process and the server."""
        self._process.kill()
        self._process.wait()
        self._server.shutdown()

    def _cpu_nanos(self):
        # The CPU clock of another process (clock_getcpuclockid in the C library): user and system time of all its
        # threads, in nanoseconds, where /proc/<pid>/stat counts ticks of 10 ms.
        return time.clock_gettime_ns((~self._process.pid << 3) | 2)

    def _wait_idle(self):
        while not self._idle.acquire(timeout=0.5):
            self._check()

    def _get(self, answers):
        while True:
            try:
                return answers.get(timeout=0.5)
            except queue.Empty:
                self._check()

    def _check(self):
        if self._process.poll() is not None:
            raise Failed(f"{self.name} ended with {self._process.returncode}; see its log")


def _handler(function):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # A header and a body in two packets would wait for each other's acknowledgements.
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_GET(self):
            function._idle.release()
            event = function._events.get()
            function.begun = time.perf_counter()
            self._answer(200, event, {
                "Lambda-Runtime-Aws-Request-Id": "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
                "Lambda-Runtime-Deadline-Ms": str(int(time.time() * 1000) + 60_000),
                "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:123456789012:function:bench",
                "Content-Type": "application/json",
            })

        def do_POST(self):
            body = self._body()
            ended = time.perf_counter()
            if self.path.endswith("/response"):
                function._answers.put((function.begun, ended, body))
            else:
                function._answers.put(Failed(f"{function.name} answered {self.path}: {body.decode()}"))
            self._answer(202, b"", {})

        def _body(self):
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return body

        def _answer(self, status, body, headers):
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()

        def log_message(self, *_):
            pass

    return Handler
