"""The command: python -m lightning train | test | predict"""

from shared.cli import parse_command
from shared.errors import run
from shared.summary import print_start, print_summary, print_test


def main() -> None:
    # --help and wrong flags are answered before Lightning is imported, which takes seconds.
    command, config, images = parse_command("lightning")
    if command == "train":
        print_start(config)
        from lightning.train import train

        print_summary(train(config))
    elif command == "test":
        from lightning.test import test

        print_test(*test(config))
    else:
        from lightning.predict import predict

        predict(config, images)


if __name__ == "__main__":
    run(main)
