"""`cvd`: trained networks on photos of your own, and MLflow completed and listed."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from cvd.runtime.errors import DISK_FULL, InputError, describe_fault

COMMANDS = (  # its name; the module in cvd.commands; there what declares its options, and what runs it; what it does
    ("add", "variants", "add_options_of_add", "add_variants", "put variants into the graph: optional or new ones"),
    ("remove", "variants", "add_options_of_remove", "remove_variants", "take variants out of the graph again"),
    ("search", "searching.search", "add_options", "run_search", "many settings of a variant, chosen by validation"),
    ("run", "settings", "add_options", "run_settings", "an experiment on photos of your own, by a file of settings"),
    ("predict", "predict", "add_options", "predict_photos", "which class: photos, or folders or zips of them"),
    ("explain", "explain", "add_options", "explain_photos", "heat maps: where a variant finds its evidence in photos"),
    ("serve", "serve", "add_options", "serve_page", "a page: drop a photo, see what every variant makes of it"),
    ("compare", "evidence.compare", "add_options", "print_comparison", "variants, revisions or seeds: is it luck?"),
    (
        "exps",
        "evidence.exps",
        "add_options",
        "print_experiments",
        "a table of the experiments: what was varied, what it did",
    ),
    (
        "probe",
        "evidence.probe",
        "add_options",
        "probe_networks",
        "accuracy as test images are shifted, turned, blurred",
    ),
    ("figures", "publishing.figures", "add_options", "draw_figures", "the report's charts as PDF or SVG, for papers"),
    ("labels", "evidence.labels", "add_options", "review_labels", "labels that look wrong; accept or drop them"),
    ("worker", "worker", "add_options", "work_along", "train along with a chief on another machine, as TF_CONFIG says"),
    ("sync", "runs", "", "sync_results", "bring results that MLflow lacks into it"),
    ("runs", "runs", "add_options", "print_runs", "MLflow's runs of an experiment, or all"),
    ("promote", "runs", "add_options_of_promote", "promote_network", "make a network the champion, in MLflow and DVC"),
    ("doctor", "upkeep.doctor", "", "mend", "mend what a killed DVC has left behind; touches nothing while one runs"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and end the process: 0, 1 when photos were skipped or MLflow is out of reach, 2 for bad input."""
    _open_streams()
    args = parse_arguments(arguments)
    try:
        code = args.work(args)
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # `cvd predict ... | head`
        _drop_output()
        code = 141
    except (InputError, OSError) as error:
        fault = describe_fault(error, "the output")
        if fault is None:
            raise
        if getattr(error, "errno", None) in DISK_FULL:
            _drop_output()
        print(f"error: {fault}", file=sys.stderr)
        code = 2
    sys.exit(code)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse what was typed, by default after `cvd`; `work` is the command's function."""
    parser = argparse.ArgumentParser(prog="cvd", description="Two classes of images, and what networks see in them.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    given = sys.argv[1:] if arguments is None else arguments
    typed = next((word for word in given if not word.startswith("-")), None)
    for name, place, options, work, summary in COMMANDS:
        command = commands.add_parser(name, help=summary)
        if name == typed:  # no other command's libraries are loaded
            module = import_module(f"cvd.commands.{place}")
            if options:
                getattr(module, options)(command)
            command.set_defaults(work=getattr(module, work))
    return parser.parse_args(arguments)


def _open_streams() -> None:
    """Open what the caller closed (`>&-`), so that no file opened later gets its number; print names as they are."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="surrogateescape")  # a file's name need not be text


def _drop_output() -> None:
    """Discard what Python still holds for stdout, so that it does not complain at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
