"""What the coordinator gets to see. The same recipe with and without secure aggregation gives the same model bit for
bit, so the vectors of the second run are the plaintext of the first."""
import base64
import glob
import math
import os
import re
import resource
import signal
import sqlite3
import stat
import subprocess
import threading
import unittest

import numpy as np

from harness import BUILD, EndToEnd, descendants, wait_for
from vectors import Collector, Layout, mlp_parameters

RECIPE = """
name: private
run: atoll run task.yaml
resources: {cpus: 1, memory: 1}
parameters:
  model: {kind: mlp, hidden: [64]}
  data: {dataset: fashion-mnist, limit: 3000, evaluate: false, partition: {kind: dirichlet, alpha: 0.5}}
  site: {count: 3, ranks: 2}
  train: {optimizer: {kind: sgd, lr: 0.05, momentum: 0.9}, batch_size: 32}
  federation: {rounds: 2, cohort: {min: 3}, weight_max: 2000}
"""
LAYOUT = Layout(mlp_parameters([64]), value_bits=16, sites=3)
ALL = {(r, s) for r in (1, 2) for s in (1, 2, 3)}  # (round, site)
P_MIN = 1e-9
WINDOW = 16  # lanes


def chi_square_p(values, bins):
    """How likely uniform values in [0, bins) are to be as uneven as these (Wilson and Hilferty's approximation)."""
    expected = len(values) / bins
    assert expected >= 5, "too few values"
    counts = np.bincount(values.astype(np.int64), minlength=bins)
    statistic = float(((counts - expected) ** 2).sum() / expected)
    k = bins - 1
    z = ((statistic / k) ** (1 / 3) - (1 - 2 / (9 * k))) / math.sqrt(2 / (9 * k))
    return 0.5 * math.erfc(z / math.sqrt(2))


def uniformity(fields, packed, width):
    """p of each view of a vector's fields: its bytes, low and high bits, and the lowest bit alone."""
    fields = fields.astype(np.uint64)
    return {
        "bytes": chi_square_p(np.frombuffer(packed, np.uint8), 256),
        "low bits": chi_square_p(fields & np.uint64(255), 256),
        "high bits": chi_square_p(fields >> np.uint64(width - 8), 256),
        "lowest bit": chi_square_p(fields & np.uint64(1), 2),
        "highest bit": chi_square_p(fields >> np.uint64(width - 1), 2),
    }


