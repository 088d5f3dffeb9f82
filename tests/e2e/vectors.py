"""The coordinator's staged vectors (federation/store/vector_store.cc), read with numpy: which chunks of a site's vector
are stored, and the fields in them."""
import glob
import os
import re
import threading

import numpy as np

CHUNK = 1 << 18  # coordinates of a chunk
METRICS, METRIC_BITS = 6, 48
HEAD = 8 + 32  # magic, digest of the chunks' sizes; then 32 bytes of digest a chunk, then the chunks


def mlp_parameters(hidden, inputs=784, classes=10):
    widths = [inputs, *hidden, classes]
    return sum(a * b + b for a, b in zip(widths, widths[1:]))


class Layout:
    """Two segments, metrics and update, each cut into chunks of its own; fields have room for the sites' sum."""

    def __init__(self, parameters, value_bits, sites):
        room = (sites - 1).bit_length()
        self.metric_bits, self.update_bits = METRIC_BITS + room, value_bits + room
        self.parameters = parameters
        self.sizes = [(METRICS * self.metric_bits + 7) // 8]
        for first in range(0, parameters, CHUNK):
            self.sizes.append((min(CHUNK, parameters - first) * self.update_bits + 7) // 8)

    def stored(self, path):
        """How many chunks are stored; 0 when there is no such file."""
        try:
            with open(path, "rb") as f:
                head = f.read(HEAD + 32 * len(self.sizes))
        except OSError:
            return 0
        digests = [head[i:i + 32] for i in range(HEAD, len(head), 32)]
        return sum(d != bytes(32) for d in digests) if head[:8] == b"atollve1" else 0

    def read(self, path):
        """Metrics and update as unsigned fields, and the packed bytes of the update. The vector is whole."""
        with open(path, "rb") as f:
            raw = f.read()
        start = HEAD + 32 * len(self.sizes)
        assert raw[:8] == b"atollve1" and len(raw) == start + sum(self.sizes), path
        packed = raw[start:]
        update = packed[self.sizes[0]:]
        return (fields(packed[:self.sizes[0]], self.metric_bits, METRICS),
                fields(update, self.update_bits, self.parameters), update)


def fields(packed, width, count):
    """`count` fields of `width` bits, little-endian bit order, as uint64. Chunks of 2^18 fields are whole bytes, so they
    follow each other without a gap."""
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), bitorder="little")[:width * count].reshape(count, width)
    out = np.zeros(count, np.uint64)
    for bit in range(width):
        out |= bits[:, bit].astype(np.uint64) << np.uint64(bit)
    return out


class Collector(threading.Thread):
    """Keeps what a coordinator stages beyond the end of its round: a second link to each file as soon as it appears.
    `files` maps (round, site) to the kept file."""

    def __init__(self, coordinator_folder, keep_folder):
        super().__init__(daemon=True)
        self.folder, self.keep, self.files = coordinator_folder, keep_folder, {}
        os.makedirs(keep_folder)
        self.ended = threading.Event()
        self.start()

    def run(self):
        while not self.ended.wait(0.002):
            for path in staged(self.folder):
                match = re.search(r"/\d+/(\d+)/\d+-(\d+)$", path)
                key = int(match[1]), int(match[2])
                if key in self.files:
                    continue
                kept = os.path.join(self.keep, "%d-%d" % key)
                try:
                    os.link(path, kept)
                    self.files[key] = kept
                except FileNotFoundError:
                    continue

    def stop(self):
        self.ended.set()
        self.join()
        return self.files


def staged(coordinator_folder):
    """Paths JOB/ROUND/SLOT-SITE of the vectors that are staged now."""
    return [p for p in glob.glob(coordinator_folder + "/*/*/*/*-*") if re.search(r"/\d+/\d+/\d+-\d+$", p)]
