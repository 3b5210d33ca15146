"""Tapes on the parties' disks: there again after a restart, and no number used twice, whatever was
killed, full, damaged, lost or restored.

A tape is used only when both parties hold it and have struck its number off, so whatever one of
them has lost, or has back though it was used, is destroyed by the other, or by itself.
"""

import glob
import json
import os
import random
import shutil
import subprocess
import sys
import time

from cell import NAMES, PARTIES, PATIENCE, Cell, expect, expect_text, run_cases, run_cell

TEXTS = ("a film to remember", "tired and far too long", "warm and funny")
STORE = "4M"  # some tapes of party 1
KILLS = {False: 12, True: 150}
DISK = "8m"


def folder_of(cell, name):
    return os.path.join(cell.state(name), "tapes")


def files(cell, name):
    return sorted(glob.glob(os.path.join(folder_of(cell, name), "*")))


def numbers_of(paths):
    return {int(p.rsplit(".", 1)[1]) for p in paths if p.rsplit(".", 1)[1].isdigit()}


def stored(cell, name):
    """The numbers on its disk."""
    return numbers_of(files(cell, name))


def status(cell, name):
    return json.loads(cell.ask(name, "status", "--json"))


def wait_until(what, true, timeout=20):
    deadline = time.monotonic() + timeout * PATIENCE
    while not true():
        expect(time.monotonic() < deadline, f"not in {timeout} s: {what}")
        time.sleep(0.05)


def quiet(cell):
    """Nothing is dealt, written or read any more: the disks are as full as they may be."""
    last, since = None, time.monotonic()
    deadline = since + 30 * PATIENCE
    while time.monotonic() - since < 0.7:
        now = [files(cell, name) for name in PARTIES]
        if now != last:
            last, since = now, time.monotonic()
        expect(time.monotonic() < deadline, "tapes still come and go")
        time.sleep(0.05)
    return stored(cell, "party0"), stored(cell, "party1")


def in_memory(cell, name, mark):
    """What this process of the party made ready, and never struck off: where its disk had no room just
    then, a tape waits there that the other party has on its disk."""
    events = cell.events(name, mark)
    starts = [i for i, e in enumerate(events) if e.name == "started"]
    return {int(e.fields["number"]) for e in events[starts[-1] if starts else 0:]
            if e.name == "tape-ready"} - used(cell, name)


def used(cell, name):
    return {t.number for t in cell.ledger(name)[1]}


def restart(cell, names, between=lambda: None):
    """Stopped together and started together; where their logs ended before."""
    for name in names:
        cell.stop(name)
    mark = cell.mark()
    between()
    for name in NAMES:
        if name in names:
            cell.start(name)
    cell.wait_ready()
    return mark


def found(cell, name, mark):
    """How many tapes it says that it found at its start."""
    return [int(e.fields["tapes"]) for e in cell.events(name, mark) if e.name == "tapes-found"]


# --- restarts

def restarts(cell, _):
    """What was on the disk is there again, and used, and nothing is dealt in place of it."""
    cell.infer_right(TEXTS[0])
    bound = 4 << 20
    for names in (PARTIES, ("party0",), ("party1",)):
        p0, p1 = quiet(cell)
        expect(p0 == p1 and len(p0) >= 3, f"stored are {p0} and {p1}")
        for name in PARTIES:
            size = sum(os.path.getsize(f) for f in files(cell, name))
            expect(size <= bound, f"{name} has {size} bytes of tapes, at most {bound} are allowed")
            expect(status(cell, name)["tape_store_bytes"] == size, f"{name} says another size")
        mark = restart(cell, names)
        for name in names:
            expect(found(cell, name, mark) == [len(p0)], f"{name}: {found(cell, name, mark)} found")
        cell.infer_right(*TEXTS)
        took = {int(e.fields["tape"]) for e in cell.events("party0", mark) if e.name == "job-online"}
        expect(took <= p0, f"{took - p0} were used, and {p0} were there")
    return f"{len(p0)} tapes in {bound >> 20} MiB"


