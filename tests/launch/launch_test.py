#!/usr/bin/env python3
"""The launch recipes, with a program in mpirun's place that says what it was called with."""
import os
import pathlib
import signal
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAUNCH = ROOT / "recipes" / "launch"
MPIRUN = """#!/usr/bin/env bash
trap 'echo USR1; exit 75' USR1
trap 'echo TERM; exit 143' TERM
[ -z "${FAKE_DEAF:-}" ] || trap 'echo USR1' USR1
echo "$@"
[ -n "${FAKE_CODE:-}" ] && exit "$FAKE_CODE"
while :; do sleep 0.05; done
"""


class LaunchTest(unittest.TestCase):
    def setUp(self):
        self.holder = tempfile.TemporaryDirectory()
        self.addCleanup(self.holder.cleanup)
        self.folder = pathlib.Path(self.holder.name)
        (self.folder / "bin").mkdir()
        for name, text in (("mpirun", MPIRUN), ("scontrol", '#!/bin/sh\necho "scontrol $@"\n'),
                           ("nproc", "#!/bin/sh\necho 32\n")):
            (self.folder / "bin" / name).write_text(text)
            (self.folder / "bin" / name).chmod(0o755)
        self.env = dict(os.environ, PATH=f"{self.folder}/bin:{os.environ['PATH']}", ATOLL_TRAINER="TRAINER")
        for name in ("RANKS", "OMP_NUM_THREADS", "CORES_PER_RANK", "INTERFACE", "FAKE_CODE", "FAKE_DEAF", "ATOLL_REQUEUE"):
            self.env.pop(name, None)

    def start(self, script, *arguments, **env):
        return subprocess.Popen([LAUNCH / script, *arguments], cwd=self.folder, env=dict(self.env, **env), text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run_script(self, script, *arguments, **env):
        process = self.start(script, *arguments, **dict({"FAKE_CODE": "3"}, **env))
        out, err = process.communicate(timeout=20)
        return process.returncode, out, err

    def test_one_machine_binds_each_rank_to_cores_of_its_own(self):
        code, out, err = self.run_script("one-machine.sh", "r.yaml", "run", "--quiet")
        self.assertEqual(code, 3, err)
        self.assertEqual(out, "-q -np 4 --map-by slot:PE=8 --bind-to core --use-hwthread-cpus "
                              "TRAINER r.yaml --out run --quiet\n")
        self.assertIn("-np 1 --bind-to none TRAINER", self.run_script("one-machine.sh", "r.yaml", "run", RANKS="1")[1])
        self.assertIn("-np 40 --bind-to none --oversubscribe --mca mpi_yield_when_idle 1 TRAINER",
                      self.run_script("one-machine.sh", "r.yaml", "run", RANKS="40")[1])

    def test_a_run_that_is_there_is_gone_on_with(self):
        (self.folder / "run").mkdir()
        self.assertIn("r.yaml --out run", self.run_script("one-machine.sh", "r.yaml", "run")[1])
        (self.folder / "run" / "recipe.yaml").touch()
        self.assertIn("r.yaml --resume run", self.run_script("one-machine.sh", "r.yaml", "run")[1])

    def test_host_file(self):
        hosts = self.folder / "hosts"
        hosts.write_text("# slots=99\nnode1 slots=2\nnode2 slots=4\n\nnode3\n")
        code, out, err = self.run_script("host-file.sh", "hosts", "r.yaml", "run", INTERFACE="eth0", OMP_NUM_THREADS="7")
        self.assertEqual(code, 3, err)
        self.assertEqual(out, "-q --hostfile hosts --map-by slot:PE=8 --bind-to core --use-hwthread-cpus --mca "
                              "btl_tcp_if_include eth0 --mca oob_tcp_if_include eth0 -x OMP_NUM_THREADS "
                              "TRAINER r.yaml --out run\n")
        hosts.write_text("# nothing\n")
        code, _, err = self.run_script("host-file.sh", "hosts", "r.yaml", "run")
        self.assertEqual((code, err), (2, "host-file.sh: hosts: names no machine\n"))
        self.assertEqual(self.run_script("host-file.sh", "nowhere", "r.yaml", "run")[0], 2)

    def test_slurm(self):
        env = {"SLURM_SUBMIT_DIR": str(ROOT), "SLURM_NTASKS": "6", "SLURM_CPUS_PER_TASK": "4", "SLURM_JOB_ID": "17"}
        code, out, err = self.run_script("slurm.sbatch", "r.yaml", "run", **env)
        self.assertEqual(code, 3, err)
        self.assertEqual(out, "-q -np 6 --map-by slot:PE=4 --bind-to core --use-hwthread-cpus TRAINER r.yaml --out run\n")
        code, out, _ = self.run_script("slurm.sbatch", "r.yaml", "run", FAKE_CODE="75", **env)
        self.assertEqual(code, 75)
        self.assertIn("scontrol requeue 17", out)
        code, out, _ = self.run_script("slurm.sbatch", "r.yaml", "run", FAKE_CODE="75", ATOLL_REQUEUE="0", **env)
        self.assertEqual(code, 75)
        self.assertNotIn("requeue", out)
        env["SLURM_SUBMIT_DIR"] = str(self.folder)
        code, _, err = self.run_script("slurm.sbatch", "r.yaml", "run", **env)
        self.assertEqual(code, 2)
        self.assertIn("ATOLL_LAUNCH", err)

    def test_what_is_missing_is_said(self):
        for script in ("one-machine.sh", "host-file.sh"):
            code, out, err = self.run_script(script)
            self.assertEqual((code, out), (2, ""))
            self.assertIn(f"recipes/launch/{script}", err)
            self.assertNotIn("set -euo", err)

    def test_a_signal_becomes_what_mpirun_hands_on(self):
        for asked in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            process = self.start("one-machine.sh", "r.yaml", "run")
            process.stdout.readline()  # it runs
            process.send_signal(asked)
            out, err = process.communicate(timeout=20)
            self.assertEqual((process.returncode, out), (75, "USR1\n"), err)

    def test_the_second_signal_ends_it(self):
        process = self.start("one-machine.sh", "r.yaml", "run", FAKE_DEAF="1")
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.stdout.readline(), "USR1\n")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
        self.assertEqual((process.returncode, out), (143, "TERM\n"), err)


if __name__ == "__main__":
    unittest.main()
