"""What both sides use, and the instruments that look at both. A Python that cannot run them says so
in one line: this file is read before all others, so an old one has to understand it."""

import sys

if sys.version_info < (3, 10):
    sys.exit(
        "error: %s is Python %d.%d, and 3.10 or newer is needed; type make setup, and then "
        ".venv/bin/python instead of it" % ((sys.executable,) + sys.version_info[:2])
    )


def need(*packages):  # without types, which an old Python could not read
    """End with one line that says what to type if one of these packages is not installed."""
    import shlex
    from importlib.util import find_spec

    for name in packages:
        if name not in sys.modules and find_spec(name) is None:
            start = sys.orig_argv.index("-m") if "-m" in sys.orig_argv else 1
            words = shlex.join([".venv/bin/python"] + sys.orig_argv[start:])
            sys.exit(
                "error: %s has no %s; type make setup, and then %s" % (sys.executable, name, words)
            )
