"""All benchmarks, one after the other, each in a process of its own; what was asked and what was got, at the end.

python -m benchmarks                      # all of them
python -m benchmarks input steps          # some
python -m benchmarks.bench_scale --help   # one, with its own sizes
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

NAMES = (
    "input", "augmentation", "steps", "epoch", "pair", "transfer", "scale", "repro", "loop", "gradcam", "filters",
    "before",
)  # fmt: skip
VERDICTS = ("  ok", "  missed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which to run, of {', '.join(NAMES)}; by default all")
    args = parser.parse_args()
    unknown = set(args.names) - set(NAMES)
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}: choose from {', '.join(NAMES)}")
    start, verdicts = time.perf_counter(), []
    for name in args.names or NAMES:
        lines = run_benchmark(name)
        verdicts += [line for line in lines if line.rstrip().endswith(VERDICTS)]
    n_missed = sum(line.rstrip().endswith(VERDICTS[1]) for line in verdicts)
    print(f"\nAll goals, after {(time.perf_counter() - start) / 60:.0f} minutes: {n_missed} of {len(verdicts)} missed")
    print(*verdicts, sep="", end="")


def run_benchmark(name: str) -> list[str]:
    """Passes on what a benchmark prints, line by line; ends where it fails."""
    command = [sys.executable, "-m", f"benchmarks.bench_{name}"]
    lines = []
    with subprocess.Popen(command, cwd=Path(__file__).parent.parent, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode:
        sys.exit(process.returncode)
    return lines


if __name__ == "__main__":
    main()
