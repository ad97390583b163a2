"""Contenders timed in turn, over and over, so that a busy moment hits all of them; medians and ratios."""

import statistics
import time
from collections.abc import Callable


def time_contenders(contenders: dict[str, Callable[[], int]], *, repeats: int) -> dict[str, float]:
    """Medians over `repeats` rounds, each running every contender once after an unmeasured round.

    Args:
        contenders: name -> work, which returns how many images it saw.
        repeats: rounds.

    Returns:
        name -> images per second.
    """
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for is_measured in [False] + [True] * repeats:
        for name, work in contenders.items():
            start = time.perf_counter()
            n = work()
            if is_measured:
                rates[name].append(n / (time.perf_counter() - start))
    return {name: statistics.median(found) for name, found in rates.items()}


def print_rates(title: str, rates: dict[str, float], *, peers: list[str]) -> None:
    """Prints a table: a line for each contender, its rate, and how many times as fast as each peer it is."""
    width = max(map(len, rates))
    print(f"\n{title}")
    print(f"{'':{width}}  images/s" + "".join(f"  vs {peer}" for peer in peers))
    for name, rate in rates.items():
        ratios = "".join(f"  {f'{rate / rates[peer]:.2f}x':>{len(peer) + 3}}" for peer in peers)
        print(f"{name:{width}}  {rate:8,.0f}{ratios}")
