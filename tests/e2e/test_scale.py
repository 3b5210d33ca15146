"""docs/scale.md: two cells behind two HAProxies, with its configuration; owners of many addresses.
"""

import collections
import json
import os
import re
import shutil
import subprocess
import sys
import time

from cell import (NAMES, PARTIES, PATIENCE, Cell, Failed, enter_namespace, expect, expect_text,
                  free_ports, parse_arguments, run_cases)

DOCUMENT = os.path.join(os.path.dirname(__file__), "..", "..", "docs", "scale.md")
SETUP = "ip link set lo up"
TEXT = "a film to remember"
OWNERS = 12
BALANCER = "10.78.0.1"


class Desk:
    """Where owners sit: a namespace whose address is another for each."""

    def __init__(self):
        self.keeper = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec cat"],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.keeper.stdout.readline()
        self.inside = ["nsenter", f"--net=/proc/{self.keeper.pid}/ns/net"]
        for words in (f"ip link add net0 type veth peer name net1 netns {self.keeper.pid}",
                      f"ip addr add {BALANCER}/24 dev net0", "ip link set net0 up"):
            subprocess.run(words.split(), check=True)
        for i in range(OWNERS):
            self.run("ip", "addr", "add", f"10.78.0.{10 + i}/24", "dev", "net1")
        self.run("ip", "link", "set", "net1", "up")

    def run(self, *words):
        subprocess.run([*self.inside, *words], check=True)

    def sit(self, i):
        self.run("ip", "route", "replace", "10.78.0.0/24", "dev", "net1", "src", f"10.78.0.{10 + i}")

    def close(self):
        self.keeper.stdin.close()
        self.keeper.wait()


def balancer_text(cells, party, port):
    """The document's configuration, with these cells in it."""
    with open(DOCUMENT, encoding="utf-8") as f:
        text = re.search(r"^    global\n(?:    .*\n|\n(?=    ))+", f.read(), re.M)[0]
    text = re.sub(r"^    ", "", text, flags=re.M)
    text = text.replace("bind :7100", f"bind {BALANCER}:{port}")
    lines = []
    for line in text.split("\n"):
        m = re.match(r"( *server cell(\d) )", line)
        if m:
            cell = cells[int(m[2]) - 1]
            line = (f"{m[1]}127.0.0.1:{cell.ports[party]} id {m[2]} check addr 127.0.0.1 "
                    f"port {cell.probes[party]}")
        lines.append(line)
    expect(sum("server cell" in line for line in lines) == len(cells), "not two cells in scale.md")
    return "\n".join(lines)


