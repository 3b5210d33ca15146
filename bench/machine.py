"""The machine that figures are of, and the programs that measure on it."""

import json
import os
import platform
import shlex
import subprocess
import sys

FLAGS = ("avx2", "vaes", "vpclmulqdq", "avx512f", "avx512bw", "avx512vl", "avx512_vnni",
         "avx512ifma", "avx512vbmi", "amx_tile", "amx_int8")
TIMEOUT_S = 1800


class Broken(Exception):
    """A program that should have measured did not."""


def field(path, name):
    """The first value of a `name : value` line, as in /proc; "" when there is none."""
    try:
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                key, colon, value = line.partition(":")
                if colon and key.strip() == name:
                    return value.strip()
    except OSError:
        pass
    return ""


def follow(argv, out=None, codes=(0,)):
    """Run a program whose complaints and progress are shown as they come; its exit code."""
    code = subprocess.run(argv, stdout=out or sys.stderr).returncode
    if code not in codes:
        raise Broken(f"{shlex.join(argv)}: exit {code}")
    return code


def output(argv):
    """What a program prints on standard output; its complaints and progress are shown."""
    p = subprocess.run(argv, stdout=subprocess.PIPE, text=True)
    if p.returncode:
        raise Broken(f"{shlex.join(argv)}: exit {p.returncode}")
    return p.stdout


def kept(argv, path, codes=(0,)):
    """@path, with what the program prints; one that is there already is not run again."""
    if not os.path.exists(path):
        with open(path + ".part", "w", encoding="utf-8") as f:
            follow(argv, f, codes)
        os.rename(path + ".part", path)
    return path


def git_commit(root):
    def git(*words):
        p = subprocess.run(["git", "-C", root, *words], capture_output=True, text=True)
        return p.stdout.strip() if p.returncode == 0 else ""
    try:
        commit = git("rev-parse", "HEAD")
        return commit + (" and changes" if commit and git("status", "--porcelain", "-uno") else "")
    except OSError:
        return ""


def describe(root):
    here = set(field("/proc/cpuinfo", "flags").split())
    return {
        "cpu": field("/proc/cpuinfo", "model name"),
        "cpu_family": field("/proc/cpuinfo", "cpu family"),
        "cpu_model": field("/proc/cpuinfo", "model"),
        "flags": [f for f in FLAGS if f in here],
        "flags_absent": [f for f in FLAGS if f not in here],
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "commit": git_commit(root),
    }


class Tools:
    """The programs of one build."""

    def __init__(self, root, build):
        self.root = root
        self.tool = os.path.join(build, "appliance", "mpcformer")
        self.dpdk = os.path.join(build, "dataplane", "dpdk", "mpcformer-dpdk.so")
        self.blas = os.path.join(build, "bench", "openblas")
        if not os.access(self.tool, os.X_OK):
            raise Broken(f"{self.tool} is not there: `./demo --setup` builds it, --build names "
                         "another folder")

    def has_blas(self):
        return os.access(self.blas, os.X_OK)

    def has_dpdk(self):
        return os.access(self.dpdk, os.R_OK)

    def run(self, argv, codes=(0, 1), env=None):
        """(exit code, standard output, standard error) of a program."""
        if sys.stderr.isatty():
            print("bench/compare:", " ".join(argv[1:]), file=sys.stderr)
        p = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_S, env=env)
        if p.returncode not in codes:
            raise Broken(f"{' '.join(argv)}: exit {p.returncode}: {p.stderr.strip()}")
        return p.returncode, p.stdout, p.stderr

    def bench(self, *words):
        """The object that `mpcformer bench` prints, with the load it was measured under."""
        load = os.getloadavg()[0]
        _, out, _ = self.run([self.tool, "bench", *map(str, words), "--json"])
        return {**json.loads(out), "load": load}

    def bench_product(self, *words):
        """Likewise; or why this CPU cannot, as text."""
        load = os.getloadavg()[0]
        code, out, err = self.run([self.tool, "bench", "product", *map(str, words), "--json"],
                                  codes=(0, 1, 3))
        if code == 3:
            return "not on this CPU" if "this CPU lacks it" in err else err.strip()
        return {**json.loads(out), "load": load}

    def bench_blas(self, *words):
        """Likewise, OpenBLAS left to choose its kernels by itself."""
        env = {k: v for k, v in os.environ.items()
               if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
        load = os.getloadavg()[0]
        _, out, _ = self.run([self.blas, *map(str, words)], env=env)
        return {**json.loads(out), "load": load}

    def infer(self, ring, frac, count, pause_s):
        """Rows of `mpcformer infer --json` about the shipped model, one at a time in a lab."""
        script = ('for i in $(seq "$1"); do "$0" infer --json "a fine film" || exit; sleep "$2"; '
                  'done')
        model = os.path.join(self.root, "models", "sst2-tiny")
        _, out, _ = self.run([self.tool, "lab", "--model", model, "--ring", str(ring),
                              "--frac", str(frac), "--", "sh", "-c", script, self.tool,
                              str(count), str(pause_s)])
        return [json.loads(line) for line in out.splitlines()]
