from shared.data.datasets import *  # noqa: F403
