#!/usr/bin/env python3
"""Takes each security check out, one at a time, and sees the test that guards it fail.

    mutations.py [--only WORD]... [--list | --check] [--jobs N]

A copy of the tree is built in a temporary folder (ccache makes that short), each mutation of checks.py applied to it, its
test program built and run. Prints a table; exit code 1 when a check could go unnoticed, when the text that a mutation
replaces is not there exactly once, or when a test fails with nothing taken out. --only takes the mutations with this
word in their name, case or test; several times: any of them. --check builds nothing: it looks whether each text is there
exactly once (exit code 1 when not), which scripts/test does too.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from checks import CHECKS

SOURCE = pathlib.Path(__file__).resolve().parents[2]
TEST_TIMEOUT_S = 300


class Failed(Exception):
    pass


def copy_tree(target):
    listing = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=SOURCE,
                             check=True, capture_output=True).stdout.decode()
    for name in filter(None, listing.split("\0")):
        if not (SOURCE / name).is_file():  # deleted, not yet committed
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(SOURCE / name, target / name)
    (target / ".deps").symlink_to(SOURCE / ".deps")


def call(arguments, cwd, what):
    done = subprocess.run(arguments, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    if done.returncode != 0:
        raise Failed(f"{what}:\n{done.stdout[-3000:]}")


def build(tree, targets, jobs):
    call(["ninja", "-C", "build", "-j", str(jobs), *targets], tree, "the build")


def run_test(tree, check):
    """Exit code and output of the tests that a check names; a test that hangs has failed, too."""
    environment = dict(os.environ, ATOLL_SOURCE_DIR=str(tree), ATOLL_BUILD_DIR=str(tree / "build"),
                       OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    try:
        done = subprocess.run([tree / "build" / "tests" / check.program, "--gtest_filter=" + check.test],
                              cwd=tree / "build", env=environment, timeout=TEST_TIMEOUT_S, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace")
        return done.returncode, done.stdout
    except subprocess.TimeoutExpired:
        return -1, f"still runs after {TEST_TIMEOUT_S} s"


def without(tree, check):
    """The file with the check taken out, as (path, its text, its text without)."""
    path = tree / check.file
    text = path.read_text() if path.is_file() else ""
    if text.count(check.text) != 1:
        raise Failed(f"{check.name}: {check.file}: this text is there {text.count(check.text)} times, must be once:\n"
                     f"{check.text}")
    if check.text == check.replacement:
        raise Failed(f"{check.name}: {check.file}: it takes nothing out")
    return path, text, text.replace(check.text, check.replacement)


def verdict(tree, check):
    """None when the test failed as it must, else why not."""
    code, output = run_test(tree, check)
    if code == 0:
        return "the test does not notice"
    # A crash or a hang is noticed as well; a program that could not run the test at all is not.
    if "[ RUN      ]" not in output and code > 0:
        return f"the test did not run: {output[-300:]}"
    return None


def try_mutation(tree, checks, jobs):
    """Checks that take out the same text: yields (check, None or why its test did not fail)."""
    path, text, mutated = without(tree, checks[0])
    path.write_text(mutated)
    try:
        build(tree, sorted({c.program for c in checks}), jobs)
        for check in checks:
            yield check, verdict(tree, check)
    finally:
        path.write_text(text)


def stale(tree, checks):
    """What keeps checks from being taken out of this tree."""
    problems = []
    for check in checks:
        try:
            without(tree, check)
        except Failed as failure:
            problems.append(str(failure))
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--list", action="store_true", help="print the checks and take none out")
    parser.add_argument("--check", action="store_true", help="only see that each text to replace is there exactly once")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    chosen = [c for c in CHECKS if not options.only or
              any(word.lower() in f"{c.name} {c.file} {c.program} {c.test}".lower() for word in options.only)]
    if not chosen:
        sys.exit("mutations: nothing has such a name")
    width = max(len(c.name) for c in chosen)
    if options.list:
        for check in chosen:
            print(f"{check.name:{width}}  {check.program} {check.test}")
        return 0
    problems = stale(SOURCE, chosen)
    for problem in problems:
        print(f"mutations: {problem}", file=sys.stderr)
    if problems or options.check:
        print(f"{len(chosen) - len(problems)} of {len(chosen)} checks can be taken out")
        return 1 if problems else 0
    groups = {}  # one build for all that take out the same
    for check in chosen:
        groups.setdefault((check.file, check.text, check.replacement), []).append(check)

    bad = 0
    with tempfile.TemporaryDirectory(prefix="atoll-mutations-") as folder:
        tree = pathlib.Path(folder)
        copy_tree(tree)
        try:
            call(["cmake", "--preset", "release", "-DATOLL_WITH_TORCH=OFF"], tree, "cmake")
            build(tree, sorted({c.program for c in chosen} | {"site-program", "fake-trainer"}), options.jobs)
            for check in chosen:
                code, output = run_test(tree, check)
                if code != 0 or "[       OK ]" not in output:
                    raise Failed(f"{check.program} {check.test}, with nothing taken out: {output[-500:]}")
        except Failed as failure:
            sys.exit(f"mutations: {failure}")
        for checks in groups.values():
            try:
                results = list(try_mutation(tree, checks, options.jobs))
            except Failed as failure:
                results = [(check, str(failure)) for check in checks]
            for check, problem in results:
                bad += problem is not None
                print(f"{check.name:{width}}  {check.program} {check.test}  {problem or 'seen to fail'}", flush=True)
    print(f"{len(chosen) - bad} of {len(chosen)} checks are guarded by the test that is named for them")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