def dealer_away(cell, _):
    """Without the dealer nothing new is read from a disk after a start; with it all goes on."""
    cell.infer_right(TEXTS[0])
    quiet(cell)
    cell.stop("dealer")
    cell.infer_right(TEXTS[0])
    for name in PARTIES:
        cell.stop(name)
    for name in PARTIES[::-1]:
        cell.start(name)
    a = cell.infer(TEXTS[0], timeout=40)
    expect(a.code == 3, f"a tape from before the start is used without the dealer: {a.rows}")
    cell.start("dealer")
    cell.wait_ready()
    cell.infer_right(*TEXTS)


def unloaded(cell, _):
    """An unloaded model's tapes go, at one party or at both."""
    model = cell.shared["model_id"]
    for names in (("party0",), ("party1",), PARTIES):
        cell.infer_right(TEXTS[0])
        quiet(cell)
        for name in names:
            cell.ask(name, "model", "unload", model)
            wait_until(f"{name}'s tapes are gone", lambda name=name: not files(cell, name))
        for name in names:
            cell.load(name)
        cell.wait_ready()
        cell.infer_right(*TEXTS, *TEXTS)


# --- what one has lost

def lost_files(cell, _):
    """What only one has is destroyed there, whoever was restarted."""
    for name in PARTIES:
        other = PARTIES[name == "party0"]
        cell.infer_right(TEXTS[0])
        quiet(cell)
        gone = files(cell, name)[::2]
        mark = restart(cell, (name,), lambda gone=gone: [os.remove(path) for path in gone])
        wait_until("the other party destroys what is lost",
                   lambda: not numbers_of(gone) & stored(cell, other))
        destroyed = {int(e.fields["number"]) for e in cell.events(other, mark)
                     if e.name == "tape-destroyed"}
        expect(numbers_of(gone) <= destroyed, f"{other} destroyed {destroyed}")
        cell.infer_right(*TEXTS)


