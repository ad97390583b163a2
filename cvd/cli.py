"""`cvd`: trained networks on photos of your own, and MLflow completed and listed."""

import argparse
import os
import sys
from collections.abc import Sequence

from cvd.commands import explain, predict, runs, sync
from cvd.errors import InputError
from cvd.stage import silence_tensorflow


def main(arguments: Sequence[str] | None = None) -> None:
    """Ends the process: 0, 1 when photos were skipped or MLflow is out of reach, 2 for bad input."""
    args = parse_arguments(arguments)
    silence_tensorflow()
    try:
        code = args.work(args)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # `cvd predict ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    sys.exit(code)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What was typed; `work` is the command's function."""
    parser = argparse.ArgumentParser(prog="cvd", description="Cats, dogs, and what networks see in them.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, module, work, summary in (
        ("predict", predict, predict.predict_photos, "cat or dog: photos or folders of them"),
        ("explain", explain, explain.explain_photos, "Grad-CAM: where a variant finds cat and dog in photos"),
        ("sync", sync, sync.sync_results, "bring results that MLflow lacks (restored, pulled, unsent) into it"),
        ("runs", runs, runs.print_runs, "MLflow's runs of an experiment, or all"),
    ):
        command = commands.add_parser(name, help=summary)
        module.add_options(command)
        command.set_defaults(work=work)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