def window_hashes(values, length):
    """A 64-bit hash of each window of so many values."""
    hashes = np.zeros(len(values) - length + 1, np.uint64)
    with np.errstate(over="ignore"):
        mixed = (values.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
        for i in range(length):
            hashes = hashes * np.uint64(0xD1342543DE82EF95) + mixed[i:i + len(hashes)]
    return hashes


def windows_in_common(a, b, length=WINDOW):
    """How many windows of `a` occur anywhere in `b`, but for those of one value only."""
    if len(a) < length or len(b) < length:
        return 0
    plain = np.lib.stride_tricks.sliding_window_view(a, length)
    telling = (plain != plain[:, :1]).any(axis=1)
    return int(np.isin(window_hashes(a, length)[telling], window_hashes(b, length)).sum())


def files_below(*folders):
    return [os.path.join(root, name) for folder in folders for root, _, names in os.walk(folder) for name in names]


class PrivacyTest(EndToEnd):
    def collect(self, name, secure):
        """Runs the recipe, keeps its work folder and all vectors that the coordinator staged."""
        self.runs = os.path.join(self.folder, name)
        recipe = self.recipe(RECIPE)
        run = self.start_run(recipe, "--keep-work", "--set", f"privacy.secure_aggregation.enabled={secure}")
        folder = self.run_folder()
        secrets = SlotSecrets(folder, os.path.join(self.folder, "database-" + name))
        collector = Collector(os.path.join(folder, "work", "coordinator"), os.path.join(self.folder, "kept-" + name))
        code, out, err = self.finish(run, 120)
        files = collector.stop()
        self.secrets = secrets.stop()
        self.printed = out + err
        self.assertEqual(code, 0, out + err)
        self.assertEqual(set(files), ALL)
        vectors = {}
        for key, path in files.items():
            self.assertEqual(LAYOUT.stored(path), len(LAYOUT.sizes))
            vectors[key] = LAYOUT.read(path)
        return folder, vectors

    def test_the_coordinator_sees_nothing_but_uniform_noise(self):
        plain_folder, plain = self.collect("plain", "false")
        folder, masked = self.collect("masked", "true")
        models = []
        for f in (plain_folder, folder):
            with open(os.path.join(f, "model.safetensors"), "rb") as file:
                models.append(file.read())
        self.assertTrue(models[0] == models[1], "the runs differ, so one's vectors are not the other's plaintext")
        with self.subTest("no lanes of a plaintext update"):
            self.no_plaintext_lanes(plain, masked)
        with self.subTest("no plaintext in any file"):
            self.no_plaintext_in_files(plain, folder)
        with self.subTest("uniform"):
            self.uniform(plain, masked)
        with self.subTest("no mask is used twice"):
            self.no_mask_twice(masked)
        with self.subTest("no secrets"):
            self.no_secrets(folder)
        with self.subTest("no secrets of slots"):
            self.no_slot_secrets(folder)
        with self.subTest("what R4 revealed is gone"):
            self.nothing_revealed_is_left(folder)

    def test_no_core_dumps_where_secrets_are(self):
        """Agents and trainer ranks forbid core files, whatever they are started with."""
        limits = (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2
        run = self.start_run(self.recipe(RECIPE), "--set", "federation.rounds=200",
                             preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, limits))
        sites = self.site_pids(self.run_folder(), 3)

        def core_limit(pid):
            with open(f"/proc/{pid}/limits") as f:
                return re.search(r"Max core file size +(\S+) +(\S+)", f.read()).groups()
        self.assertNotEqual(core_limit(run.pid), ("0", "0"), "this machine allows no core files at all")

        def ranks():
            found = [pid for site in sites.values() for pid, command in descendants(site).items()
                     if "atoll-trainer" in command and "mpirun" not in command]
            return found if len(found) == 6 else None
        guarded = wait_for("six ranks", ranks, 60) + list(sites.values())
        wait_for("no core files", lambda: {core_limit(pid) for pid in guarded} == {("0", "0")}, 30)
        run.send_signal(signal.SIGINT)
        self.finish(run, 60)

    def no_plaintext_lanes(self, plain, masked):
        everything = np.concatenate([update for _, update, _ in masked.values()])
        for key, (metrics, update, _) in plain.items():
            self.assertEqual(windows_in_common(update, everything), 0, key)
            self.assertGreater(np.abs(centred(update)).max(), 10, "an update with nothing in it proves nothing")
            for _, (masked_metrics, _, _) in masked.items():
                self.assertEqual(set(metrics[metrics != 0]) & set(masked_metrics), set(), key)
        # The search finds what is there.
        first = plain[1, 1][1]
        planted = everything.copy()
        busy = int(np.abs(centred(first)).argmax())
        start = max(0, busy - WINDOW)
        planted[777:777 + WINDOW] = first[start:start + WINDOW]
        self.assertGreaterEqual(windows_in_common(first, planted), 1)

    def no_plaintext_in_files(self, plain, folder):
        """No 40 bytes of a packed update, at any offset, in anything the coordinator keeps or anybody logs."""
        length = 40
        hashes = []
        for _, _, packed in plain.values():
            update = np.frombuffer(packed, np.uint8)
            # Mostly zeros or ones may stand anywhere.
            telling = (update != 0) & (update != 255)
            enough = np.lib.stride_tricks.sliding_window_view(telling, length).sum(axis=1) >= length // 2
            hashes.append(window_hashes(update, length)[enough])
        hashes = np.unique(np.concatenate(hashes))

        def found(path):
            with open(path, "rb") as f:
                data = np.frombuffer(f.read(), np.uint8)
            return int(np.isin(window_hashes(data, length), hashes).sum()) if len(data) >= length else 0
        looked_at = files_below(folder + "/work/coordinator", folder + "/logs")
        self.assertGreater(len(looked_at), 5)
        for path in looked_at:
            self.assertEqual(found(path), 0, path)
        for name in os.listdir(self.folder + "/kept-plain"):
            self.assertGreater(found(os.path.join(self.folder, "kept-plain", name)), 1000)

    def uniform(self, plain, masked):
        for key, (_, update, packed) in masked.items():
            for view, p in uniformity(update, packed, LAYOUT.update_bits).items():
                self.assertGreaterEqual(p, P_MIN, (key, view))
        # The same test fails on what is not masked.
        for key, (_, update, packed) in plain.items():
            views = uniformity(update, packed, LAYOUT.update_bits)
            for view in ("bytes", "low bits", "high bits"):
                self.assertLess(views[view], P_MIN, (key, view))

    def no_mask_twice(self, masked):
        """Under one mask twice, the difference of two vectors would be that of two small updates."""
        mask = np.uint64((1 << LAYOUT.update_bits) - 1)
        keys = sorted(masked)
        for i, a in enumerate(keys):
            for b in keys[i + 1:]:
                with np.errstate(over="ignore"):
                    difference = (masked[a][1] - masked[b][1]) & mask
                p = chi_square_p(difference >> np.uint64(LAYOUT.update_bits - 8), 256)
                self.assertGreaterEqual(p, P_MIN, (a, b))

    def no_secrets(self, folder):
        seeds = {}
        for path in glob.glob(folder + "/work/site-*/identity.key"):
            with open(path) as f:
                seeds[path] = f.read().strip()
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
            self.assertEqual(stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode), 0o700)
        self.assertEqual(len(seeds), 3)
        own = [os.path.dirname(path) + "/" for path in seeds]
        others = [p for p in files_below(folder) if not p.startswith(tuple(own))]
        self.assertTrue(any(p.startswith(folder + "/work/coordinator/") for p in others))
        for path in others:
            with open(path, "rb") as f:
                content = f.read()
            for seed in seeds.values():
                for form in (seed.encode(), seed.upper().encode(), bytes.fromhex(seed)):
                    self.assertNotIn(form, content, path)

    def no_slot_secrets(self, folder):
        """Keys, shares and stream keys of each slot stand in the site's own database, and nowhere else."""
        names = {}  # secret -> (site, what), of all sites and slots
        for site, slot, name, value in self.secrets:
            names[value] = (site, f"{name} of slot {slot}")
        kinds = {name.split(" of ")[0].split(" with ")[0].rstrip(" 0123456789") for _, _, name, _ in self.secrets}
        self.assertLessEqual({"mask_sk", "b", "share", "self stream", "stream"}, kinds)
        self.assertEqual({site for site, _ in names.values()}, {"site-1", "site-2", "site-3"})
        self.assertGreater(len(names), 3 * 2 * 8)
        search = Search(names)

        own = re.compile(re.escape(folder) + r"/work/(site-\d+)/site\.db(-wal|-shm)?$")
        looked_at = files_below(folder)
        self.assertTrue(any(p.startswith(folder + "/work/coordinator/") for p in looked_at))
        self.assertTrue(any(p.startswith(folder + "/logs/") for p in looked_at))
        for path in looked_at:
            with open(path, "rb") as f:
                found = search.find(f.read())
            if own.match(path):
                found = {value for value in found if names[value][0] != own.match(path)[1]}
            self.assertEqual([names[value] for value in found], [], path)
        self.assertEqual(search.find(self.printed.encode()), set())

        # The search finds them where they are (how many stood in the files when they were copied, is the clock's
        # choice), and in each form.
        with open(os.path.join(self.folder, "database-masked"), "rb") as f:
            self.assertTrue(search.find(f.read()))
        value = next(iter(names))
        for text in (value.hex(), value.hex().upper(), base64.b64encode(b"x" + value).decode(),
                     base64.b64encode(b"in " + value + b" between").decode()):
            self.assertEqual(search.find(f"2026 info {text}.".encode()), {value})

    def nothing_revealed_is_left(self, folder):
        """Secrets are on disk while a round's result is checked, at the coordinator and at the sites; then no more."""
        work = os.path.join(folder, "work")
        coordinator = sqlite3.connect(os.path.join(work, "coordinator", "atoll.db"))
        self.assertEqual(coordinator.execute("PRAGMA user_version").fetchone()[0], 2)
        self.assertEqual(coordinator.execute("SELECT count(*) FROM secrets").fetchone()[0], 0)
        sites = [path for path in files_below(work) if os.path.basename(path) == "site.db"]
        self.assertEqual(len(sites), 3)
        for path in sites:
            site = sqlite3.connect(path)
            slots = site.execute("SELECT record, erased FROM slots").fetchall()
            self.assertEqual(slots, [(b"", 1)] * len(slots), path)
            kept = site.execute("SELECT key, length(value) FROM settings WHERE key LIKE 'check/%'").fetchall()
            self.assertEqual([size for _, size in kept], [0] * len(kept), path)


