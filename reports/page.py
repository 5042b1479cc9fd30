"""One HTML page of a run that holds all it shows: it loads no script, no font and no picture."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from PIL import Image

from camfaith.benchmark.results.accuracy import doubts
from camfaith.benchmark.results.files import write_whole
from camfaith.reports.agreement import agreement_table
from camfaith.reports.figures import Drawing
from camfaith.reports.gallery import Wall
from camfaith.reports.markup import Table
from camfaith.reports.reliability import reliability_table
from camfaith.reports.skill import skill_table
from camfaith.reports.tables import every_column, ledger
from camfaith.reports.view import View, number

_LARGEST_SVG = 400_000
_MOST_COMPLAINTS = 120
_COST = {
    "wall_seconds": "wall time",
    "model_seconds": "of that in the model",
    "forwards": "images sent forward",
    "backwards": "images sent backward",
    "tails": "passes through the network behind a layer",
    "shared": "forwards spared because maps were equal, or their orders",
    "spared": "forwards that curves with a tolerance, or of few parts, did not need",
    "settled": "forwards not made because a method's place was settled",
    "failed": "planned forwards not made: no map, or no image",
    "halvings": "times that memory ran out and the batch was halved",
}

Facts = list[tuple[str, str]]


def write(view: View, path: Path, tables: Sequence[Table], drawings: Sequence[Drawing], walls: Sequence[Wall]) -> Path:
    """Write the page; `tables` holds one table per block, and last that over all blocks."""
    cards = [reliability_table(view, block) for block in view.blocks]
    page = rendered(
        "report.html",
        info=view.info,
        suite=str(view.suite.get("name", "unnamed")),
        warnings=warnings(view),
        facts=_facts(view),
        cost=_cost(view.info),
        models=view.info.get("models", ()),
        datasets=view.info.get("datasets", ()),
        methods=[(m, one_line(m.get("parameters", {}))) for m in view.info.get("methods", ())],
        metrics=[(m, one_line(_preset(m) | m.get("parameters", {}))) for m in view.info.get("metrics", ())],
        tables=[*zip_longest(tables, cards)],
        drawings=[(drawing, *embedded(drawing.path)) for drawing in drawings],
        skills=[t for block in view.blocks if (t := skill_table(view, block))],
        agreements=[t for block in view.blocks if (t := agreement_table(view, block))],
        until_separated=view.until_separated,
        ledgers=_per_metric(view, "conservation", ledger),
        corners=_per_metric(view, "corner-artifact", every_column),
        diagnostics=[t for t in (every_column(view, block, "diagnostics") for block in view.blocks) if t],
        walls=[(wall, _picture(wall.path)) for wall in walls],
        accuracy=view.result.accuracy.to_dict("records"),
        said=view.result.warnings.to_dict("records"),
        complaints=complaints(view.scores),
        most=_MOST_COMPLAINTS,
    )
    write_whole(path, page)
    return path


def rendered(template: str, **values: Any) -> str:
    """One of `templates/` with these values, which are escaped."""
    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def warnings(view: View) -> list[str]:
    """What a reader must know before any number: a run that is not whole, or holds nothing."""
    found = []
    status = view.info.get("status", "unknown")
    if status != "complete":
        found.append(f"This run is not complete (status: {status}): what follows is what had been stored by then.")
    if not view.blocks:
        found.append("This run holds no results.")
    elif not view.summary["n"].sum():
        found.append("This run holds no value at all: everything in it failed or was undefined; see “Not ok”.")
    found += [f"{doubt}." for doubt in doubts(view.result.accuracy, view.info)]
    if (said := view.result.warnings["count"].sum()) > 0:
        found.append(f"Methods, metrics, models or readers warned {said} time{'' if said == 1 else 's'}; see “Not ok”.")
    if view.until_separated:
        ahead, level = view.result.separations()["ahead"], view.suite["level"]
        found.append(
            "Methods left a metric as soon as their place in it was settled, so its means are over different images. "
            f"Of {len(ahead)} comparisons {(ahead != 'open').sum()} are settled, for each model and data set at most "
            f"{100 * level:g}% of them wrongly, on average; the others the images could not settle, or hardly would "
            "have. separations.csv says who leads on more images than not, and after how many that was known."
        )
    found += [
        f"{entry['model']} on {entry['dataset']}: results were made under several conditions ({changed}); "
        "their last digits may differ."
        for entry in view.info.get("engine", ())
        if (changed := _changed(entry))
    ]
    judged = view.scores[view.scores["method"] != ""]
    seen = judged.groupby(["model", "dataset"])["sample"].nunique().to_dict() if len(judged) else {}
    for model in view.info.get("models", ()):
        for data in view.info.get("datasets", ()):
            count, wanted = seen.get((model["name"], data["name"]), 0), data.get("samples", 0)
            if count < wanted:
                found.append(f"{model['name']} on {data['name']}: {count} of {wanted} samples have results.")
    failed = view.scores.loc[(view.scores["status"] == "error") & (view.scores["method"] == ""), "sample"].nunique()
    if failed:
        found.append(f"{failed} sample{'' if failed == 1 else 's'} could not be used at all; see “Not ok”.")
    return found


def complaints(scores: pd.DataFrame) -> list[dict[str, Any]]:
    """All rows that are not ok, equal ones in one group: errors first, then undefined values, then constant maps.

    What is said of several metrics alike, of the same methods and samples, is one group without columns.
    """
    odd = scores[scores["status"] != "ok"]
    order = {"error": 0, "undefined": 1, "constant": 2}
    found: dict[Any, dict[str, Any]] = {}
    groups: Any = odd.fillna({"error": "", "metric": ""}).groupby(
        ["status", "error", "model", "dataset", "metric"], sort=False, dropna=False
    )
    for (status, error, model, dataset, metric), rows in groups:
        samples = [str(sample) for sample in rows["sample"].unique()]
        methods = [str(m) for m in rows["method"].unique() if m]
        alike = (status, error, model, dataset, *methods, None, *samples)
        if alike in found:
            found[alike] |= {"metric": f"{found[alike]['metric']}, {metric}", "columns": []}
            found[alike]["count"] += len(rows)
            continue
        found[alike] = {
            "status": status,
            "error": error,
            "model": model,
            "dataset": dataset,
            "metric": metric,
            "methods": methods,
            "columns": [str(c) for c in rows["column"].unique() if c],
            "count": len(rows),
            "samples": samples[:3],
            "more": max(0, len(samples) - 3),
        }
    return sorted(found.values(), key=lambda group: (order.get(group["status"], -1), -group["count"]))


def _per_metric(view: View, name: str, make: Any) -> list[Table]:
    made = (make(view, block, metric) for metric in view.metrics_named(name) for block in view.blocks)
    return [table for table in made if table]


def _preset(metric: Mapping[str, Any]) -> dict[str, Any]:
    return {"preset": metric["preset"]} if metric.get("preset") else {}


def _facts(view: View) -> Facts:
    info = view.info
    names = {"run": "run", "status": "status", "created": "started", "device": "device", "git": "git"}
    found = [("suite", str(view.suite.get("name", "unnamed"))), ("explained class", view.target)]
    found.append(("seed", str(view.suite.get("seed", "–"))))
    found += [(shown, one_line(info[key])) for key, shown in names.items() if info.get(key)]
    found += [(f"head of {m['name']}", m["head"]) for m in info.get("models", ()) if m.get("head")]
    found += [(f"how {e['model']} ran on {e['dataset']}", _engine(e)) for e in info.get("engine", ())]
    if info.get("memory_kept"):
        found.append(("memory", "freed memory was kept for the next batch"))
    return [*found, ("versions", one_line(info.get("versions", {})))]


def _changed(entry: Mapping[str, Any]) -> str:
    """Which of the conditions under which a block's results were made did not stay as they were, and their values."""
    made = entry.get("made", ())
    values = {name: dict.fromkeys(one_line(each.get(name)) for each in made) for name in dict.fromkeys(chain(*made))}
    changed = {name.replace("_", " "): seen for name, seen in values.items() if len(seen) > 1}
    return "; ".join(f"{name}: {', then '.join(seen)}" for name, seen in changed.items())


