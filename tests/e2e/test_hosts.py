"""A cell on two hosts, each a network namespace, measured as whoever has two hosts would.

Party 0, the dealer and the data owner are on one, party 1 on the other. Between them are a network,
for sessions and for the link over TCP, and a cable of its own, for the link of packets. The model
is a random one that `bench bert --write` made and the operators loaded. It needs root.
"""

import json
import shutil
import subprocess
import sys

from cell import PARTIES, enter_namespace, expect, expect_text, run_cell

NEAR, FAR = "10.77.0.1", "10.77.0.2"
SETUP = ("ip link set lo up && ip link add net0 type veth peer name net1 && "
         "ip link add cable0 type veth peer name cable1 && ip link set cable0 mtu 9000 up && "
         f"ip addr add {NEAR}/24 dev net0 && ip link set net0 up")
ELSEWHERE = ("ip link set lo up", f"ip addr add {FAR}/24 dev net1", "ip link set net1 up",
             "ip link set cable1 mtu 9000 up")
SHAPE = ("--layers", 1, "--hidden", 32, "--heads", 2, "--tokens", 8, "--vocab", 40)
TCP = {party: [] for party in PARTIES}
PACKETS = {party: [("link", "dpdk"), ("port", f"af_packet:cable{i}"), ("port_pages", "small")]
           for i, party in enumerate(PARTIES)}


def make_host():
    """Words that run a command on the other host, and what keeps that up: a process that ends with
    this one."""
    keeper = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec cat"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    keeper.stdout.readline()
    inside = ("nsenter", f"--net=/proc/{keeper.pid}/ns/net")
    for name in ("net1", "cable1"):
        subprocess.run(["ip", "link", "set", name, "netns", str(keeper.pid)], check=True)
    for words in ELSEWHERE:
        subprocess.run([*inside, *words.split()], check=True)
    return inside, keeper


def bench(cell, *words, **more):
    shown = cell.run("bench", "bert", "--config", "owner.conf", *words, "--json", **more)
    return shown if more else json.loads(shown)


def load(cell):
    cell.run("bench", "bert", *SHAPE, "--write", "random")
    cell.load_all("random")


def measured(cell, driver, nic):
    """Right answers, a bill that the plan agrees with, and a record of who carried it."""
    got = bench(cell, "--model", "random/client", "--repeat", 2, *(
        word for party in PARTIES for word in ("--socket", f"{party}.control")))
    expect(got["correct"] is True and got["error_max"] <= got["error_bound"], f"wrong: {got}")
    alone = json.loads(cell.run("bench", "bert", *SHAPE, "--link", "mem", "--repeat", 1, "--json"))
    for key in ("bytes_online", "rounds_online", "bytes_offline", "bytes_upload", "gmac_online"):
        expect(got[key] == alone[key], f"{key}: {got[key]}, in memory {alone[key]}")
    expect(0 < got["online_ms_min"] < got["total_ms_min"] and
           got["online_ms_min"] < got["wall_ms_min"], f"times: {got}")
    expect("Linux" in got["host"] and got["nic"].startswith("net0: veth"), f"here: {got}")
    for at, side in zip(got["appliances"], (0, 1)):
        expect(at["role"] == PARTIES[side] and at["host"] == got["host"], f"hosts: {at}")
        expect(at["link"]["driver"] == driver and at["link"]["nic"].startswith(nic.format(side)),
               f"link: {at}")
    return f"online {got['online_ms_median']:.1f} ms"


def stream(cell, _):
    """TCP through io_uring."""
    return measured(cell, "uring", "net{}: veth")


def streams(cell, _):
    """Over three TCP connections; and not when the parties do not say the same."""
    more = {party: [("streams", 3)] for party in PARTIES}
    mark = cell.mark()
    cell.reconfigure({**more, "party1": []})
    cell.expect_log("party0", "peer-refused .*here is .*, streams = 3, at the other party link = "
                    "uring, shape = none: write the same", mark)
    cell.expect_log("party1", "peer-refused .*here is link = uring, shape = none, at the other "
                    "party .*, streams = 3: write the same", mark)
    cell.reconfigure(more)
    cell.wait_ready()
    link = json.loads(cell.ask("party1", "status", "--json"))["link"]
    expect("3 streams" in link["features"], f"features: {link}")
    return measured(cell, "uring", "net{}: veth")


def packets(cell, _):
    """Packets over the cable."""
    cell.reconfigure(PACKETS)
    cell.wait_ready(timeout=40)
    return measured(cell, "net_af_packet", "net_af_packet on cable{}: veth")


def refused(cell, _):
    """What is no model of the bench, no model at the cell, or no way to say it, is named."""
    expect_text("not that of a random model", bench(cell, code=3), "another model")
    expect_text("--config measures the model that --model names",
                bench(cell, "--layers", 1, code=2), "a shape")
    expect_text("it is there already",
                cell.run("bench", "bert", *SHAPE, "--write", "random", code=3), "written twice")
    cell.run("bench", "bert", *SHAPE, "--write", "unknown")
    for key, value in (("num_labels", 3), ("vocab_size", 4), ("hidden_size", 64)):
        shutil.copytree(cell.path("unknown/client"), cell.path(key))
        with open(cell.path(key, "config.json"), "r+", encoding="utf-8") as f:
            config = json.load(f)
            f.seek(0)
            json.dump({**config, key: value}, f)
            f.truncate()
        expect_text("not that of a random model", bench(cell, "--model", key, code=3), key)
    expect_text("does not serve", bench(cell, "--model", "unknown/client", code=3), "not loaded")


CASES = (stream, streams, packets, refused)


if __name__ == "__main__":
    enter_namespace(SETUP)
    words, kept = make_host()
    try:
        status = run_cell(__doc__, CASES, load, more=TCP,
                          hosts={"party0": NEAR, "dealer": NEAR, "party1": FAR, "link": FAR},
                          inside={"party1": words})
    finally:
        kept.stdin.close()
        kept.wait()
    sys.exit(status)
