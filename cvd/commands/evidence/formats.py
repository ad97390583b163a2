"""Tables in the forms that other programs read: LaTeX for papers, CSV for spreadsheets."""

import re
from typing import TYPE_CHECKING

from cvd.runtime.errors import disarm_cell

if TYPE_CHECKING:
    import pandas as pd

_SPECIAL = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": "$<$", ">": "$>$", "\N{MINUS SIGN}": "$-$", "\N{RIGHTWARDS ARROW}": r"$\rightarrow$"},
}


def render_latex(markdown: str) -> str:
    """Render Markdown's tables as LaTeX with booktabs' rules; sentences between them become comments."""
    parts = [r"% needs \usepackage{booktabs}"]
    for part in markdown.strip().split("\n\n"):
        lines = part.splitlines()
        is_table = part.startswith("| ")
        parts.append(_lay_out(lines) if is_table else "\n".join(f"% {line}".rstrip() for line in lines))
    return "\n\n".join(parts) + "\n"


def _lay_out(lines: list[str]) -> str:
    heads, rule, *rows = (line.removeprefix("| ").removesuffix(" |").split(" | ") for line in lines)
    columns = "".join("r" if cell.endswith(":") else "l" for cell in rule)
    head, *body = (" & ".join(map(escape_latex, cells)) + r" \\" for cells in (heads, *rows))
    return "\n".join(
        [f"\\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]
    )


def escape_latex(text: str) -> str:
    """Escape what LaTeX would take for a command."""
    return re.sub("|".join(map(re.escape, _SPECIAL)), lambda match: _SPECIAL[match[0]], text)


def render_csv(table: "pd.DataFrame") -> str:
    """Render a CSV, floats to the last digit; no cell of text is a formula to a spreadsheet."""
    words = table.select_dtypes(exclude=["number", "bool"])
    safe = words.apply(lambda column: column.map(lambda cell: disarm_cell(cell) if isinstance(cell, str) else cell))
    return str(table.assign(**safe).to_csv(index=False, lineterminator="\n"))
