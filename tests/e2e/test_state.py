"""What a process keeps on its disk: full disks, damaged ledgers, two daemons on one folder, backups.

A number is struck off before anything that depends on it is sent. So when it cannot be struck off,
nothing is sent; when the ledger cannot be trusted, nobody starts; and when an old copy of a state
folder comes back, the others still know what it has forgotten.
"""

import errno
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import time

from cell import (NAMES, PARTIES, PATIENCE, Cell, expect, expect_text, ledger_line, run_cases,
                  run_cell)

TEXTS = ("a film to remember", "tired and far too long")
DISK = "16m"  # holds one model of a party
PAGE = 4096


def ledger_path(cell, name):
    return os.path.join(cell.state(name), "ledger")


def read(path):
    with open(path, "rb") as f:
        return f.read()


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


# --- full disks

def mount(cell, name):
    folder = cell.path(f"disk-{name}")
    os.mkdir(folder)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", folder],
                          capture_output=True)
    if done.returncode == 0:
        cell.states[name] = folder
        cell.write_config(name, cell.config(name))
    return done.returncode == 0


def unmount(cell):
    for name, folder in cell.states.items():
        if name in cell.process:
            cell.kill(name)
        subprocess.run(["umount", "-l", folder], check=True)


def fill(cell, name):
    """Until not one byte more fits."""
    with open(os.path.join(cell.state(name), "filler"), "wb", buffering=0) as f:
        for size in (1 << 20, PAGE, 1):
            try:
                while f.write(bytes(size)):
                    pass
            except OSError as e:
                expect(e.errno == errno.ENOSPC, f"filling {name}'s disk: {e}")


def free(cell, name):
    os.unlink(os.path.join(cell.state(name), "filler"))


def pad_ledger(cell, name):
    """Lines of some other model, until the next line needs another page of the disk."""
    model, number = os.urandom(16).hex(), 0
    with open(ledger_path(cell, name), "a") as f:
        while True:
            number += 1
            line = ledger_line(f"tape {model} {number} {'6' * 64} {os.urandom(16).hex()}")
            if PAGE - f.tell() % PAGE < len(line):
                return
            f.write(line)


def full_ledger(cell, name):
    """The party with a full disk refuses jobs and strikes nothing; afterwards all is as before."""
    cell.stop(name)
    pad_ledger(cell, name)
    cell.start(name)
    cell.wait_ready()
    cell.infer_right(TEXTS[0])
    cell.stop(name)
    pad_ledger(cell, name)
    cell.start(name)
    cell.wait_ready()
    fill(cell, name)
    before, mark = cell.ledger(name), cell.mark()
    for _ in range(2):
        a = cell.infer(TEXTS[0])
        expect(a.code == 3, f"a job is done though {name} cannot strike its tape off: {a}")
        expect_text(r"cannot strike off in the ledger: No space left on device; nothing was sent|"
                    r"the other party was lost", a.text, f"{name}'s disk is full")
        cell.wait_ready()
    cell.expect_log(name, "cannot strike off in the ledger: No space left on device", mark)
    expect(not [e for e in cell.events(name, mark) if e.name == "job-online"],
           f"{name} went on without striking off")
    expect(cell.ledger(name) == before, f"{name}'s ledger has changed")
    free(cell, name)
    cell.infer_right(*TEXTS)


def full_party0(cell):
    full_ledger(cell, "party0")


def full_party1(cell):
    full_ledger(cell, "party1")


def full_dealer(cell):
    """No number can be reserved, so no tape is dealt; what is in stock would still be used."""
    cell.kill("dealer")
    cell.kill("party0")
    fill(cell, "dealer")
    mark = cell.mark()
    cell.start("dealer")
    cell.start("party0")
    cell.wait_ready()
    a = cell.infer(TEXTS[0], timeout=30)
    expect(a.code == 3, f"a job without a tape ends with {a.code}")
    expect_text(r"no tape", a.text, "the dealer's disk is full")
    cell.expect_log("dealer", "no-tape-number.*No space left on device", mark)
    expect(not [e for e in cell.events("dealer", mark) if e.name == "tape-dealt"], "a tape came")
    free(cell, "dealer")
    cell.infer_right(*TEXTS)


def full_load(cell):
    """A model that cannot be kept is not served, and the one that is there goes on."""
    shared = cell.share("second")
    cell.load("dealer", "second")
    fill(cell, "party1")
    cell.load("party0", "second")
    said = cell.ask("party1", "model", "load", "--plan", "second/plan.mpcf", "--share",
                    "second/party1.share", "--wait", code=3)
    expect_text("No space left on device", said, "a model on a full disk")
    free(cell, "party1")
    for name in NAMES:
        cell.ask(name, "model", "unload", shared["model_id"])
    cell.wait_ready()
    cell.infer_right(TEXTS[0])
    expect_text("used before", cell.load("party1", "second", code=3), "the id is used up")


