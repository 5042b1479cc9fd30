"""What a plan and a run show on a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from camfaith.benchmark.results.accuracy import doubts, in_words
from camfaith.benchmark.results.store import Result
from camfaith.benchmark.running.planning import Plan
from camfaith.reports import markup as reports
from camfaith.reports.reliability import to_mind
from camfaith.reports.tables import block_table
from camfaith.reports.view import View


def show_plan(suite: str, planned: Plan) -> None:
    """Show calls, seconds and memory of every model on every data set, with shared calls and with each metric alone."""
    table = Table(title=f"{escape(suite)}: images through the networks")
    table.add_column("")
    for name in ("forwards", "backwards", "tails", "seconds", "MiB"):
        table.add_column(name, justify="right", no_wrap=True)
    for block in planned.blocks:
        table.add_row(escape(f"{block.model} on {block.dataset}, {block.samples:,} samples"))
        for kind, calls, seconds, memory in (
            ("shared", block.shared, block.seconds, block.memory_mib),
            ("each alone", block.unshared, block.unshared_seconds, block.unshared_memory_mib),
        ):
            counts = (f"{count:,}" for count in (calls.forwards, calls.backwards, calls.tails))
            table.add_row(f"  {kind}", *counts, f"{seconds or 0:,.1f}", f"{memory:,.0f}")
    console = Console()
    console.print(table)
    parts = ("capture", "methods", "per_image", "per_map")
    of = {name: sum(getattr(block, name) for block in planned.blocks) for name in parts}
    console.print(
        f"forwards: {planned.forwards:,} = {of['capture']:,} images + {of['methods']:,} by methods + "
        f"{of['per_image']:,} once an image + {of['per_map']:,} once a map, at most: equal maps, curves with a "
        "tolerance and settled cells will need fewer"
    )
    shared = sum(block.seconds or 0 for block in planned.blocks)
    unshared = sum(block.unshared_seconds or 0 for block in planned.blocks)
    console.print(f"in the networks: about {shared:,.0f} s on this machine, {unshared:,.0f} s if nothing were shared")
    console.print(f"on the disk: about {planned.size_mib:,.1f} MiB")


def show_result(result: Result, console: Console | None = None) -> None:
    """Show every main column, in a table for every model on every data set: the page's numbers, marks and notes."""
    console = console or Console()
    view = View(result)
    if not view.blocks:
        console.print("no scores: every sample failed; see the errors in scores.parquet or the report")
        return
    layers = {model["name"]: model["layer"] for model in result.info["models"]}
    for block in view.blocks:
        table = block_table(view, block)
        layer = f", target layer {layers[block.model]}" if layers.get(block.model) else ""
        console.print(f"\n{table.title}{layer}", style="bold", markup=False, highlight=False)
        for caution in table.cautions:
            console.print(caution, style="bold", markup=False, highlight=False)
        for part in folded(table, console.width) if table.rows else ():
            console.print(part)
        for note in (*table.notes, *to_mind(view, block)):
            console.print(note, style="dim", markup=False, highlight=False)
    for each in result.accuracy.to_dict("records"):
        console.print(in_words(each), markup=False)
    for doubt in doubts(result.accuracy, result.info):
        console.print(f"warning: {doubt}", markup=False)
    bad = result.scores[result.scores["status"] == "error"]
    if len(bad):
        console.print(f"{len(bad)} rows are errors, the first: {bad['error'].iloc[0]}", markup=False)


def folded(table: reports.Table, across: int) -> list[Table]:
    """The table in parts that fit a terminal of that width, each with the methods' names, folded but whole."""
    names = min(max(len(row.method) for row in table.rows), across // 3)
    room = across - names - 4  # the frame's own signs; a column takes 3 more than its text
    widths = [_width(table, place) for place in range(len(table.heads))]
    groups: list[list[int]] = [[]]
    left = room
    for place, width in enumerate(widths):
        if width + 3 > left and groups[-1]:
            groups.append([])
            left = room
        groups[-1].append(place)
        left -= width + 3
    return [_part(table, {place: widths[place] for place in places}, names) for places in groups]


def _width(table: reports.Table, place: int) -> int:
    """What a column needs for its longest value, and the longest word above it."""
    texts = (row.values[place].text for row in table.rows)
    return max(len(text) for text in (*table.heads[place].split(), *texts))


def _part(table: reports.Table, places: Mapping[int, int], names: int) -> Table:
    """Some columns, each with its width, behind the names."""
    part = Table(box=SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False)
    part.add_column("method", min_width=names, max_width=names, overflow="fold")
    for place, width in places.items():
        part.add_column(Text(table.heads[place]), justify="right", overflow="fold", min_width=width, max_width=width)
    for row in table.rows:
        texts = [Text(row.values[place].text, "bold" if row.values[place].best else "") for place in places]
        part.add_row(Text(row.method, "italic" if row.control else ""), *texts)
    return part