class Cells:
    def __init__(self, options):
        self.desk = Desk()
        self.balancers = []
        self.cells = []
        for _ in range(2):
            self.cells.append(self.make(options))
        for cell in self.cells:
            cell.start_all()
            cell.load_all()
        self.ports = dict(zip(PARTIES, free_ports(2)))
        self.own = self.cells[0]
        for party in PARTIES:
            path = self.own.path(f"{party}.haproxy")
            with open(path, "w") as f:
                f.write(balancer_text(self.cells, party, self.ports[party]))
            self.balancers.append(subprocess.Popen(["haproxy", "-f", path, "-db"],
                                                   stdout=subprocess.DEVNULL,
                                                   stderr=open(self.own.path("haproxy.log"), "ab")))
        pins = [(f"{party}_pin", cell.pin(party)) for cell in self.cells for party in PARTIES]
        at = {party: f"{BALANCER}:{self.ports[party]}" for party in PARTIES}
        kept = [(k, v) for k, v in self.own.config("owner") if not k.endswith("_pin")]
        self.own.write_config("owner", [(k, at.get(k, v)) for k, v in kept] + pins)

    def make(self, options):
        """A cell; one that is not the first has its authority, its owner and its shares."""
        probes = dict(zip(PARTIES, free_ports(2)))
        cell = Cell(options, more={party: [("metrics", f"127.0.0.1:{probes[party]}")]
                                   for party in PARTIES})
        cell.probes = probes
        if self.cells:
            first = self.cells[0]
            for name in ("authority", "owner", *NAMES):
                for ending in ("key", "csr", "pem"):
                    if os.path.exists(cell.path(f"{name}.{ending}")):
                        os.remove(cell.path(f"{name}.{ending}"))
                    if name not in NAMES and os.path.exists(first.path(f"{name}.{ending}")):
                        shutil.copy(first.path(f"{name}.{ending}"), cell.path())
            for name in NAMES:
                cell.make_identity(name, name)
            for name in NAMES:
                cell.write_config(name, cell.config(name))
            shutil.rmtree(cell.path("model"))
            shutil.copytree(first.path("model"), cell.path("model"), symlinks=True)
        return cell

    def jobs(self):
        """How many each cell has answered; of one that is not whole, what it says is no matter."""
        return [json.loads(cell.ask("party0", "status", "--json"))["jobs_done"]
                if "party0" in cell.process else 0 for cell in self.cells]

    def ask(self, i):
        """From the @i-th address: the cell that answered, or None and what was said."""
        before = self.jobs()
        self.desk.sit(i)
        p = subprocess.Popen([*self.desk.inside, self.own.tool, "infer", "--json", "--compare",
                              "--config", self.own.path("owner.conf"), TEXT], cwd=self.own.folder,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
        a = self.own.infer_end(p, 30)
        if a.code:
            return None, a.text
        expect(a.rows[0]["label"] == a.rows[0]["float_label"], f"a wrong answer: {a.rows}")
        moved = [now - then for now, then in zip(self.jobs(), before)]
        expect(sorted(moved) == [0, 1], f"the cells answered {moved}")
        return moved.index(1), ""

    def places(self, patience_s=0):
        """The cell of each address; a question that is refused is asked again for so long."""
        found = []
        for i in range(OWNERS):
            deadline = time.monotonic() + patience_s * PATIENCE
            while True:
                where, why = self.ask(i)
                if where is not None:
                    break
                expect(time.monotonic() < deadline, f"owner {i} is refused: {why}")
                time.sleep(0.1)
            found.append(where)
        return found

    def close(self):
        for b in self.balancers:
            b.terminate()
            b.wait()
        self.desk.close()


def spread(cells, _):
    """Both cells have owners, and an owner stays."""
    cells.home = cells.places(patience_s=5)
    expect(cells.places() == cells.home, "an owner has moved")
    count = collections.Counter(cells.home)
    expect(len(count) == 2, f"all are in one cell: {cells.home}")
    return f"{count[0]} and {count[1]} of {OWNERS} addresses"


def moved(cells, cell, what):
    """Those of @cell are elsewhere, the others where they were."""
    now = cells.places(patience_s=5)
    expect(set(now) == {1 - cell}, f"{what}: {now}, and before {cells.home}")


def back(cells, what):
    deadline = time.monotonic() + 20 * PATIENCE
    for i, home in enumerate(cells.home):
        while cells.ask(i)[0] != home:
            expect(time.monotonic() < deadline, f"{what}: owner {i} is not where it was")
            time.sleep(0.1)


def drained(cells, _):
    """A cell is taken out while it is asked, and comes back."""
    for party in PARTIES:
        cells.cells[0].ask(party, "drain", "--wait")
    who = cells.home.index(0)
    where, why = cells.ask(who)
    if where is None:
        expect_text("drained|refuse|cannot|lost|ended|closed", why, "in the moment between")
    moved(cells, 0, "drained")
    for party in PARTIES:
        cells.cells[0].ask(party, "drain", "--undo")
    back(cells, "taken in again")


def killed(cells, options):
    """One party of a cell dies: both balancers leave the cell, and find it again."""
    for cell, name in ((1, "party0"), (0, "party1"))[0 if options.long else 1:]:
        cells.cells[cell].kill(name)
        moved(cells, cell, f"{name} killed")
        cells.cells[cell].start(name)
        cells.cells[cell].wait_ready()
        back(cells, f"{name} started again")
    for cell in cells.cells:
        cell.check_ledgers()


def main():
    options = parse_arguments(__doc__)
    enter_namespace(SETUP)
    cells = None
    try:
        cells = Cells(options)
        failed = run_cases((spread, drained, killed), options, cells, options)
        for cell in cells.cells:
            cell.check_alive()
            cell.check_logs()
        expect(not failed, f"{failed} cases")
    except Failed as e:
        print(f"FAILED: {e}")
        return 1
    finally:
        if cells:
            cells.close()
            for cell in cells.cells:
                cell.__exit__(*sys.exc_info())
    return 0


if __name__ == "__main__":
    sys.exit(main())
