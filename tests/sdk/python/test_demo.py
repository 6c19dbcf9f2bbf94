"""What `routerly start --demo` prints works as printed."""

import re
import subprocess
import sys


def test_the_printed_curl_line(gateway):
    line = re.search(r"^curl .*$", gateway.printed, re.M).group(0)
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    events = [event for event in done.stdout.split("\n\n") if event]
    assert '"type":"trace"' in events[0]
    assert '"choices"' in events[1]
    assert events[-1] == "data: [DONE]"


def test_the_printed_python_snippet(gateway):
    snippet = gateway.printed[gateway.printed.index("# pip install openai") :]
    done = subprocess.run([sys.executable, "-c", snippet], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