def full_disks(options):
    with Cell(options, timeout_ms=int(2000 * PATIENCE)) as cell:
        if os.geteuid() != 0 or not all([mount(cell, name) for name in NAMES]):
            return "skipped: it takes the right to mount"
        try:
            cell.start_all()
            cell.load_all()
            failed = run_cases((full_party0, full_party1, full_dealer, full_load), options, cell)
            cell.check_alive()
            cell.check_logs()
        finally:
            unmount(cell)
        expect(not failed, f"{failed} cases")
    return None


# --- ledgers

def cut_ledger(cell, _):
    """A line that a crash cut off was never acted on: it is dropped."""
    for name in PARTIES:
        cell.stop(name)
        whole = read(ledger_path(cell, name))
        line = ledger_line(f"tape {cell.shared['model_id']} 77777 {'6' * 64} {'7' * 32}").encode()
        write(ledger_path(cell, name), whole + line[:-1])
        cell.start(name)
        cell.wait_ready()
        expect(read(ledger_path(cell, name)) == whole, f"{name} keeps half a line")
        cell.infer_right(TEXTS[0])


def damaged_ledger(cell, _):
    for name in PARTIES:
        cell.stop(name)
        whole = read(ledger_path(cell, name))
        lines = whole.split(b"\n")
        other = lines[:]
        other[2] = other[2].replace(b"tape", b"tope")
        cases = ((b"\n".join(other), r"ledger:3: damaged"),
                 (whole.replace(lines[2], lines[2][:-1]), r"ledger:3: damaged"),
                 (whole + lines[2] + b"\n", rf"ledger:{len(lines)}: damaged"),
                 (whole + b"\n", rf"ledger:{len(lines)}: damaged"),
                 (whole.replace(b"ledger 1", b"ledger 2"),
                  "a ledger of version 2; this appliance reads version 1"),
                 (bytes(len(whole)), "is no ledger"))
        for data, pattern in cases:
            write(ledger_path(cell, name), data)
            expect_text(pattern, cell.start_refused(name), f"{name} with a damaged ledger")
            expect(read(ledger_path(cell, name)) == data, f"{name} wrote to a damaged ledger")
        write(ledger_path(cell, name), whole)
        cell.start(name)
        cell.wait_ready()
        cell.infer_right(TEXTS[0])


def two_daemons(cell, _):
    """A second daemon on a state folder does not start, and does the first no harm."""
    for name in NAMES:
        lines = [(key, {"listen": "127.0.0.1:0", "link_listen": "127.0.0.1:0",
                        "control": "second.control"}.get(key, value))
                 for key, value in cell.config(name)]
        cell.write_config("twin", lines)
        expect_text("another process uses this state folder", cell.start_refused("twin"),
                    f"a second daemon in {name}'s folder")
        expect_text("Address already in use", cell.start_refused(name), f"a second {name}")
    cell.infer_right(TEXTS[0])


def kept_after_unload(cell, _):
    """Unloaded and loaded again, by one or by all, a model is served, and is so after a restart."""
    model = cell.shared["model_id"]
    for names in (("party0",), ("party1",), ("dealer",), NAMES):
        cell.infer_right(TEXTS[0])
        for name in names:
            cell.ask(name, "model", "unload", model)
        a = cell.infer(TEXTS[0], timeout=30)
        expect(a.code == 3 or names == ("dealer",), f"a query without a model ends with {a.code}")
        for name in names:
            cell.load(name)
        cell.wait_ready()
        cell.infer_right(*TEXTS, *TEXTS)
    for name in NAMES:
        cell.stop(name)
        cell.start(name)
    cell.wait_ready()
    cell.infer_right(*TEXTS)


# --- backups

def numbers(cell):
    return {name: {t.number for t in cell.ledger(name)[1]} for name in PARTIES}


def copy_state(cell, names, kill):
    for name in names:
        if kill:
            cell.kill(name)
        else:
            cell.stop(name)
        shutil.rmtree(cell.path(f"backup-{name}"), ignore_errors=True)
        shutil.copytree(cell.state(name), cell.path(f"backup-{name}"))
        cell.start(name)
    cell.wait_ready()


def restore_state(cell, names):
    for name in names:
        cell.kill(name)
        shutil.rmtree(cell.state(name))
        shutil.copytree(cell.path(f"backup-{name}"), cell.state(name))
    for name in names:
        cell.start(name)
    cell.wait_ready()


