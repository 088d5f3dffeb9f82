"""Training by itself, killed at random moments: what it goes on to is the run that was not killed, bit for bit."""
import glob
import hashlib
import json
import os
import random
import signal
import subprocess
import time
import unittest

import harness
from harness import TRAINER

KILLS = 20 if harness.SLOW == 1 else 5  # sanitizers look for something else
TRAINING = r"parameters, 2 ranks|this run is complete"  # before its first step a run prints the former
RECIPE = """
name: killed
run: atoll-trainer task.yaml
parameters:
  model: {kind: mlp, hidden: [64]}
  data: {limit: 6000, test_limit: 200}
  train:
    optimizer: {kind: adamw, lr: 0.002, sharded: true}
    schedule: {kind: cosine, warmup: 0.1}
    batch_size: 8
    accumulate_steps: 2
    max_grad_norm: 1.0
    local_epochs: 8
    checkpoint_steps: 7
  privacy: {secure_aggregation: {enabled: false}}
  federation: {cohort: {min: 1}}
"""


class ResumeTest(harness.EndToEnd):
    def train(self, *arguments):
        """atoll-trainer on two ranks."""
        scratch = os.path.join(self.folder, "mpi")
        os.makedirs(scratch, exist_ok=True)
        command = ["mpirun", "-q", "-np", "2", "--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1",
                   "--mca", "orte_tmpdir_base", scratch, "--mca", "btl_vader_backing_directory", scratch,
                   TRAINER, *arguments]
        env = dict(self.env, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMP_NUM_THREADS="1",
                   TMPDIR=scratch)  # what a killed mpirun leaves goes with the folder
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   env=env, cwd=self.folder)
        process.out, process.err = harness.Output(process.stdout), harness.Output(process.stderr)
        self.started.append(process)
        return process

    def kill_all(self):
        for pid in harness.processes_of(self.id):
            harness.kill(pid, signal.SIGKILL)

    def result(self, run):
        with open(os.path.join(self.folder, run, "model.safetensors"), "rb") as f:
            digest = hashlib.sha256(f.read()).hexdigest()
        with open(os.path.join(self.folder, run, "metrics.jsonl")) as f:
            lines = [json.loads(line) for line in f]
        for line in lines:
            del line["t"], line["metrics"]["seconds"]
        return digest, lines

    def test_kill_and_resume_at_random_moments(self):
        seed = int(os.environ.get("ATOLL_SEED", random.SystemRandom().randrange(2**32)))
        print(f"seed {seed}: ATOLL_SEED={seed} replays it", flush=True)
        rng = random.Random(seed)
        recipe = self.recipe(RECIPE)
        begun = time.monotonic()
        whole = self.train(recipe, "--out", "whole")
        self.wait_for_output(whole, TRAINING, 60 * harness.SLOW)
        training = time.monotonic()
        code, out, err = self.finish(whole, 60)
        self.assertEqual(code, 0, out + err)
        whole_s, training_s = time.monotonic() - begun, time.monotonic() - training
        expected = self.result("whole")
        self.assertEqual(len(expected[1]), 8)

        kills, run, went_on_at = 0, 0, []
        while kills < KILLS:
            run += 1
            name = f"run-{run}"
            while True:
                # RECIPE as well: a run that was killed early may have left an empty folder.
                begun_before = os.path.isdir(os.path.join(self.folder, name))
                process = self.train(recipe, "--resume" if begun_before else "--out", name)
                try:
                    if kills == KILLS:
                        wait_s = 60 * harness.SLOW
                    elif rng.random() < 0.25:  # also while it starts
                        wait_s = rng.uniform(0.2, whole_s)
                    else:
                        wait_s = rng.uniform(0, training_s)
                        self.wait_for_output(process, TRAINING, 60 * harness.SLOW)
                    process.wait(wait_s)
                except subprocess.TimeoutExpired:
                    ranks = [p for p, command in harness.processes_of(self.id).items() if command.startswith(TRAINER)]
                    if ranks and rng.random() < 0.2:
                        harness.kill(rng.choice(ranks), signal.SIGKILL)  # mpirun ends the others
                        process.wait(20 * harness.SLOW)
                    self.kill_all()
                    process.wait(20)
                    kills += 1
                process.out.join(10)
                process.err.join(10)
                went_on_at += [line for line in process.out.text.splitlines() if line.startswith("goes on from")]
                if process.returncode == 0:
                    break
                self.assertNotIn("passed over", process.out.text + process.err.text, "a kill leaves no half-written file")
                # The other rank may have the time to say that the killed one is gone.
                errors = [line for line in process.err.text.splitlines()
                          if line.startswith("atoll-trainer:") and not line.endswith(" is gone")]
                self.assertEqual(errors, [], f"seed {seed}")
            self.assertEqual(self.result(name), expected, f"seed {seed}, {name}")
            left = glob.glob(os.path.join(self.folder, name, "**", ".atoll-*"), recursive=True)
            self.assertEqual(left, [])
        print(f"{kills} kills, {run} runs, {len(went_on_at)} of them went on from a checkpoint; "
              f"a run takes {whole_s:.1f} s, {training_s:.1f} s of it training", flush=True)
        self.assertGreater(len(set(went_on_at)), KILLS // 4, "so few moments prove little")

    def test_a_launch_recipe_is_stopped_and_called_again(self):
        recipe = self.recipe(RECIPE)
        code, out, err = self.finish(self.train(recipe, "--out", "whole"), 60)
        self.assertEqual(code, 0, out + err)
        script = os.path.join(harness.SOURCE, "recipes", "launch", "one-machine.sh")
        scratch = os.path.join(self.folder, "mpi")
        env = dict(self.env, ATOLL_TRAINER=TRAINER, RANKS="2", OMP_NUM_THREADS="1", TMPDIR=scratch,
                   OMPI_MCA_btl_vader_backing_directory=scratch)
        codes = []
        for _ in range(20):
            process = subprocess.Popen([script, recipe, "run"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, env=env, cwd=self.folder)
            process.out, process.err = harness.Output(process.stdout), harness.Output(process.stderr)
            self.started.append(process)
            if len(codes) < 2:
                self.wait_for_output(process, TRAINING, 30)
                process.send_signal(signal.SIGTERM)
            code, out, err = self.finish(process, 60)
            codes.append(code)
            if code != 75:
                break
            self.assertRegex(err, "the last good checkpoint is run/checkpoints/step-[0-9]+.ckpt, go on with --resume run")
        self.assertEqual(codes, [75, 75, 0], err)
        self.assertEqual(self.result("run"), self.result("whole"))


if __name__ == "__main__":
    unittest.main()
