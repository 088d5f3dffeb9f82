"""What a person gets wrong, and what a machine lacks: one clear line that says what to do, and an exit code not 0."""
import ctypes
import os
import re
import resource
import shutil
import socket
import unittest

from harness import ATOLL, CATALOG, EndToEnd

QUICK = os.path.join(CATALOG, "quick.yaml")
THREE_MISTAKES = """\
name: broken
run: atoll run task.yaml
resources: {cpus: 1, memory: 1}
parameters:
  model: {kind: mlp}
  data:
    dataset: fashion-mnist
    limt: 3000
  site: {count: 3}
  train:
    batch_size: many
  federation:
    rounds: -5
"""


class BadInputTest(EndToEnd):
    def expect_line(self, result, code, *patterns):
        """One line on standard error with all that the patterns say, nothing on standard output."""
        got, out, err = result
        self.assertEqual(got, code, out + err)
        self.assertEqual(out, "")
        lines = err.splitlines()
        self.assertEqual(len(lines), 1, err)
        for pattern in patterns:
            self.assertRegex(lines[0], pattern)
        self.assert_no_crash(err)

    def assert_no_crash(self, text):
        self.assertNotRegex(text, r"terminate called|Traceback|Segmentation|Assertion|core dumped|AddressSanitizer")
        names = [name for _, _, names in os.walk(self.folder) for name in names]
        cores = [name for name in names if re.fullmatch(r"core(\.\d+)?", name)]
        self.assertEqual(cores, [])

    def run_quick(self, *args, timeout_s=60, **kwargs):
        return self.atoll("run", QUICK, "--quiet", "--out", self.runs, *args, timeout_s=timeout_s, **kwargs)

    def test_three_mistakes_are_named_with_their_lines(self):
        recipe = self.recipe(THREE_MISTAKES)
        for command in (["recipe", "check", recipe], ["recipe", "explain", recipe],
                        ["run", recipe, "--out", self.runs]):
            with self.subTest(command=command[:2]):
                code, out, err = self.atoll(*command)
                self.assertEqual(code, 2, out + err)
                self.assertEqual(out, "")
                self.assertRegex(err, r"recipe.yaml:8: [^\n]*data\.limt[^\n]*limit")
                self.assertRegex(err, r"recipe.yaml:11: [^\n]*train\.batch_size[^\n]*many")
                self.assertRegex(err, r"recipe.yaml:13: [^\n]*federation\.rounds[^\n]*-5")
                self.assert_no_crash(err)
        self.assertFalse(os.path.exists(self.runs))

    def test_a_mistake_in_set(self):
        code, out, err = self.run_quick("--set", "train.optimizer.lr=-1")
        self.assertEqual(code, 2, out + err)
        self.assertRegex(err, r"train\.optimizer\.lr: -1 must be > 0")

    def test_a_missing_recipe(self):
        for recipe in ("missing.yaml", self.folder):
            self.expect_line(self.atoll("run", recipe, "--out", self.runs), 2, re.escape(recipe))
            self.expect_line(self.atoll("recipe", "check", recipe), 2, re.escape(recipe))

    def test_an_output_folder_that_cannot_be_made(self):
        with open(os.path.join(self.folder, "file"), "w"):
            pass
        for out in (os.path.join(self.folder, "file"), os.path.join(self.folder, "file", "runs"), "/proc/runs"):
            self.expect_line(self.atoll("run", QUICK, "--out", out), 2, r"output\.folder", r"file|/proc/runs")

    def test_an_output_folder_that_cannot_be_written(self):
        os.makedirs(self.runs)
        mounted = mount("tmpfs", self.runs, "size=1m", MS_RDONLY)
        if not mounted:
            os.chmod(self.runs, 0o500)
        # Permissions do not bind root; /proc takes nobody's folders.
        folder = self.runs if mounted or os.getuid() != 0 else "/proc"
        try:
            self.expect_line(self.atoll("run", QUICK, "--out", folder), 2, r"output\.folder", re.escape(folder), "--out")
        finally:
            unmount(self.runs)

    def test_a_port_in_use(self):
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            code, out, err = self.run_quick("--port", str(port))
        self.assertEqual(code, 1, out + err)
        self.assertEqual(out, "")
        self.assertRegex(err.splitlines()[0], rf"^atoll run: .*127\.0\.0\.1:{port}.*in use")
        self.assertRegex(err.splitlines()[0], r"another port|--port|--listen")
        self.assert_no_crash(err)

    def test_a_data_set_that_is_not_there(self):
        self.expect_line(self.run_quick("--set", "data.folder=/nonexistent"), 2, r"data", "/nonexistent",
                         "apt-get install dataset-fashion-mnist")
        self.assertFalse(os.path.exists(self.runs))

    def test_a_data_set_that_is_damaged(self):
        data = os.path.join(self.folder, "data")
        os.makedirs(data)
        for name in os.listdir("/usr/share/datasets/fashion-mnist"):
            shutil.copy(os.path.join("/usr/share/datasets/fashion-mnist", name), data)
        damaged = os.path.join(data, "train-images-idx3-ubyte.gz")
        os.truncate(damaged, 1000)
        code, out, err = self.run_quick("--set", "data.folder=" + data, timeout_s=120)
        self.assertEqual(code, 1, out + err)
        self.assertRegex(out + err, "train-images-idx3-ubyte.gz")
        self.assert_no_crash(err)

    def test_no_mpirun(self):
        self.expect_line(self.run_quick(env={"PATH": "/nonexistent"}), 2, "mpirun", "apt-get install openmpi-bin")
        self.assertFalse(os.path.exists(self.runs))

    def test_no_trainer(self):
        alone = os.path.join(self.folder, "atoll")
        shutil.copy(ATOLL, alone)
        process = self.start("run", QUICK, "--out", self.runs, executable=alone)
        self.expect_line(self.finish(process, 30), 2, "atoll-trainer", "scripts/build")

    def test_unknown_flags_and_commands(self):
        for line in (["run", QUICK, "--fast"], ["run"], ["runn", QUICK], ["run", QUICK, "--port", "x"]):
            code, out, err = self.atoll(*line)
            self.assertEqual(code, 2, out + err)
            self.assertEqual(out, "")
            self.assertRegex(err, "--help")
            self.assert_no_crash(err)

    def test_a_full_disk(self):
        # Room for the first files; room for the coordinator and not for the sites.
        for size in (300_000, 2_500_000):
            with self.subTest(size=size):
                self.runs = os.path.join(self.folder, f"runs-{size}")
                os.makedirs(self.runs)
                mounted = mount("tmpfs", self.runs, f"size={size}")
                # Where nothing may be mounted no file may grow beyond that instead, which ends its writer by a signal.
                limit = None if mounted else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, 2 * (size // 3,))
                try:
                    code, out, err = self.run_quick("--set", "model.hidden=[256]", timeout_s=90, preexec_fn=limit)
                    self.assertEqual(code, 1, out + err)
                    self.assertNotIn("complete", out)
                    self.assertRegex(out + err, "[Nn]o space left" if mounted else "without a word|size limit")
                    self.assert_no_crash(err)
                    left = [name for _, _, names in os.walk(self.runs) for name in names]
                    self.assertEqual([n for n in left if ".tmp" in n or n == "model.safetensors"], [])
                finally:
                    unmount(self.runs)

    def test_json_stays_json_when_it_fails(self):
        code, out, err = self.run_quick("--json", "--set", "data.folder=/nonexistent")
        self.assertEqual((code, out), (2, ""))
        self.assertIn("/nonexistent", err)


libc = ctypes.CDLL(None, use_errno=True)
MS_RDONLY = 1


def mount(kind, folder, options, flags=0):
    return libc.mount(kind.encode(), folder.encode(), kind.encode(), flags, options.encode()) == 0


def unmount(folder):
    libc.umount2(folder.encode(), 2)  # MNT_DETACH


if __name__ == "__main__":
    unittest.main()
