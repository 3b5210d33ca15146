"""Strangers, wrong papers and wrong files, while queries go on.

Whatever comes to a port, a control socket or a command, the processes stay up, queries stay right,
and what is refused is refused with a text that says what is wrong.
"""

import hashlib
import json
import os
import random
import shutil
import socket
import ssl
import struct
import sys
import threading
import time

from cell import NAMES, PARTIES, PATIENCE, expect, expect_text, run_cell

TEXTS = ("a film to remember", "tired and far too long")
RSS_GROWTH_MAX = 96 << 20
GARBAGE_S = {False: 5, True: 60}


# --- what a stranger may send

def random_bytes(s):
    s.sendall(random.randbytes(random.randrange(1, 20000)))


def half_hello(s):
    """The head of a TLS record that promises more than comes."""
    s.sendall(b"\x16\x03\x01" + struct.pack(">H", 512) + b"\x01\x00\x01\xfc\x03\x03" +
              random.randbytes(random.randrange(64)))
    time.sleep(random.uniform(0, 0.3))


def records(s):
    for _ in range(20):
        s.sendall(bytes([random.randrange(20, 25)]) + b"\x03\x03\x40\x00" + random.randbytes(0x4000))


def http(s):
    s.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    s.recv(100)


def endless_line(s):
    for _ in range(64):
        s.sendall(b"A" * 65536)


def nuls(s):
    s.sendall(bytes(100000))


