"""A gateway to point an SDK at: the real binary with a demo home, and what it leaves behind."""

import json
import os
import pathlib
import queue
import re
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[3]
#: Longest wait for anything that is bound to happen; only a failing test ever waits that long.
DEADLINE_SECONDS = 30

#: An answer as fast as it can be made.
QUICK = {"ttftMs": 0, "tokensPerSecond": 0, "outputTokens": 8}


def simulate(**settings):
    """The header that scripts the simulated provider for one request; see `src/simulate/settings.rs`."""
    return {"x-simulate": json.dumps({**QUICK, **settings})}


def wait_for(what, look):
    """Looks again and again until there is something to see."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {DEADLINE_SECONDS} s in vain for {what}")


def without_failover(settings):
    """Nobody is asked twice and nobody is left alone: a test sees what the one it named has said."""
    settings.setdefault("upstream", {}).update(retries=0, breaker={"failures": 0, "errorPercent": 0})


class Gateway:
    """A running `routerly start --demo`, in which a model that a request names is the only one that is asked."""

    def __init__(self):
        binary = os.environ.get("ROUTERLY_BIN") or ROOT / "target/debug/routerly"
        self._directory = tempfile.TemporaryDirectory(prefix="routerly-sdk-")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ROUTERLY_")}
        environment["TMPDIR"] = self._directory.name
        self._process = subprocess.Popen(
            [binary, "start", "--demo", "--port", "0", "--cores", "1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            text=True,
        )
        self._lines = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.printed = ""
        # The last line of the greeting is the last one of the Python snippet.
        while "print(" not in self.printed:
            line = self._lines.get(timeout=DEADLINE_SECONDS)
            if line is None:
                raise AssertionError(f"the gateway ended at its start:\n{self.printed}")
            self.printed += line
        self.url = re.search(r"^health +(\S+)/health$", self.printed, re.M).group(1)
        self.token = re.search(r"^token +(\S+)$", self.printed, re.M).group(1)
        self.edit("config/settings.json", without_failover)
        self.edit("config/projects.json", lambda projects: projects[0].update(honorRequestedModel="pin"))
        wait_for("the pinned models", lambda: self._refuses_unknown_models())

    def _refuses_unknown_models(self):
        request = urllib.request.Request(
            f"{self.url}/v1/chat/completions",
            data=b'{"model":"nobody","messages":[]}',
            headers={"authorization": f"Bearer {self.token}", "content-type": "application/json", **simulate()},
        )
        try:
            urllib.request.urlopen(request).close()
        except urllib.error.HTTPError as error:
            return error.code == 404
        return False

    def _read(self):
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def records(self):
        """All usage records so far, oldest first."""
        found = []
        for path in pathlib.Path(self._directory.name).glob("routerly-demo-*/data/usage.json"):
            # A last line without its end is still being written.
            found += [json.loads(line) for line in path.read_text().splitlines(True) if line.endswith("\n")]
        return found

    def edit(self, name, change):
        """Changes a JSON document of its home the way an editor does: a new file takes the old one's name."""
        (path,) = pathlib.Path(self._directory.name).glob(f"routerly-demo-*/{name}")
        document = json.loads(path.read_text())
        change(document)
        beside = path.with_suffix(".edited")
        beside.write_text(json.dumps(document))
        beside.rename(path)

    def record(self, trace_id):
        """The usage record of the request with this trace id, as soon as it is there."""

        def look():
            return [record for record in self.records() if record["traceId"] == trace_id]

        return wait_for(f"the record of {trace_id}", look)[0]

    def stop(self):
        """Ends it in order; it must have been well all the time."""
        self._process.terminate()
        try:
            code = self._process.wait(DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        finally:
            self._reader.join()
            self._process.stdout.close()
            self._directory.cleanup()
        assert code == 0, f"the gateway ended with {code}"
