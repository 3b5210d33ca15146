"""docs/deploy.md, word for word: a folder and a network namespace for each of its hosts.

A paragraph "On **host**:" has commands for that host behind it, "Carry ... from **a** to **b**."
what its readers would copy. It needs root.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from cell import PATIENCE, Failed, enter_namespace, expect, parse_arguments

DOCUMENT = os.path.join(os.path.dirname(__file__), "..", "..", "docs", "deploy.md")
HOSTS = ("alpha", "beta", "gamma", "desk")
SETUP = "ip link set lo up && ip link add bridge0 type bridge && ip link set bridge0 up"


def make_host(number):
    """A namespace of its own at the bridge; the words that enter it, and what keeps it up."""
    keeper = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec cat"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    keeper.stdout.readline()
    inside = ("nsenter", f"--net=/proc/{keeper.pid}/ns/net")
    for words in (f"ip link add port{number} type veth peer name net0 netns {keeper.pid}",
                  f"ip link set port{number} master bridge0 up"):
        subprocess.run(words.split(), check=True)
    for words in ("ip link set lo up", f"ip addr add 10.77.0.{number}/24 dev net0",
                  "ip link set net0 up"):
        subprocess.run([*inside, *words.split()], check=True)
    return inside, keeper


def steps(text):
    """("run", host, commands) and ("carry", names, from, to), in their order."""
    found = []
    for m in re.finditer(r"^On \*\*(\w+)\*\*:\n\n((?:    .*\n|\n(?=    ))+)"
                         r"|^Carry (.+) from \*\*(\w+)\*\* to \*\*(\w+)\*\*\.$", text, re.M):
        if m[1]:
            found.append(("run", m[1], re.sub(r"^    ", "", m[2], flags=re.M)))
        else:
            found.append(("carry", re.findall(r"`([^`]+)`", m[3]), m[4], m[5]))
    return found


class Deployment:
    def __init__(self, options):
        self.folder = tempfile.mkdtemp(prefix="mpcformer-deploy-")
        self.inside, self.keepers = {}, []
        for number, host in enumerate(HOSTS, 1):
            self.inside[host], keeper = make_host(number)
            self.keepers.append(keeper)
            os.mkdir(self.path(host))
        programs = f"{os.path.dirname(options.tool)}:{os.path.dirname(options.daemon)}"
        self.environment = {**os.environ, "MODEL": options.model,
                            "PATH": f"{programs}:{os.environ['PATH']}"}

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def run(self, host, commands):
        with tempfile.TemporaryFile("w+") as said:  # what goes on behind it holds no pipe open
            p = subprocess.run([*self.inside[host], "sh", "-e", "-c", commands], stdout=said,
                               stderr=said, stdin=subprocess.DEVNULL, cwd=self.path(host),
                               env=self.environment, timeout=60 * PATIENCE)
            said.seek(0)
            printed = said.read()
        expect(p.returncode == 0, f"on {host}: {commands}: {printed}")
        return printed

    def carry(self, names, here, there):
        for name in names:
            shutil.copy(self.path(here, name), self.path(there, os.path.basename(name)))

    def pids(self):
        found = {}
        for host in HOSTS:
            for name in os.listdir(self.path(host)):
                if name.endswith(".pid"):
                    with open(self.path(host, name), encoding="ascii") as f:
                        found[host] = int(f.read())
        return found

    def alive(self):
        return [host for host, pid in self.pids().items() if os.path.exists(f"/proc/{pid}")]

    def end(self, failed):
        for host in self.alive():
            os.kill(self.pids()[host], signal.SIGKILL)
        for keeper in self.keepers:
            keeper.stdin.close()
            keeper.wait()
        for host in HOSTS if failed else ():
            for name in os.listdir(self.path(host)):
                if name.endswith(".log"):
                    with open(self.path(host, name), encoding="utf-8") as f:
                        print(f"--- {host}: {name}\n{f.read()[-2000:]}")
        shutil.rmtree(self.folder)


def follow(deployment, found):
    """Do them all; what each run printed."""
    printed = []
    for kind, *step in found:
        if kind == "carry":
            deployment.carry(*step)
        else:
            printed.append((step[1], deployment.run(*step)))
    return printed


def check(deployment, printed):
    answer = [out for commands, out in printed if commands.startswith("mpcformer infer")]
    expect(len(answer) == 1 and "positive" in answer[0], f"the answer: {answer}")
    status = [out for commands, out in printed if commands.startswith("mpcformer status")]
    expect(len(status) == 1 and "connected" in status[0], f"the status: {status}")
    deadline = time.monotonic() + 10 * PATIENCE
    while deployment.alive():
        expect(time.monotonic() < deadline, f"{deployment.alive()} did not end")
        time.sleep(0.05)


def main():
    options = parse_arguments(__doc__)
    with open(DOCUMENT, encoding="utf-8") as f:
        found = steps(f.read())
    runs = [step[1] for step in found if step[0] == "run"]
    expect(set(runs) == set(HOSTS), f"hosts of the document: {sorted(set(runs))}")
    deployment, failed = Deployment(options), True
    try:
        start = time.monotonic()
        check(deployment, follow(deployment, found))
        print(f"{len(found)} steps in {time.monotonic() - start:.1f} s")
        failed = False
    finally:
        deployment.end(failed)


if __name__ == "__main__":
    enter_namespace(SETUP)
    try:
        main()
    except Failed as e:
        print(f"FAILED: {e}")
        sys.exit(1)
