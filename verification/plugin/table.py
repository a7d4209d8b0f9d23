"""What was audited, as the closing table of a test run and as a page of HTML.

Imports nothing that is not in Python: the plugin is loaded in every run of pytest.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence

from ..audit.judgement import COLUMNS, Judgement


def lines(rows: Sequence[Judgement]) -> Iterator[tuple[str, bool]]:
    """The table, line by line, the head first, and whether each is of what holds; nothing of no rows."""
    if not rows:
        return
    table = [COLUMNS, *(row.cells for row in rows)]
    widths = [max(len(cells[i]) for cells in table) for i in range(len(COLUMNS))]
    for cells, passed in zip(table, (True, *(row.passed for row in rows)), strict=True):
        yield "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip(), passed


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>semilinear</title>
<style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 2em; }}
table {{ border-collapse: collapse; }}
th, td {{ text-align: left; padding: .2em 1em .2em 0; border-bottom: 1px solid #ddd; }}
.failed {{ color: #b00; }}
</style>
<h1>Audited samplers</h1>
<p>{count}</p>
<table>
<tr>{head}</tr>
{body}
</table>
{unused}
</html>
"""


def page(rows: Mapping[str, Sequence[Judgement]], unused: Sequence[str]) -> str:
    """The rows of every test, by its name, and the pins that none used, as one page of HTML."""
    body = [
        f'<tr class="{"passed" if row.passed else "failed"}">{_cells("td", (*row.cells, test))}</tr>'
        for test, found in rows.items()
        for row in found
    ]
    failed = sum(not row.passed for found in rows.values() for row in found)
    listed = "".join(f"<li>{html.escape(line)}</li>" for line in unused)
    return PAGE.format(
        count=f"{len(body)} judgements, {failed} of them failed.",
        head=_cells("th", (*COLUMNS, "test")),
        body="\n".join(body),
        unused=f"<h2>Unused pins</h2>\n<ul>{listed}</ul>" if unused else "",
    )


def _cells(tag: str, texts: Sequence[str]) -> str:
    return "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in texts)
