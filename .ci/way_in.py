"""What the Python of .venv says where a file of this project is run by its path, which cannot work:
it would look for `shared`, and for the file's own package, in that file's folder.

.ci/venv puts this module into the environment that it makes, with a line that imports it at each
start; so one file answers for all others, before anything is loaded.
"""

import os
import sys


def script(words):
    """What a command line of Python runs by its path; empty where it runs no path."""
    words = iter(words)
    for word in words:
        if word == "-":
            return ""
        if not word.startswith("-"):
            return word
        for i, letter in enumerate(word):
            if letter in "cm":
                return ""
            if letter in "WX":  # what follows, at once or as the next word, is its value
                if i + 1 == len(word):
                    next(words, None)
                break
    return ""


def command(path, root, python):
    """What to type instead of a file's path from the root; empty where the path will do."""
    import re  # only now: most programs that start are none of these files

    *folders, name = path.removesuffix(".py").split("/")
    if folders[:1] == ["tests"]:
        return f"{python} -m pytest {path}" if name.startswith("test_") else ""
    puzzle = re.fullmatch(r"(shared|runs)/puzzles/.*puzzle_0*(\d+)\.py", path)
    if not puzzle and folders[:1] not in (["raw_pytorch"], ["lightning"], ["shared"]):
        return ""
    ours = r"^(from|import) (\.|(shared|raw_pytorch|lightning)\b)"
    if not re.search(ours, read(root, path), re.M):
        return ""
    if puzzle:
        return f"make puzzle N={puzzle[2]}"
    module = ".".join([*folders, name])
    if re.search(rf" -m {re.escape(module)}\b", read(root, "Makefile")):
        return f"{python} -m {module}"
    if folders[0] != "shared":
        return f"{python} -m {folders[0]} {name if name in ('test', 'predict') else 'train'}"
    while folders and not os.path.exists(os.path.join(root, *folders, "__main__.py")):
        folders.pop()
    return f"{python} -m {'.'.join(folders)}" if folders else "make"


def read(*path):
    with open(os.path.join(*path), encoding="utf-8", errors="replace") as file:
        return file.read()


def answer(words, root, python):
    """The line for what a command line runs; empty where nothing is wrong with it."""
    given = script(words)
    if not given:
        return ""
    file, root = os.path.realpath(given), os.path.realpath(root)
    if os.path.isdir(file):
        file = os.path.join(file, "__main__.py")
    path = os.path.relpath(file, root).replace(os.sep, "/")
    if path.startswith("../") or not (path.endswith(".py") and os.path.isfile(file)):
        return ""
    typed = command(path, root, python)
    place = "" if os.path.realpath(os.curdir) == root else f", in {root}"
    return typed and f"error: {path} does not run by its path; type {typed}{place}\n"


def look():
    if os.environ.get("PYTHONPATH"):  # as editors set it, so that every module is found
        return
    root = os.path.dirname(sys.prefix)
    python = os.path.relpath(os.path.join(os.path.dirname(sys.executable), "python"), root)
    line = answer(sys.orig_argv[1:], root, python)
    if line:
        sys.stderr.write(line)
        sys.stderr.flush()
        os._exit(2)  # an exception would be told as an error of the start


look()
