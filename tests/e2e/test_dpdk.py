"""A cell whose parties talk through DPDK: af_packet on the two ends of a cable, and memif.

The cable is a pair of interfaces in a network namespace of this test's own, which needs root. On it
frames get lost, doubled, overtaken; it is pulled; parties are killed. Whatever happens, an answer is
right, or there is an error that names what happened, and the next query is right.
"""

import json
import random
import subprocess
import sys
import time

from cell import PARTIES, PATIENCE, enter_namespace, expect, expect_text, free_ports, run_cell

TEXTS = ("a film to remember", "tired and far too long", "warm and funny")
# The driver groups sockets by process and interface number, exclusive or: 10 and 77 differ in more
# than two processes that follow each other can make up for.
SETUP = ("ip link set lo up && "
         "ip link add cable0 index 10 type veth peer name cable1 index 77 && "
         "ip link set cable0 mtu 9000 up && ip link set cable1 mtu 9000 up")


def over(port, *more):
    """What configurations say of a link over @port, one word a party."""
    return {party: [("link", "dpdk"), ("port", p), ("port_pages", "small"), *more]
            for party, p in zip(PARTIES, port)}


CABLE = ("af_packet:cable0", "af_packet:cable1")


def link(cell, party):
    return json.loads(cell.ask(party, "status", "--json"))["link"]


def answers(cell, _):
    """Jumbo frames, nothing wrong with them."""
    cell.infer_right(*TEXTS)
    seen = link(cell, "party0")
    expect(seen["driver"] == "net_af_packet", f"the driver is {seen['driver']}")
    expect(seen["rounds"] > 100 and seen["round_us_p50"] > 0, f"rounds: {seen}")
    expect(seen["seal_failures"] == 0 and seen["received_frames"] > 0, f"frames: {seen}")


def lossy(cell, _):
    """One frame in twenty is lost, one doubled, one overtaken; one in a hundred likewise."""
    said = []
    for percent in (1, 5):
        shape = f"{percent}%loss,{percent}%duplicate,{percent}%reorder"
        cell.reconfigure(over(CABLE, ("shape", shape)))
        cell.wait_ready()
        cell.infer_right(*TEXTS)
        seen = link(cell, "party1")
        expect(seen["retransmissions"] > 0 and seen["duplicates"] > 0, f"{shape}: {seen}")
        said.append(f"{seen['retransmissions']} of {seen['sent_frames']} frames sent again")
    return "; ".join(said)


def pulled(cell, _):
    """The cable is out for two seconds in the middle of a query."""
    cell.reconfigure(over(CABLE, ("shape", "5ms")))
    cell.wait_ready()
    client = cell.infer_start("--compare", TEXTS[0])
    time.sleep(0.4 * PATIENCE)
    subprocess.run(["ip", "link", "set", "cable1", "down"], check=True)
    time.sleep(2)
    subprocess.run(["ip", "link", "set", "cable1", "up"], check=True)
    answer = cell.infer_end(client, 30)
    if answer.code == 0:
        row = answer.rows[0]
        expect(row["label"] == row["float_label"], f"label {row['label']}")
    else:
        expect(answer.code == 3 and answer.text, f"exit {answer.code}: {answer.text}")
    cell.wait_ready(timeout=60)
    cell.infer_right(TEXTS[1])
    return "answered" if answer.code == 0 else answer.text.strip()


def killed(cell, options):
    """Either party, at any moment of a query."""
    cell.reconfigure(over(CABLE))
    cell.wait_ready()
    for _ in range(12 if options.long else 3):
        victim = random.choice(PARTIES)
        client = cell.infer_start("--compare", TEXTS[0])
        time.sleep(random.uniform(0, 0.15) * PATIENCE)
        cell.kill(victim)
        answer = cell.infer_end(client, 15)
        expect(answer.code in (0, 3), f"{victim} was killed: exit {answer.code}: {answer.text}")
        if answer.code == 0:
            expect(answer.rows[0]["label"] == answer.rows[0]["float_label"], "a wrong answer")
        cell.start(victim)
        cell.wait_ready(timeout=30)
        cell.infer_right(TEXTS[2])


