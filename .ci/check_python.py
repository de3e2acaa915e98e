"""Whether this Python can run the project. Written so that an old one can read it, too.

python .ci/check_python.py
"""

import sys

OLDEST, NEWEST_TESTED, NEWEST = (3, 10), (3, 13), (3, 14)


def complaint(version):
    """What is wrong with a version, as (3, 9), or None."""
    if OLDEST <= version <= NEWEST:
        return None
    return "Python %d.%d, and %d.%d to %d.%d is needed" % (version + OLDEST + NEWEST_TESTED)


if __name__ == "__main__":
    version = tuple(sys.version_info[:2])
    wrong = complaint(version)
    if wrong:
        other = "name another: make setup PYTHON=python3.12"
        sys.exit("error: %s is %s; %s" % (sys.executable, wrong, other))
    if version > NEWEST_TESTED:
        sys.stderr.write("note: the tests have not run with Python %d.%d\n" % version)