def _engine(entry: Mapping[str, Any]) -> str:
    """Where and how images were sent through a model, and by how much shortcuts moved the scores."""
    setup = entry["setup"]
    places = dict.fromkeys(f"{made['device']}, threads: {made['threads']}" for made in entry.get("made", ()))
    told = [", then ".join(places)] if places else []
    told += [f"batches of {setup['batch_size']}", "channels last" if setup["channels_last"] else "channels first"]
    if setup["rate"]:
        told.append(f"{number(float(setup['rate']))} images/s measured")
    if setup.get("fused"):
        told.append("convolutions and their ReLUs in one step")
    if setup["shortcuts"]:
        moved = ", ".join(f"{metric} {number(value)}" for metric, value in entry.get("largest_change", {}).items())
        told.append(f"with {' and '.join(setup['shortcuts'])}; largest change of a score in a few samples: {moved}")
    return "; ".join([*told, *(f"no {name}: {why}" for name, why in setup["refused"].items())])


def one_line(value: Any) -> str:
    """A value from `run.json` as one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {one_line(v)}" for key, v in value.items() if v is not None) or "–"
    if isinstance(value, list | tuple):
        return " ".join(one_line(v) for v in value)
    return str(value)


def _cost(info: Mapping[str, Any]) -> Facts:
    cost, plan = info.get("cost") or {}, info.get("plan") or {}
    wall = float(cost.get("wall_seconds") or 0)
    found = []
    known = list(_COST)
    for key, value in sorted(cost.items(), key=lambda item: known.index(item[0]) if item[0] in known else len(known)):
        shown = f"{value:,}" if isinstance(value, int) else one_line(value)
        if key.endswith("seconds"):
            shown = f"{number(float(value))} s"
        elif isinstance(value, float):
            shown = f"{value:,.0f}"
        if key == "model_seconds" and wall > 0:
            shown += f" ({100 * float(value) / wall:.0f} %)"
        found.append((_COST.get(key, str(key)), shown))
    for key, said in (("forwards", "forwards planned"), ("unshared", "forwards if nothing were shared")):
        if isinstance(plan.get(key), int):
            found.append((said, f"{plan[key]:,}"))
    return found


def embedded(stem: Path) -> tuple[str, int]:
    """A figure as a data URI (SVG, or PNG where the SVG is too large), and its width in pixels."""
    drawn, plain = Path(f"{stem}.svg").read_bytes(), Path(f"{stem}.png").read_bytes()
    width = Image.open(io.BytesIO(plain), formats=("PNG",)).width
    return (_uri("image/svg+xml", drawn) if len(drawn) <= _LARGEST_SVG else _uri("image/png", plain)), width


def _picture(path: Path) -> str:
    """A gallery as a data URI; JPEG is a third of the file's size."""
    buffer = io.BytesIO()
    Image.open(path, formats=("PNG",)).save(buffer, "JPEG", quality=88)
    return _uri("image/jpeg", buffer.getvalue())


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
