"""What a plan and a run show on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from camfaith.benchmark.results.accuracy import doubts, told
from camfaith.benchmark.results.store import Result
from camfaith.benchmark.running.planning import Plan


def show_plan(suite: str, planned: Plan) -> None:
    """Show calls, seconds and memory of every model on every data set, with shared calls and with each metric alone."""
    table = Table(title=f"{suite}: images through the networks")
    table.add_column("")
    for name in ("forwards", "backwards", "tails", "seconds", "MiB"):
        table.add_column(name, justify="right", no_wrap=True)
    for block in planned.blocks:
        table.add_row(f"{block.model} on {block.dataset}, {block.samples:,} samples")
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


def show_result(result: Result) -> None:
    """Show the mean of every main column over the images, in a table for every model on every data set."""
    console = Console()
    summary = result.summary()
    if summary.empty:
        console.print("no scores: every sample failed; see the errors in scores.parquet or the report")
        return
    layers = {model["name"]: model["layer"] for model in result.info["models"]}
    for (model, dataset), block in summary[summary["main"]].groupby(["model", "dataset"], sort=False):
        layer = f", target layer {layers[model]}" if layers.get(model) else ""
        table = Table(title=f"{model} on {dataset}{layer}: mean over images")
        table.add_column("method")
        wide = block.pivot_table(index="method", columns="metric", values="mean", sort=False, aggfunc="first")
        arrows = block.drop_duplicates("metric").set_index("metric")["better"].map({"higher": "↑", "lower": "↓"})
        for metric in wide.columns:
            table.add_column(f"{metric} {arrows.get(metric, '')}", justify="right")
        for method, row in wide.iterrows():
            table.add_row(str(method), *(f"{value:.3f}" if value == value else "–" for value in row))
        console.print(table)
    for each in result.accuracy.to_dict("records"):
        console.print(told(each), markup=False)
    for doubt in doubts(result.accuracy, result.info):
        console.print(f"warning: {doubt}", markup=False)
    bad = result.scores[result.scores["status"] == "error"]
    if len(bad):
        console.print(f"{len(bad)} rows are errors, the first: {bad['error'].iloc[0]}", markup=False)
