#!/usr/bin/env python3
"""Shows that each rule of check.py fails on a tree that breaks it, and that a good tree passes."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

import check

GOOD = {
    "CMakeLists.txt": "project(x)\n",
    ".ci/run": "true\n",
    "LICENSE": "line\n" * 2000,
    "docs/long.md": "line\n" * 2000,
    "scripts/run": "true\n",
    "kernels/README.md": "What it is for.\n",
    "kernels/pack.h": "#include <cstdint>\n",
    "kernels/pack.cc": '#include "kernels/pack.h"\n#include "pack.h"\n' + "x\n" * 798,
    "comms/base/status.h": '#include "absl/status/status.h"\n',
    "comms/rpc/server.cc": '#include <grpcpp/grpcpp.h>\n#include "comms/rpc/x.pb.h"\n',
    "recipes/schema/recipe.h": '#include "comms/base/status.h"\n',
    "federation/scheduler/scheduler.h":
        '#include "recipes/schema/recipe.h"\n#include "comms/base/status.h"\n',
    "federation/site/agent.cc": '// #include "federation/coordinator/state.h"\n'
                                '/* #include <torch/torch.h>\n#include <ATen/ATen.h> */\n'
                                'const char* url = "http://x";\n'
                                '#include "federation/secagg/site.h"\n',
    "federation/cli/main.cc": '#include "federation/site/agent.h"\n'
                              '#include "federation/coordinator/shell.h"\n',
    "trainer/loop/loop.cc": '#include <torch/torch.h>\n#include "comms/collectives/communicator.h"\n',
    "tests/a/one_test.cc": '#include "trainer/loop/loop.h"\n',
    "tests/a/two_test.cc": "",
    "tests/a/three_test.cc": "",
}

# (what, files that break it, the rule that must say so)
BAD = [
    ("a torch include under federation", {"federation/site/a.cc": "#include <torch/torch.h>\n"}, "torch"),
    ("an ATen include under comms/rpc", {"comms/rpc/a.h": ' #  include "ATen/core/Tensor.h"\n'}, "torch"),
    ("a c10 include after a comment", {"federation/cli/a.cc": "/* x */ #include <c10/a.h>\n"}, "torch"),
    ("gRPC in the trainer", {"trainer/a.cc": "#include <grpcpp/channel.h>\n"}, "rpc"),
    ("C gRPC in kernels", {"kernels/a.cu": "#include <grpc/grpc.h>\n"}, "rpc"),
    ("protobuf in kernels", {"kernels/a.cc": "#include <google/protobuf/message.h>\n"}, "rpc"),
    ("generated messages in the trainer", {"trainer/loop/a.h": '#include "generated/x.pb.h"\n'}, "rpc"),
    ("kernels use base", {"kernels/a.cc": '#include "comms/base/status.h"\n'}, "layers"),
    ("base uses kernels", {"comms/base/a.cc": "#include <kernels/pack.h>\n"}, "layers"),
    ("strategy uses the store", {"federation/strategy/a.cc": '#include "federation/store/a.h"\n'}, "layers"),
    ("the scheduler uses rpc", {"federation/scheduler/a.cc": '#include "comms/rpc/a.h"\n'}, "layers"),
    ("the trainer uses secagg", {"trainer/a.cc": '#include "federation/secagg/a.h"\n'}, "layers"),
    ("the trainer uses rpc", {"trainer/a.cc": '#include "comms/rpc/server.h"\n'}, "layers"),
    ("the coordinator uses the CLI", {"federation/coordinator/a.cc": '#include "federation/cli/a.h"\n'}, "layers"),
    ("a library uses a test", {"recipes/schema/a.cc": '#include "tests/a/b.h"\n'}, "layers"),
    ("a relative path around the table", {"kernels/cpu/a.cc": '#include "../../comms/base/status.h"\n'}, "layers"),
    ("a folder outside the table", {"federation/new/a.cc": ""}, "layers"),
    ("site includes coordinator", {"federation/site/a.cc": '#include "federation/coordinator/a.h"\n'}, "site-coordinator"),
    ("coordinator includes site", {"federation/coordinator/a.cc": '#include "federation/site/a.h"\n'}, "site-coordinator"),
    ("a source of 801 lines", {"kernels/a.cc": "x\n" * 801}, "lines"),
    ("a script of 801 lines", {"scripts/setup": "x\n" * 801}, "lines"),
    ("a test of 801 lines", {"tests/a/a_test.py": "x\n" * 800 + "x"}, "lines"),
    ("three sources and no README", {"recipes/schema/a.cc": "", "recipes/schema/b.cc": ""}, "readme"),
    ("three scripts in Python and no README", {f"scripts/x/{n}.py": "" for n in "abc"}, "readme"),
    ("another top-level folder", {"src/a.txt": ""}, "top-level"),
]


class StructureTest(unittest.TestCase):
    def violations(self, files, git=False):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                path = pathlib.Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            if git:
                subprocess.run(["git", "init", "-q", folder], check=True)
                subprocess.run(["git", "-C", folder, "add", "kernels"], check=True)
            return list(check.check(folder))

    def test_good_tree_passes(self):
        self.assertEqual(self.violations(GOOD), [])
        with_readme = {"recipes/schema/a.cc": "", "recipes/schema/b.cc": "", "recipes/schema/README.md": "x"}
        self.assertEqual(self.violations(GOOD | with_readme), [])

    def test_each_bad_tree_fails_by_its_rule_alone(self):
        for what, files, rule in BAD:
            with self.subTest(what):
                found = self.violations(GOOD | files)
                self.assertEqual([name for name, _ in found], [rule], found)

    def test_message_names_file_and_line(self):
        found = self.violations({"kernels/a.cc": '\n/*\n*/\n#include "comms/base/a.h"\n'})
        self.assertEqual(found, [("layers", "kernels/a.cc:4: includes comms/base/a.h: "
                                            "kernels may not use comms/base")])

    def test_only_tracked_files_count_in_a_checkout(self):
        files = {"kernels/a.cc": "x\n" * 801, "src/a.txt": "", "comms/base/b.cc": "x\n" * 801}
        self.assertEqual([rule for rule, _ in self.violations(files, git=True)], ["lines"])

    def test_exit_code(self):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, check.__file__, folder]
            self.assertEqual(subprocess.run(command, capture_output=True).returncode, 0)
            pathlib.Path(folder, "src").mkdir()
            pathlib.Path(folder, "src", "a").write_text("")
            run = subprocess.run(command, capture_output=True, text=True)
            self.assertEqual(run.returncode, 1)
            self.assertIn("[top-level] src/a", run.stdout)


if __name__ == "__main__":
    unittest.main()
