"""``python -m mqd`` is the ``mqd`` command."""

from mqd.cli.main import run

if __name__ == "__main__":
    run()
