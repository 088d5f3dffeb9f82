#!/usr/bin/env python3
"""Holds the source tree to its rules: folders, dependencies between them, sizes, READMEs.

    check.py ROOT     prints one line a violation; exit code 1 when there is any.
"""

import collections
import pathlib
import posixpath
import re
import subprocess
import sys

MAX_LINES = 800
MIN_SOURCES_FOR_README = 3
TOP_FOLDERS = {"trainer", "federation", "comms", "kernels", "recipes", "scripts", "tests", "docs"}
CODE = {".h", ".hpp", ".cc", ".cpp", ".c", ".cu", ".cuh"}
SOURCE = CODE | {".proto", ".py", ".sh", ".cmake", ".js", ".html", ".css"}

# Which folders a folder may include directly. "Above" in the comments: what stands before it in this table.
BASE = ["comms/base"]
MAY_USE = {
    "kernels": [],
    "comms/base": [],
    "comms/rpc": BASE,
    "comms/collectives": BASE,
    "comms/sitelink": ["comms/base", "kernels"],
    "recipes": BASE,
    "federation/secagg": ["kernels"] + BASE,
    "federation/strategy": ["kernels"],
    "federation/scheduler": ["recipes"],
    "federation/store": BASE,
    "federation/coordinator": [
        "kernels", "comms", "recipes", "federation/secagg", "federation/strategy",
        "federation/scheduler", "federation/store"],
    "federation/site": [
        "kernels", "comms", "recipes", "federation/secagg", "federation/strategy",
        "federation/scheduler", "federation/store"],
    "federation/cli": ["kernels", "comms", "recipes", "federation"],
    "trainer": ["kernels", "comms/collectives", "comms/sitelink", "recipes"],
    "tests": ["kernels", "comms", "recipes", "federation", "trainer"],
}

# (rule, where, forbidden includes, those that are meant in words)
TORCH = re.compile(r"(torch|ATen|c10|caffe2)/")
RPC = re.compile(r"(grpcpp|grpc|grpc\+\+|google/protobuf)/|.*\.pb\.h$")
FORBIDDEN = [
    ("torch", ["federation", "comms/rpc"], TORCH, "torch"),
    ("rpc", ["trainer", "kernels"], RPC, "gRPC or protobuf"),
]

COMMENT = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', re.S)
INCLUDE = re.compile(r'^[ \t]*#[ \t]*(?:include|include_next|import)[ \t]*(["<])([^">\n]+)[">]', re.M)


def within(path, folder):
    return path == folder or path.startswith(folder + "/")


def tracked_files(root):
    """Paths of all tracked files; of all files where ROOT is no git checkout (a source archive)."""
    if (root / ".git").exists():
        listing = subprocess.run(["git", "-c", "safe.directory=*", "-C", str(root), "ls-files", "-z"],
                                 check=True, capture_output=True).stdout.decode()
        return [name for name in listing.split("\0") if name and (root / name).is_file()]
    skipped = re.compile(r"(build[^/]*|\.deps|data|runs)/|(.*/)?__pycache__/")
    names = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    return sorted(name for name in names if not skipped.match(name))


def includes(text):
    """(line, quoted or not, included path) of each include that is not commented out."""
    def blank(match):
        found = match.group(0)
        return found if found[0] == '"' else re.sub(r"[^\n]", " ", found)
    text = COMMENT.sub(blank, text)
    for match in INCLUDE.finditer(text):
        yield text.count("\n", 0, match.start()) + 1, match.group(1) == '"', match.group(2)


def owner(path):
    """The folder of the table that `path` lies in, or None."""
    return next((folder for folder in MAY_USE if within(path, folder)), None)


def closure(folder):
    """What `folder` may include: the table's entries, and what those may use themselves."""
    allowed, queue = set(), list(MAY_USE[folder])
    while queue:
        entry = queue.pop()
        if entry in allowed:
            continue
        allowed.add(entry)
        queue += [used for name in MAY_USE if within(name, entry) for used in MAY_USE[name]]
    return allowed


def check_include(name, line, quoted, target, files):
    where = f"{name}:{line}"
    # A path relative to the including file would otherwise get round the table.
    relative = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
    if quoted and (relative in files or ".." in target.split("/")):
        target = relative
    for rule, folders, forbidden, words in FORBIDDEN:
        if any(within(name, folder) for folder in folders) and forbidden.match(target):
            yield rule, f"{where}: includes {target}: no {words} under {' and '.join(folders)}"
    user, used = owner(name), owner(target)
    if user is None or used is None or user == used:
        return
    if {user, used} == {"federation/site", "federation/coordinator"}:
        yield "site-coordinator", f"{where}: includes {target}: site and coordinator are apart"
    elif not any(within(used, entry) for entry in closure(user)):
        yield "layers", f"{where}: includes {target}: {user} may not use {used}"


def check(root):
    """All violations of the tree at `root` as (rule, message)."""
    root = pathlib.Path(root)
    files = tracked_files(root)
    known = set(files)
    sources_in = collections.Counter()
    for name in files:
        top = name.split("/")[0]
        if "/" in name and not top.startswith(".") and top not in TOP_FOLDERS:
            yield "top-level", f"{name}: folder {top}/ is none of {', '.join(sorted(TOP_FOLDERS))}"
        suffix = posixpath.splitext(name)[1]
        is_script = not suffix and within(name, "scripts")
        if suffix not in SOURCE and not is_script and posixpath.basename(name) != "CMakeLists.txt":
            continue
        text = (root / name).read_text(encoding="utf-8", errors="replace")
        lines = len(text.splitlines())
        if lines > MAX_LINES:
            yield "lines", f"{name}: {lines} lines, at most {MAX_LINES}"
        if suffix in SOURCE and suffix != ".cmake":
            sources_in[posixpath.dirname(name)] += 1
        if suffix not in CODE:
            continue
        if top in ("comms", "federation") and owner(name) is None:
            yield "layers", f"{name}: its folder is not in the table of tests/structure/check.py"
        for line, quoted, target in includes(text):
            yield from check_include(name, line, quoted, target, known)
    for folder, count in sorted(sources_in.items()):
        if folder and not within(folder, "tests") and not folder.startswith("."):
            if count >= MIN_SOURCES_FOR_README and f"{folder}/README.md" not in known:
                yield "readme", f"{folder}/: {count} sources and no README.md"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    violations = list(check(sys.argv[1]))
    for rule, message in violations:
        print(f"[{rule}] {message}")
    print(f"{len(violations)} violations")
    sys.exit(1 if violations else 0)


if __name__ == "__main__":
    main()
