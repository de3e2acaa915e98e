"""The command: python -m raw_pytorch train | test | predict"""

from shared.cli import parse_command
from shared.errors import run
from shared.summary import print_start, print_summary, print_test


def main() -> None:
    # --help and wrong flags are answered before torch is imported, which takes seconds.
    command, config, images = parse_command("raw_pytorch")
    if command == "train":
        print_start(config)
    from raw_pytorch import distributed

    if distributed.launch(config):  # [ddp] as many processes of this same command as devices
        return
    if command == "train":
        from raw_pytorch.train import train

        print_summary(train(config))
    elif command == "test":
        from raw_pytorch.test import test

        print_test(*test(config))
    else:
        from raw_pytorch.predict import predict

        predict(config, images)


if __name__ == "__main__":
    run(main)