class SlotSecrets:
    """Collects what tests/slot-secrets reads in the sites' databases while a run goes on, and keeps one copy of each
    site's database, behind one another in one file."""

    def __init__(self, folder, keep):
        self.keep = keep
        sites = [os.path.join(folder, "work", f"site-{i}") for i in (1, 2, 3)]
        self.reader = subprocess.Popen([os.path.join(BUILD, "tests", "slot-secrets"), *sites], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, text=True)
        self.found = []
        self.kept = set()
        self.thread = threading.Thread(target=self.collect, daemon=True)
        self.thread.start()

    def collect(self):
        for line in self.reader.stdout:
            site, slot, name, value = line.rstrip("\n").split("\t")
            self.found.append((os.path.basename(site), int(slot), name, bytes.fromhex(value)))
            if name.startswith("share") and site not in self.kept:
                self.kept.add(site)
                with open(self.keep, "ab") as kept:
                    for part in ("site.db", "site.db-wal"):
                        try:
                            with open(os.path.join(site, part), "rb") as f:
                                kept.write(f.read())
                        except FileNotFoundError:
                            continue

    def stop(self):
        self.reader.stdin.close()
        self.thread.join()
        self.reader.stdout.close()
        self.reader.wait()
        return self.found


class Search:
    """Finds 32-byte secrets in bytes: raw, in hex and in base64 at any offset."""

    def __init__(self, secrets):
        self.needles = {}  # a form -> its secret
        for secret in secrets:
            self.needles[secret] = secret
            for text in (secret.hex(), secret.hex().upper()):
                self.needles[text.encode()] = secret
            for shift in range(3):
                # Without the characters that depend on what stands around the secret.
                text = base64.b64encode(bytes(shift) + secret + bytes(3))
                self.needles[text[4:40]] = secret
        self.heads = np.unique(np.frombuffer(b"".join(needle[:8] for needle in self.needles), "<u8"))

    def find(self, data):
        windows = [np.frombuffer(data, "<u8", (len(data) - i) // 8, i) for i in range(8) if len(data) >= 8 + i]
        if not any(np.isin(w, self.heads).any() for w in windows):
            return set()
        return {secret for needle, secret in self.needles.items() if needle in data}


def centred(update):
    half = 1 << (LAYOUT.update_bits - 1)
    signed = update.astype(np.int64)
    return np.where(signed >= half, signed - 2 * half, signed)


if __name__ == "__main__":
    unittest.main()
