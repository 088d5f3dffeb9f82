"""bench_secagg in small: what it prints, and that its sums were checked. Figures are not judged."""

import json
import os
import pathlib
import subprocess
import unittest

BENCH = pathlib.Path(os.environ["ATOLL_BUILD_DIR"]) / "bin" / "bench_secagg"
KEYS = ["coordinates", "sites", "lane_bits", "site_core_s", "site_critical_path_s", "coordinator_core_s",
        "coordinator_core_s_third_dropped", "site_peak_mib", "coordinator_peak_mib"]
FLOWER_KEYS = ["flower_site_ratio", "flower_coordinator_ratio"]


def run(*arguments, **environment):
    return subprocess.run([BENCH, *arguments], capture_output=True, text=True, timeout=120,
                          env={**os.environ, **environment})


class BenchSecagg(unittest.TestCase):
    def test_json(self):
        done = run("--coordinates", "1000000", "--sites", "5", "--repeats", "1", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads(done.stdout)
        for key in KEYS:
            self.assertIsInstance(result[key], (int, float), key)
            # A peak may not show over what an idle process has; what the coordinator's sum takes is a difference of
            # two times, which is less than nothing now and then when it is this small.
            if key.endswith("_peak_mib"):
                self.assertGreaterEqual(result[key], 0, key)
            elif not key.startswith("coordinator_core_s"):
                self.assertGreater(result[key], 0, key)
        for key in FLOWER_KEYS:
            self.assertIsNone(result[key])
        self.assertEqual((result["coordinates"], result["sites"], result["lane_bits"]), (1000000, 5, 16))
        self.assertTrue(result["sum_checked"])

    def test_too_little_disk(self):
        done = run("--coordinates", "16000000000", "--sites", "255", "--value-bits", "32")
        self.assertEqual(done.returncode, 1)
        self.assertIn("are needed", done.stderr)


if __name__ == "__main__":
    unittest.main()
