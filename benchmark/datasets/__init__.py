"""Where images come from: synthetic photographs, public data sets as they lie on disk, folders, tables, packages."""

from typing import Any

from camfaith.benchmark.datasets.each_class import per_class
from camfaith.benchmark.datasets.sample import Dataset, Sample, SampleError
from camfaith.benchmark.datasets.subset import subset
from camfaith.models.lookup import resolve

SHIPPED = {
    "fundus": "camfaith.benchmark.datasets.synthetic:Fundus",
    "fundus-tag": "camfaith.benchmark.datasets.synthetic:FundusTag",
    "skin": "camfaith.benchmark.datasets.synthetic:Skin",
    "folder": "camfaith.benchmark.datasets.folder:Folder",
    "csv": "camfaith.benchmark.datasets.table:Table",
    "aptos2019": "camfaith.benchmark.datasets.aptos2019:Aptos2019",
    "ham10000": "camfaith.benchmark.datasets.ham10000:Ham10000",
    "imagenet": "camfaith.benchmark.datasets.imagenet:ImageNet",
    "voc": "camfaith.benchmark.datasets.voc:Voc",
}


def find(name: str) -> Any:
    """The data set class of that name: shipped, an entry point of `camfaith.datasets`, or `module:Class`."""
    return resolve("dataset", name, SHIPPED, owes=("__len__", "__getitem__"))


__all__ = ["SHIPPED", "Dataset", "Sample", "SampleError", "find", "per_class", "subset"]
