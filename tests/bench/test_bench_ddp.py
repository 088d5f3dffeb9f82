"""bench_ddp in small: what it prints, and that both sides train alike. Figures are not judged."""

import json
import os
import pathlib
import subprocess
import sys
import unittest

FOLDER = pathlib.Path(__file__).resolve().parent
PYTHON = FOLDER.parent.parent / ".deps" / "references" / "python"


def run(*arguments):
    return subprocess.run([sys.executable, FOLDER / "bench_ddp", *arguments], capture_output=True, text=True, timeout=250)


class BenchDdp(unittest.TestCase):
    @unittest.skipUnless(PYTHON.exists(), "no PyTorch to compare with: scripts/setup --references")
    def test_both_sides_come_to_the_same_parameters(self):
        done = run("--cases", "cnn-fp32,mlp,encoder", "--pairs", "1", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        cases = json.loads(done.stdout)["cases"]
        self.assertEqual([case["name"] for case in cases], ["cnn-fp32", "mlp", "encoder"])
        for case in cases:
            self.assertGreater(case["atoll_ms"], 0)
            self.assertAlmostEqual(case["ratio"], case["ddp_ms"] / case["atoll_ms"])
            self.assertLess(case["difference"], 1e-4, case["name"])
            self.assertGreater(case["moved"], 1e-3, "no parameter has changed")
            self.assertIn("2 ranks, shared memory", case["sides"]["atoll"])

    def test_wrong_arguments(self):
        self.assertIn("no such case: cnn", run("--cases", "cnn").stderr)
        self.assertEqual(run("--pairs", "0").returncode, 2)
        self.assertIn("scripts/setup --references", run("--python", "/nowhere/python").stderr)


if __name__ == "__main__":
    unittest.main()