def damaged_files(cell, _):
    """A file with a bit too many, too short, under another's name or key: said by name, not used."""
    def flip(path):
        with open(path, "r+b") as f:
            f.seek(os.path.getsize(path) // 2)
            byte = f.read(1)
            f.seek(-1, 1)
            f.write(bytes([byte[0] ^ 1]))

    def cut(path):
        os.truncate(path, os.path.getsize(path) - 1)

    for name in PARTIES:
        cell.infer_right(TEXTS[0])
        p0, _ = quiet(cell)
        paths = sorted(files(cell, name), key=lambda path: int(path.rsplit(".", 1)[1]))
        first = numbers_of(paths[:3])

        def spoil(paths=paths):
            flip(paths[0])
            cut(paths[1])
            shutil.copyfile(paths[3], paths[2])

        mark = restart(cell, (name,), spoil)
        cell.infer_right(*TEXTS)
        quiet(cell)
        took = {int(e.fields["tape"]) for e in cell.events("party0", mark) if e.name == "job-online"}
        expect(took and not took & first, f"{took & first} were used though they were damaged")
        cell.expect_log(name, rf"tape-not-read .*{os.path.basename(paths[0])}: .*damaged", mark)
        cell.expect_log(name, rf"tape-not-read .*{os.path.basename(paths[2])}: .*another tape", mark)
        expect(found(cell, name, mark) == [len(p0) - 1], "a file that was cut off was found")


def other_key(cell, _):
    """Sealed with another key a tape is not read, nor is a model."""
    cell.infer_right(TEXTS[0])
    quiet(cell)
    cell.run("keygen", "store", "--key", "another.store")
    lines = cell.config("party1")
    cell.stop("party1")
    cell.write_config("party1", [(k, "another.store" if k == "store_key" else v) for k, v in lines])
    mark = cell.mark()
    cell.start("party1")
    cell.expect_log("party1", "model-not-loaded .*sealed with another store key", mark)
    cell.stop("party1")
    cell.write_config("party1", [(k, v) for k, v in lines if k not in ("store_key", "tape_store")])
    mark = cell.mark()
    cell.start("party1")
    cell.expect_log("party1", "model-not-loaded .*it is sealed: set `store_key`", mark)
    cell.stop("party1")
    cell.write_config("party1", lines)
    cell.start("party1")
    cell.wait_ready()
    cell.infer_right(*TEXTS)


# --- backups

def copy_states(cell, names):
    for name in names:
        shutil.rmtree(cell.path(f"backup-{name}"), ignore_errors=True)
        shutil.copytree(cell.state(name), cell.path(f"backup-{name}"))


def put_states_back(cell, names):
    for name in names:
        shutil.rmtree(cell.state(name))
        shutil.copytree(cell.path(f"backup-{name}"), cell.state(name))


def restored(cell, names):
    """A copy of @names' folders, tapes and all, is made, tapes are used, the copy comes back."""
    cell.infer_right(TEXTS[0])
    quiet(cell)
    for name in names:
        cell.kill(name)
    copy_states(cell, names)
    for name in names:
        cell.start(name)
    cell.wait_ready()
    before = used(cell, "party0") | used(cell, "party1")
    for _ in range(3):
        cell.infer_right(*TEXTS)
    since = (used(cell, "party0") | used(cell, "party1")) - before
    for name in names:
        cell.kill(name)
    mark = cell.mark()
    put_states_back(cell, names)
    back = {name: stored(cell, name) & since for name in names}
    expect(all(back.values()), f"no tape that was used came back: {back}")
    for name in names:
        cell.start(name)
    cell.wait_ready()
    cell.infer_right(*TEXTS)
    quiet(cell)
    said = [name for name in PARTIES
            if any(e.name == "tapes-discarded" and "was it restored" in e.fields["why"]
                   for e in cell.events(name, mark))]
    expect(set(said) & set(names), f"{names} came back old, and {said} say so")
    new = {int(e.fields["tape"]) for e in cell.events("party0", mark) if e.name == "job-online"}
    expect(new and not new & since, f"{new & since} were used again")
    # Once found out it is over.
    mark = restart(cell, PARTIES)
    cell.infer_right(*TEXTS)
    expect(not [e for name in PARTIES for e in cell.events(name, mark)
                if e.name == "tapes-discarded"], "discarded a second time")


def restored_party0(cell, _):
    restored(cell, ("party0",))


def restored_party1(cell, _):
    restored(cell, ("party1",))


def restored_both(cell, _):
    """Then only the dealer knows."""
    restored(cell, PARTIES)


def old_tapes(cell, _):
    """Files alone that come back are those of numbers that are struck off: they go."""
    for name in PARTIES:
        cell.infer_right(TEXTS[0])
        quiet(cell)
        copy = cell.path("old-tapes")
        shutil.copytree(folder_of(cell, name), copy)
        cell.infer_right(*TEXTS, *TEXTS)
        quiet(cell)

        def put_back(name=name, copy=copy):
            for path in glob.glob(f"{copy}/*"):
                shutil.copy(path, folder_of(cell, name))

        spent = numbers_of(glob.glob(f"{copy}/*")) & used(cell, name)
        expect(spent, "nothing that was copied was used")
        restart(cell, (name,), put_back)
        wait_until("old files are removed", lambda: not stored(cell, name) & spent)
        cell.infer_right(*TEXTS)
        shutil.rmtree(copy)


# --- kills

def kills(cell, options):
    """Any process at any instant, queries and refills under way."""
    count, mark = KILLS[options.long], cell.mark()
    for _ in range(count):
        victims = random.choice([(name,) for name in NAMES] + [PARTIES])
        client = cell.infer_start(*random.choices(TEXTS, k=3))
        time.sleep(random.uniform(0, 0.25))
        for name in victims:
            cell.kill(name)
        cell.infer_end(client, 15)
        for name in victims:
            cell.start(name)
        cell.wait_ready()
        cell.infer_right(random.choice(TEXTS))
    p0, p1 = quiet(cell)
    lost = p0 - p1 - in_memory(cell, "party1", mark), p1 - p0 - in_memory(cell, "party0", mark)
    expect(not any(lost), f"at the end party0 has {p0}, party1 {p1}; nowhere at the other are {lost}")
    both = cell.check_ledgers()
    cell.check_online_once()
    expect(not [e for name in PARTIES for e in cell.events(name, mark)
                if e.name == "tapes-discarded"], "a kill was taken for an old copy")
    return f"{count} kills, {both} tapes struck by both"


# --- full disks

def mount(folder):
    os.mkdir(folder)
    return subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", folder],
                          capture_output=True).returncode == 0


