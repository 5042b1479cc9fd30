"""Where images come from: shipped synthetic photographs, folders, tables, and other packages' data sets."""

from typing import Any

from camfaith.benchmark.datasets.each_class import per_class
from camfaith.benchmark.datasets.sample import Dataset, Sample, SampleError
from camfaith.benchmark.datasets.subset import subset
from camfaith.models.lookup import resolve

SHIPPED = {
    "fundus": "camfaith.benchmark.datasets.synthetic:Fundus",
    "fundus-tag": "camfaith.benchmark.datasets.synthetic:FundusTag",
    "folder": "camfaith.benchmark.datasets.folder:Folder",
    "csv": "camfaith.benchmark.datasets.table:Table",
}


def find(name: str) -> Any:
    """The data set class of that name: shipped, an entry point of `camfaith.datasets`, or `module:Class`."""
    return resolve("dataset", name, SHIPPED, owes=("__len__", "__getitem__"))


__all__ = ["SHIPPED", "Dataset", "Sample", "SampleError", "find", "per_class", "subset"]