def restored(cell, names, kill):
    """Queries after an old copy came back use no number that was used since the copy was made."""
    copy_state(cell, names, kill)
    before = numbers(cell)
    cell.infer_right(*TEXTS, *TEXTS)
    since = {name: n - before[name] for name, n in numbers(cell).items()}
    expect(all(since.values()), "nothing was struck off")
    restore_state(cell, names)
    was = numbers(cell)
    cell.infer_right(*TEXTS, *TEXTS)
    for name in PARTIES:
        new = numbers(cell)[name] - was[name]
        expect(new and not new & (since["party0"] | since["party1"]),
               f"{name} used {sorted(new)} again, which were used before: {since}")
        expect(min(new) > max(since[name]), f"{name}: tape {min(new)} after {max(since[name])}")


def restored_backups(cell, options):
    groups = [("party1",), ("party0",), ("dealer", "party1"), ("dealer", "party0"), ("dealer",)]
    for names in groups * 5 if options.long else groups[:3]:
        restored(cell, names, kill=names != ("party1",))
    cell.check_online_once()


def bounded(cell, _):
    """Memory is admitted before it is taken: at start, beside another model, and again when there
    is room; what is admitted is no less than what is then taken."""
    def restart(memory):
        cell.stop("party0")
        mark = cell.mark()
        cell.write_config("party0", cell.config("party0") + [("memory", f"{memory}M")])
        cell.start("party0")
        cell.wait_ready()
        return mark

    def taken():
        return sum(json.loads(cell.ask("party0", "status", "--json"))["memory"].values()) / 2 ** 20

    mark = restart(1)
    cell.expect_log("party0", "model-not-loaded.*needs", mark)
    needs = int(re.search(r"model-not-loaded.* needs (\d+) MiB of memory here \(.*the key `memory` "
                          r"leaves 1 ", cell.log("party0")[mark["party0"]:])[1])
    before = taken()
    restart(needs)
    cell.infer_right(*TEXTS, *TEXTS)
    expect(needs / 2 < taken() - before <= needs, f"{taken() - before} MiB were taken of {needs}")
    cell.share("beside")
    expect_text(rf"needs \d+ MiB .*leaves \d beside the 1 that are loaded: unload",
                cell.load("party0", "beside", code=3), "a model more")
    cell.infer_right(TEXTS[0])
    restart(3 * needs)
    for name in ("dealer", "party1", "party0"):
        cell.load(name, "beside")
    cell.wait_ready()
    for name in ("dealer", "party1", "party0"):
        rows = json.loads(cell.ask(name, "model", "list", "--json"))["models"]
        cell.ask(name, "model", "unload", rows[-1]["model"])
    cell.write_config("party0", cell.config("party0"))
    cell.stop("party0")
    cell.start("party0")
    cell.wait_ready()


def reloads(cell, _):
    """A pin that is gone after a reload turns its owner away, also in a session that is open; a new
    certificate of the same key holder is shown; what takes a restart is refused, and changes
    nothing."""
    lines = cell.config("party0")
    cell.write_config("party0", [(k, v) for k, v in lines if k != "client_pin"])
    cell.infer_right(*TEXTS)
    cell.ask("party0", "reload")
    a = cell.infer(*TEXTS[:1])
    expect(a.code == 3, f"an owner without a pin is served: {a.code}")
    expect_text("client_pin", a.text, "what it is told")

    cell.write_config("party0", lines + [("tapes", 3)])
    expect_text(r"party0\.conf:\d+: tapes: stands twice", cell.ask("party0", "reload", code=3),
                "a file that is wrong")
    cell.write_config("party0", [(k, 7 if k == "tapes" else v) for k, v in lines])
    expect_text("`tapes` has changed, which takes a restart", cell.ask("party0", "reload", code=3),
                "a key that a reload does not take")
    expect(cell.infer(*TEXTS[:1]).code == 3, "a reload that failed changed something")

    for ending in ("key", "csr", "pem"):
        os.remove(cell.path(f"party0.{ending}"))
    mark = cell.mark()
    cell.make_identity("party0", "party0", days=20)
    for name in ("party0", "party1", "dealer", "owner"):
        cell.write_config(name, cell.config(name))
    for name in ("party0", "party1", "dealer"):
        cell.ask(name, "reload")
    cell.infer_right(*TEXTS)
    for name in ("party0", "party1", "dealer"):
        days = [e.fields["days"] for e in cell.events(name, mark) if e.name == "certificate-ends"]
        expect(len(days) == (name == "party0") and set(days) <= {"19", "20"}, f"{name}: {days}")
        left = json.loads(cell.ask(name, "status", "--json"))["certificate_ends_s"] - time.time()
        expect((left < 20 * 86400) == (name == "party0"), f"{name}: {left} s")


# --- the dealer's masks

def dealer(cell, *words, key="dealer.store", state=None, **more):
    return cell.run("dealer", *words, "--state", state or cell.state("dealer"),
                    *(["--store-key", key] if key else []), **more)


