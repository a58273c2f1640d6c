"""Tables for a terminal of any width; what strangers wrote stays text in them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.style import StyleType
from rich.table import Table
from rich.text import Text

from bot.core.foreign_text import one_line


class Plain(Table):
    """A table whose cells are text as it stands: in a headline, "[/b]" is no markup and an escape moves no cursor."""

    def add_row(self, *cells: RenderableType | None, style: StyleType | None = None, end_section: bool = False) -> None:
        """As Table's."""
        plain = (Text(one_line(cell)) if isinstance(cell, str) else cell for cell in cells)
        super().add_row(*plain, style=style, end_section=end_section)


def table_of(title: str, *columns: str, right: Sequence[str] = (), cut: Sequence[str] = ()) -> Table:
    """A plain table. Columns in `cut` give way when the terminal is narrow; the others are always whole."""
    table = Plain(title=title, title_justify="left", title_style="bold", expand=bool(cut), box=None, pad_edge=False)
    for column in columns:
        gives_way = column in cut
        table.add_column(
            column,
            justify="right" if column in right else "left",
            overflow="ellipsis",
            no_wrap=True,
            ratio=1 if gives_way else None,
            min_width=None if gives_way else 1,
        )
    return table


def beside(left: Table, right: Table, *, wide: bool) -> list[RenderableType]:
    """Two tables side by side, or one below the other."""
    if not wide:
        return [left, Text(), right, Text()]
    grid = Table.grid(expand=True, padding=(0, 3))
    grid.add_column()
    grid.add_column(ratio=1)
    grid.add_row(left, right)
    return [grid, Text()]
