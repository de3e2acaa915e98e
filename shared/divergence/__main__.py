"""python -m shared.divergence A B, or python PATH/TO/shared/divergence A B from any folder."""

import os
import sys

if __package__:
    from .command import main
else:
    # The folder itself was put on the path of modules. What lies in it must not be found by the
    # names that it has there, and this package has a name of its own.
    here = os.path.dirname(os.path.realpath(__file__))
    sys.path.insert(0, here)
    from launch import load  # type: ignore[import-not-found]  # of this folder

    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry or ".") != here]
    del sys.modules["launch"]
    main = load("command").main

if __name__ == "__main__":
    main()