def memif(cell, _):
    """Both parties on one host, through memory."""
    cell.reconfigure(over(2 * (f"memif:{cell.path('port.sock')}",)))
    cell.wait_ready()
    cell.infer_right(*TEXTS)
    expect(link(cell, "party1")["driver"] == "net_memif", "another driver")


def mismatch(cell, _):
    """TCP at one party and packets at the other: both say so, and agree once alike."""
    mark = cell.mark()
    cell.reconfigure({**over(CABLE), "party1": []})
    cell.expect_log("party0", "peer-refused .*here is link = dpdk, .*at the other party link = uring"
                    ".*write the same in both", mark)
    cell.expect_log("party1", "peer-refused .*here is link = uring, .*other party link = dpdk", mark)
    cell.reconfigure({party: [] for party in PARTIES})
    cell.wait_ready()
    cell.infer_right(TEXTS[0])


def refused(cell, _):
    """A port that is not there, or not to be had, is named when the daemon starts."""
    for keys, says in (
            ({"port": "af_packet:eth77"}, "there is no interface eth77"),
            ({"port": "0000:77:00.0"}, "there is no device 0000:77:00.0"),
            ({"port": "memif:/nowhere/port.sock"}, "/nowhere: No such file or directory"),
            ({"port": "af_xdp:cable0", "port_pages": "small"}, "af_xdp needs huge pages")):
        cell.more["party0"] = [("link", "dpdk"), *keys.items()]
        cell.write_config("wrong", [(k, "elsewhere.control" if k == "control" else v)
                                    for k, v in cell.config("party0") if k != "listen"] +
                          [("listen", "127.0.0.1:0")])
        expect_text(says, cell.start_refused("wrong"), str(keys))
    cell.more["party0"] = []


def lab(cell, options):
    """`lab --link dpdk` and `bench bert --link dpdk` need nothing but this machine."""
    words = [options.tool, "lab", "--model", options.model, "--tokens", "16", "--link", "dpdk",
             "--shape", "1%loss", "--", "mpcformer", "infer", "--json", "--compare", TEXTS[0]]
    p = subprocess.run(words, capture_output=True, timeout=120 * PATIENCE, cwd=cell.folder)
    expect(p.returncode == 0, f"lab --link dpdk: exit {p.returncode}: {p.stderr.decode()}")
    row = json.loads(p.stdout)
    expect(row["label"] == row["float_label"], f"label {row['label']}")
    row = json.loads(cell.run("bench", "bert", "--link", "dpdk", "--tokens", 8, "--layers", 1,
                              "--hidden", 64, "--heads", 2, "--ffn", 128, "--vocab", 100,
                              "--repeat", 2, "--json", timeout=120))
    expect(row["correct"] is True and row["link"] == "dpdk", f"bench bert: {row}")


def check_bench(got, driver, what):
    expect(len(got["exchange"]) == 4 and got["pingpong_us_p50"] > 0, f"{what}: {got}")
    expect(got.get("driver") == driver and got["raw"].get("driver") == driver, f"{what}: {got}")


def bench(cell, options):
    """`bench link` over both ends of the cable, and as two hosts would run it."""
    got = json.loads(cell.run("bench", "link", "--link", ",".join(CABLE).join(("dpdk:", "")),
                              "--small-pages", "--json", timeout=60))
    check_bench(got, "net_af_packet", "two ends")
    at = f"127.0.0.1:{free_ports(1)[0]}"
    other = subprocess.Popen([options.tool, "bench", "link", "--link", f"dpdk:{CABLE[1]}",
                              "--small-pages", "--listen", at], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
    got = json.loads(cell.run("bench", "link", "--link", f"dpdk:{CABLE[0]}", "--small-pages",
                              "--peer", at, "--json", timeout=60))
    _, error = other.communicate(timeout=30 * PATIENCE)
    expect(other.returncode == 0, f"--listen: {error.decode()}")
    check_bench(got, "net_af_packet", "two hosts")
    expect("Linux" in got["host"] and "Linux" in got["peer"], f"hosts: {got}")


CASES = (answers, lossy, pulled, killed, memif, mismatch, refused, lab, bench)


if __name__ == "__main__":
    enter_namespace(SETUP)
    sys.exit(run_cell(__doc__, CASES, lambda cell: cell.wait_ready(timeout=40), more=over(CABLE)))