def goes_at_once(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def trickle(s):
    for _ in range(random.randrange(20)):
        s.sendall(b"\x16")
        time.sleep(0.05)


def nested(s):
    s.sendall(b"[" * 5000 + b"\n" + b'{"command":' * 100 + b"\n")
    s.recv(1000)


def odd_requests(s):
    for request in ({}, [], 3, {"version": 1}, {"version": 2, "command": "status"},
                    {"version": 1, "command": ["status"]}, {"version": 1, "command": "\0"},
                    {"version": 1, "command": "model load", "plan": 7},
                    {"version": 1, "command": "model unload", "model": "x" * 10000}):
        s.sendall(json.dumps(request).encode() + b"\n")
        s.recv(1000)


KINDS = (random_bytes, half_hello, records, http, endless_line, nuls, goes_at_once, trickle, nested,
         odd_requests)


def open_socket(target):
    if isinstance(target, int):
        return socket.create_connection(("127.0.0.1", target), timeout=2)
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(2)
    s.connect(target)
    return s


def bother(target, until, counts):
    """One stranger at one door."""
    while time.monotonic() < until:
        kind = random.choice(KINDS)
        try:
            with open_socket(target) as s:
                kind(s)
            counts[0] += 1
        except OSError:
            counts[1] += 1
        time.sleep(0.02)


def garbage(cell, options):
    doors = list(cell.ports.values()) + [cell.path(f"{name}.control") for name in NAMES]
    cell.infer_right(*TEXTS)
    before = {name: cell.rss_bytes(name) for name in NAMES}
    until, counts = time.monotonic() + GARBAGE_S[options.long] * PATIENCE, [0, 0]
    strangers = [threading.Thread(target=bother, args=(door, until, counts)) for door in doors * 2]
    for t in strangers:
        t.start()
    queries = 0
    while time.monotonic() < until:
        cell.infer_right(*TEXTS)
        queries += len(TEXTS)
    for t in strangers:
        t.join()
    cell.check_alive()
    growth = {name: cell.rss_bytes(name) - before[name] for name in NAMES}
    for name in NAMES:
        expect(growth[name] < RSS_GROWTH_MAX * PATIENCE, f"{name} grew by {growth[name]} bytes")
    cell.infer_right(*TEXTS)
    return (f"{counts[0]} pieces of garbage, {counts[1]} cut off; {queries} right queries; the most "
            f"memory gained {max(growth.values()) >> 20} MiB")


def strangers_at_the_link(cell, options):
    """Connections that wait at party 1's link port do not keep party 0 from coming back."""
    strangers = []
    for _ in range(3 if options.long else 1):
        try:
            strangers.append(open_socket(cell.ports["link"]))
        except OSError:
            pass  # what came before them still waits
    cell.kill("party0")
    cell.start("party0")
    cell.wait_ready()
    for s in strangers:
        s.close()
    cell.infer_right(TEXTS[0])


# --- papers

def owner_session(cell, party):
    """The TLS session of the real owner, greeted, to say what no owner says."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(cell.path("owner.pem"), cell.path("owner.key"))
    s = context.wrap_socket(socket.create_connection(("127.0.0.1", cell.ports[party]), timeout=5))
    greeting = s.recv(100)
    expect(len(greeting) == 13, f"a greeting of {len(greeting)} bytes")
    s.sendall(greeting)
    return s


def message(kind, payload=b"", count=None):
    return struct.pack("<IB", len(payload) if count is None else count, kind) + payload


def owner_says_nonsense(cell, options):
    """A known owner's program gone mad: its session ends, the party goes on."""
    info, submit, given = 1, 3, 5
    for _ in range(200 if options.long else 30):
        party = random.choice(PARTIES)
        said = random.choice((
            message(random.randrange(256), random.randbytes(random.randrange(300))),
            message(info, b"too much"), message(submit, random.randbytes(72)),
            message(submit, b""), message(given, random.randbytes(1000)),
            message(submit, b"", count=0xffffffff), message(info) * 5, b"\x01\x00"))
        with owner_session(cell, party) as s:
            s.sendall(said)
            s.settimeout(0.05)
            try:
                s.recv(1000)
            except OSError:
                pass
    cell.check_alive()
    cell.infer_right(TEXTS[0])


def receive(s):
    """Type and payload of the next message."""
    def take(count):
        data = b""
        while len(data) < count:
            more = s.recv(count - len(data))
            expect(more, "the session ended in the middle of a message")
            data += more
        return data

    count, kind = struct.unpack("<IB", take(5))
    return kind, take(count)


PUBLIC, BUCKET = 0, 1


def variant(tokens, mode, batch, *lengths, priority=5, stays=0, within_ms=0):
    """Which one a job is for, how long its texts are said to be, and how it is to be queued."""
    return struct.pack(f"<IBI{len(lengths)}IBBI", tokens, mode, batch, *lengths, priority, stays,
                       within_ms)


def owner_lies(cell, options):
    """Keys that are none: the owner gets some answer, like anybody's, and nobody else is harmed."""
    submit, accepted, given, queued, result = 3, 4, 5, 6, 7
    size = cell.infer_right(TEXTS[0]).rows[0]["bytes_upload"]
    lies = [random.randbytes(size), bytes(size), b"\xff" * size]
    for lie in lies * (10 if options.long else 1):
        job = random.randbytes(16) + bytes.fromhex(cell.shared["model_id"] +
                                                   cell.shared["plan_hash"])
        with owner_session(cell, "party1") as p1, owner_session(cell, "party0") as p0:
            for s in (p1, p0):
                s.settimeout(20 * PATIENCE)
                s.sendall(message(submit, job + variant(16, BUCKET, 1, 16)))
                expect(receive(s) == (accepted, b""), "a job is not accepted")
                s.sendall(message(given, lie))
                expect(receive(s) == (queued, b""), "an input is not taken")
            kinds = [receive(s)[0] for s in (p0, p1)]
            expect(kinds == [result, result], f"messages {kinds} in answer to a lie")
    for wrong in (lies[0][:-1], lies[0] + b"x", b""):
        with owner_session(cell, "party0") as s:
            s.settimeout(20 * PATIENCE)
            s.sendall(message(submit, random.randbytes(16) + job[16:] + variant(16, BUCKET, 1, 16)))
            expect(receive(s) == (accepted, b""), "a job is not accepted")
            s.sendall(message(given, wrong))
            expect(s.recv(1) == b"", f"an input of {len(wrong)} bytes does not end the session")
    refused = 8
    for fields in ((16, BUCKET, 1, 0), (16, BUCKET, 1, 15), (16, BUCKET, 1, 17), (16, BUCKET, 0),
                   (16, BUCKET, 2, 16, 16), (16, BUCKET, 33), (16, BUCKET, 2**32 - 1),
                   (16, PUBLIC, 1, 16), (16, PUBLIC, 1, 5), (16, 2, 1, 16), (16, 255, 1, 16)):
        with owner_session(cell, "party1") as s:
            s.settimeout(20 * PATIENCE)
            s.sendall(message(submit, random.randbytes(16) + job[16:] + variant(*fields)))
            kind, why = receive(s)
            expect(kind == refused, f"a job of {fields} is not refused")
            expect(fields[1] != PUBLIC or b"share --length public" in why, f"{fields}: {why}")
    cell.check_alive()
    cell.infer_right(*TEXTS)


def owner_config(cell, name, authority="authority"):
    """The owner's configuration with the papers of @name."""
    papers = {"certificate": f"{name}.pem", "key": f"{name}.key", "authority": f"{authority}.pem"}
    lines = [(key, papers.get(key, value)) for key, value in cell.config("owner")]
    cell.write_config(f"as-{name}", lines)
    return f"as-{name}"


def wrong_papers(cell, _):
    cell.make_authority("foreign")
    cell.make_identity("stranger", "owner", "foreign")
    cell.make_identity("guest", "owner")
    mark = cell.mark()

    a = cell.infer(TEXTS[0], config=owner_config(cell, "stranger", "foreign"))
    expect(a.code == 3, f"an owner who believes another authority: {a.code}")
    expect_text(r"party0: .*certificate is not believed.*same authority", a.text, "another authority")

    a = cell.infer(TEXTS[0], config=owner_config(cell, "stranger"))
    expect(a.code in (2, 3), f"an owner of another authority: {a.code}")
    expect_text(r"authority|refused|certificate", a.text, "an owner of another authority")

    a = cell.infer(TEXTS[0], config=owner_config(cell, "guest"))
    expect(a.code == 3, f"an unpinned owner: {a.code}")
    expect_text(r"party[01]: .*(refused|does not know|certificate|pin)", a.text, "an unpinned owner")
    cell.expect_log("party1" if "party1" in a.text else "party0",
                    r"session-refused.*guest.*client_pin = guest=", mark)
    cell.infer_right(TEXTS[0])


def owner_as_a_party(cell, _):
    """The owner's papers do not make a party, neither at its own start nor at the others' doors."""
    papers = {"certificate": "owner.pem", "key": "owner.key", "state": "nobody",
              "control": "nobody.control", "listen": "127.0.0.1:0"}
    cell.write_config("nobody", [(key, papers.get(key, value))
                                 for key, value in cell.config("party0")])
    expect_text(r"certificate of role owner.*says party0", cell.start_refused("nobody"),
                "an owner's certificate in a party's configuration")
    mark = cell.mark()
    cell.write_config("at-dealer", [
        (key, f"127.0.0.1:{cell.ports['dealer']}" if key == "party0" else value)
        for key, value in cell.config("owner")])
    a = cell.infer(TEXTS[0], config="at-dealer")
    expect(a.code == 3, f"an owner at the dealer's door: {a.code}")
    expect_text(r"role dealer.*another role is expected", a.text, "an owner at the dealer's door")
    cell.expect_log("dealer", "session-refused", mark)
    cell.infer_right(TEXTS[0])


# --- files that are given to `model load`

def changed(cell, source, to, change):
    with open(cell.path(source), "rb") as f:
        data = bytearray(f.read())
    data = change(data) or data
    with open(cell.path(to), "wb") as f:
        f.write(data)
    return to


def flip_middle(data):
    data[len(data) // 2] ^= 1


def other_version(data):
    data[8] ^= 0x40


def cut(data):
    return data[:len(data) * 2 // 3]


def other_weights(data):
    """Flipped weights under a digest that fits."""
    flip_middle(data)
    data[-32:] = hashlib.sha256(data[:-32]).digest()


def refused(cell, name, pattern, what, **more):
    expect_text(pattern, cell.load(name, code=3, **more), what)


def share_second(cell):
    if not os.path.exists(cell.path("second")):
        cell.share("second")


def wrong_files(cell, _):
    share_second(cell)
    for name, other in zip(PARTIES, reversed(PARTIES)):
        def load(pattern, what, name=name, **more):
            refused(cell, name, pattern, f"{name}: {what}", **more)

        def share(change, name=name):
            return changed(cell, f"second/{name}.share", "changed", change)

        load("is loaded already", "the same model again")
        load("another model id than the plan", "another model's share", folder="second",
             share=f"model/{name}.share")
        load(f"it is {other}'s, and this is {name}", "the other's share", folder="second",
             share=f"second/{other}.share")
        load("damaged: its digest", "a damaged share", folder="second", share=share(flip_middle))
        load(r"its version is \d+; this program reads version", "a share of another version",
             folder="second", share=share(other_version))
        load("truncated", "a share that was cut off", folder="second", share=share(cut))
        load("does not begin as", "no share at all", folder="second", share="second/plan.mpcf")
        load("does not begin with MPCFPLAN", "no plan at all", plan=f"second/{name}.share")
        load("No such file|cannot resolve", "a file that is not there", plan="nowhere")
        expect_text("never opened here.*--share FILE", cell.ask(
            name, "model", "load", "--plan", "second/plan.mpcf", code=3), "a load without share")
    for change, pattern in ((flip_middle, "plan is damaged"), (cut, "damaged|truncated"),
                            (other_version, "version")):
        plan = changed(cell, "second/plan.mpcf", "changed", change)
        for name in NAMES:
            refused(cell, name, pattern, f"{name}: a plan with {change.__name__}", plan=plan)
    expect_text("must never see a share", cell.ask(
        "dealer", "model", "load", "--plan", "second/plan.mpcf", "--share", "second/party0.share",
        code=3), "a share for the dealer")
    refused(cell, "dealer", "is loaded already", "the same model at the dealer")
    cell.infer_right(TEXTS[0])


def used_model_id(cell, _):
    """A model id is opened once: neither these weights nor others go under it again."""
    model = cell.shared["model_id"]
    for name in PARTIES:
        cell.ask(name, "model", "unload", model)
        os.rename(os.path.join(cell.state(name), "models", f"{model}.unloaded"), cell.path("kept"))
        other = changed(cell, f"model/{name}.share", "changed", other_weights)
        refused(cell, name, "other weights than this model id was split with.* for a new id",
                f"{name}: an id with another weight digest", share=other)
        refused(cell, name, "was used before, with these weights", f"{name}: a used id")
        os.rename(cell.path("kept"), os.path.join(cell.state(name), "models", f"{model}.unloaded"))
        cell.load(name)
        cell.wait_ready()
        cell.infer_right(*TEXTS)


def waiting_model(cell, _):
    """A model that only party 0 has been given keeps no other from being served."""
    share_second(cell)
    cell.load("dealer", "second")
    cell.load("party0", "second")
    time.sleep(1)
    for _ in range(3):
        cell.infer_right(TEXTS[0])
    cell.load("party1", "second")
    cell.wait_ready()
    cell.infer_right(TEXTS[0])


# --- checkpoints that are given to `share`

def header_of(data):
    count = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8:8 + count]), data[8 + count:]


def with_header(data, change):
    header, rest = header_of(data)
    change(header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + rest


def first_tensor(header):
    return next(entry for name, entry in header.items() if name != "__metadata__")


def longer(header):
    first_tensor(header)["data_offsets"][1] += 1 << 40


def reshaped(header):
    first_tensor(header)["shape"][0] += 1


def retyped(header):
    first_tensor(header)["dtype"] = "F13"


def less_one(header):
    del header[next(name for name in header if name != "__metadata__")]


def negative(header):
    first_tensor(header)["data_offsets"][0] = -4


def lying_checkpoints(cell, _):
    folder = cell.path("liar")
    shutil.copytree(cell.model, folder)
    cases = (("cut off in the data", cut, "cut off or its header lies|is cut off"),
             ("cut off in the header", lambda d: d[:100], "cut off, or no safetensors"),
             ("nearly empty", lambda d: d[:4], "too few for a safetensors file"),
             ("a header of 2^60 bytes", lambda d: struct.pack("<Q", 1 << 60) + d[8:],
              "header claims"),
             ("no JSON", lambda d: d[:8] + b"X" + d[9:], "no JSON object of tensors"),
             ("a tensor that ends behind the end", lambda d: with_header(d, longer), "header lies"),
             ("a tensor of another shape", lambda d: with_header(d, reshaped), "shape"),
             ("an unknown type", lambda d: with_header(d, retyped), "type is not known"),
             ("a tensor less", lambda d: with_header(d, less_one), "belong to no tensor|missing"),
             ("a negative offset", lambda d: with_header(d, negative), "data_offsets"),
             ("bytes left over", lambda d: d + b"more", "belong to no tensor"))
    with open(os.path.join(cell.model, "model.safetensors"), "rb") as f:
        good = f.read()
    for what, change, pattern in cases:
        with open(os.path.join(folder, "model.safetensors"), "wb") as f:
            f.write(change(good))
        said = cell.run("share", "--model", folder, "--out", "lies", code=3)
        expect_text(pattern, said, f"a checkpoint with {what}")
        expect_text("model.safetensors", said, f"a checkpoint with {what}")
        left = [file for _, _, files in os.walk(cell.path("lies")) for file in files]
        expect(not left, f"a checkpoint with {what} leaves {left}")
    return f"{len(cases)} lies"


CASES = (garbage, strangers_at_the_link, owner_says_nonsense, owner_lies, wrong_papers, owner_as_a_party,
         wrong_files, waiting_model, used_model_id, lying_checkpoints)


if __name__ == "__main__":
    sys.exit(run_cell(__doc__, CASES))