def masks(cell, options):
    """Backed up beside a dealer that runs, restored on another host under another key, destroyed."""
    model, backup = cell.shared["model_id"], ("--backup-key", "backup.store", "--file", "masks")
    cell.run("keygen", "store", "--key", "backup.store")
    cell.run("keygen", "store", "--key", "host.store")
    said = json.loads(dealer(cell, "backup", *backup, "--json"))["models"]
    expect([(m["model"], m["mask"]) for m in said] == [(model, "saved")], f"saved: {said}")
    for words in (("restore", *backup), ("destroy", model)):
        expect_text("another process uses this state folder", dealer(cell, *words, code=3),
                    f"{words[0]} beside a dealer that runs")
    expect_text("sealed with another store key",
                dealer(cell, "restore", "--backup-key", "host.store", "--file", "masks", code=3),
                "the wrong key of a backup")
    whole = read(cell.path("masks"))
    write(cell.path("bad"), whole[:-30] + bytes([whole[-30] ^ 1]) + whole[-29:])
    expect_text("bad: it is damaged", dealer(cell, "restore", "--backup-key", "backup.store",
                                             "--file", "bad", code=3), "a damaged backup")

    # Another host: nothing of the first one but the backup, and another key.
    cell.infer_right(*TEXTS)
    cell.stop("dealer")
    host = cell.path("host")
    said = json.loads(dealer(cell, "restore", *backup, "--json", key="host.store", state=host))
    expect(said["models"][0]["mask"] == "restored", f"restored: {said}")
    expect_text("there already", dealer(cell, "restore", *backup, key="host.store", state=host),
                "a second time")
    for path in glob.glob(f"{host}/models/*.mask"):
        expect(read(path)[:8] == b"MPCFSEAL", f"{path} is not sealed")
    cell.states["dealer"] = host
    lines = cell.config("dealer")
    cell.write_config("dealer", [(k, "host.store" if k == "store_key" else v) for k, v in lines])
    before = numbers(cell)
    cell.start("dealer")
    cell.wait_ready()
    for _ in range(3):
        cell.infer_right(*TEXTS)
    for name in PARTIES:
        new = numbers(cell)[name] - before[name]
        expect(new and min(new) > max(before[name]), f"{name} used {new} after {before[name]}")

    # Gone, and not to be drawn anew.
    cell.stop("dealer")
    said = dealer(cell, "destroy", model, key=None, state=host)
    expect_text(f"{model}.*destroyed", said, "what was destroyed")
    expect(not glob.glob(f"{host}/models/*.mask"), "a mask is still there")
    expect_text("destroyed", dealer(cell, "list", key="host.store", state=host), "the list")
    expect_text("was destroyed here", dealer(cell, "restore", *backup, key="host.store", state=host,
                                             code=3), "restored after it was destroyed")
    cell.start("dealer")
    cell.expect_log("dealer", "started", cell.mark() | {"dealer": 0})
    time.sleep(0.5)
    expect_text("was destroyed here: share the model again", cell.load("dealer", code=3),
                "a model whose mask was destroyed")
    shared = cell.share("again")
    for name in PARTIES:
        cell.ask(name, "model", "unload", model)
    cell.load_all("again")
    cell.shared = shared
    shutil.rmtree(cell.path("model"))
    os.rename(cell.path("again"), cell.path("model"))
    cell.infer_right(*TEXTS)


def dealers_masks(options):
    with Cell(options) as cell:
        cell.start_all()
        cell.load_all()
        cell.infer_right(*TEXTS)
        masks(cell, options)
        cell.check_ledgers()
        cell.check_logs()


def sealed_late(options):
    """What lay unsealed is sealed at the first start with a store key."""
    with Cell(options) as cell:
        lines = {name: cell.config(name) for name in NAMES}
        for name in NAMES:
            cell.write_config(name, [(k, v) for k, v in lines[name] if k != "store_key"])
        cell.start_all()
        cell.load_all()
        for name in NAMES:
            cell.expect_log(name, "unsealed", {name: 0})
            cell.stop(name)
            cell.write_config(name, lines[name])
        kept = [path for name in NAMES for path in glob.glob(f"{cell.state(name)}/models/*.*")
                if not path.endswith(".plan")]
        expect(len(kept) == 3 and not any(read(path).startswith(b"MPCFSEAL") for path in kept),
               f"{kept} are sealed without a key")
        cell.start_all()
        expect(all(read(path).startswith(b"MPCFSEAL") for path in kept), f"{kept} are not sealed")
        cell.infer_right(*TEXTS)
        cell.check_logs()


CASES = (cut_ledger, damaged_ledger, two_daemons, kept_after_unload, restored_backups, reloads,
         bounded)


if __name__ == "__main__":
    sys.exit(run_cell(__doc__, CASES, lambda cell: cell.infer_right(*TEXTS),
                      (full_disks, dealers_masks, sealed_late)))