def fill(folder):
    with open(os.path.join(folder, "filler"), "wb", buffering=0) as f:
        for size in (1 << 20, 4096, 1):
            try:
                while f.write(bytes(size)):
                    pass
            except OSError:
                pass


def full_disk(options):
    """Where no tape can be written they are in memory, as without a disk, and it says so."""
    with Cell(options, more=store_lines("64M")) as cell:
        folder = cell.path("disk")
        if os.geteuid() != 0 or not mount(folder):
            return "skipped: it takes the right to mount"
        try:
            tapes = os.path.join(folder, "tapes")
            os.mkdir(tapes)
            cell.more["party1"] = cell.more["party1"] + [("tape_folder", tapes)]
            cell.write_config("party1", cell.config("party1"))
            cell.start_all()
            cell.load_all()
            mark = cell.mark()
            cell.infer_right(*TEXTS)
            cell.expect_log("party1", "tape-not-stored .*No space left on device", mark, 20)
            for _ in range(3):
                cell.infer_right(*TEXTS)
            fill(folder)
            mark = cell.mark()
            for _ in range(6):
                cell.infer_right(*TEXTS)
            held = status(cell, "party1")["tapes"]
            expect(held < 64, f"{held} tapes in stock, more than the disk and `tapes` say")
            os.unlink(os.path.join(folder, "filler"))
            cell.check_alive()
            cell.check_ledgers()
            cell.check_online_once()
            cell.check_logs()
        finally:
            for name in list(cell.process):
                cell.kill(name)
            subprocess.run(["umount", "-l", folder], check=True)
    return None


def one_sided(options):
    """A store at one party only is a mistake that both are told of."""
    more = store_lines(STORE)
    with Cell(options, more={"party0": more["party0"]}) as cell:
        mark = cell.mark()
        for name in NAMES:
            cell.start(name)
        for name in PARTIES:
            cell.expect_log(name, "a tape_store.*write the same in both configurations", mark)


def store_lines(size):
    return {name: [("tape_store", size)] for name in PARTIES}


def discarded(cell, _):
    """An operator of either party destroys the stock: its files go, and others take their place."""
    for name in PARTIES:
        before, _ = quiet(cell)
        model = status(cell, name)["models"][0]["model"]
        mark = cell.mark()
        said = json.loads(cell.ask(name, "tape", "discard", "--model", model, "--json"))
        expect(said["destroyed"] >= len(before), f"{name}: {said} of {len(before)} on the disk")
        wait_until("the files are gone", lambda: not stored(cell, name) & before)
        cell.infer_right(*TEXTS)
        took = {int(e.fields["tape"]) for e in cell.events("party0", mark) if e.name == "job-online"}
        expect(took and not took & before, f"{took & before} were destroyed, then used")


CASES = (restarts, dealer_away, unloaded, discarded, lost_files, damaged_files, other_key, old_tapes, kills,
         restored_party0, restored_party1, restored_both)


if __name__ == "__main__":
    sys.exit(run_cell(__doc__, CASES, lambda cell: cell.infer_right(*TEXTS), (full_disk, one_sided),
                      more=store_lines(STORE)))
