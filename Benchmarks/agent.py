"""Runs the benchmark's programs on behalf of scripts/bench, which starts one agent for each place.

An agent is a child of `spoolfs run` where that is what is measured, so its programs share the session with the daemon
as a user's would; elsewhere it is there to make everything else the same. It reads jobs as lines of JSON and answers
in kind.
"""

import json
import os
import subprocess
import sys
import time


def run(job):
    start = time.perf_counter()
    done = subprocess.run(
        job["command"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    seconds = time.perf_counter() - start
    return {"status": done.returncode, "seconds": seconds, "output": done.stdout, "errors": done.stderr[-4000:]}


def main():
    print(json.dumps({"directory": os.environ["TMPDIR"]}), flush=True)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)


main()
