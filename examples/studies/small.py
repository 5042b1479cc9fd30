"""Both studies at 96 px, from generated photographs to the pages of claims: python small.py [--out FOLDER].

What FOLDER holds already is not made again.
"""

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/studies"))
    out = parser.parse_args().out
    make = ["-m", "camfaith.benchmark.datasets.layouts"]
    for name, samples, size in (("aptos2019", 150, 128), ("ham10000", 2000, 96)):
        if not (out / name).exists():
            call(*make, name, out / name, "--samples", samples, "--size", size)
    skin = out / "networks/ham10000/fundus-resnet"
    camfaith(
        *("finetune", "--model", "fundus-resnet", "--dataset", "ham10000", "--root", out / "ham10000"),
        *("--weights", "none", "--size", 96, "--out", skin),
    )
    for study in ("aptos2019", "ham10000"):
        camfaith("run", HERE / f"{study}-small.toml", "--data", out, "--out", out / f"run-{study}")
    networks = ("--as", "efficientnet_b0=fundus-effnet", "--as", "vgg19=fundus-vgg")
    camfaith("claims", out / "run-aptos2019", "aptos2019", *networks)
    camfaith("claims", out / "run-aptos2019", "corners")
    camfaith("claims", out / "run-ham10000", "ham10000")


def camfaith(*words: object) -> None:
    call("-c", "from camfaith.benchmark.cli.command_line import main; main()", *words)


def call(*words: object) -> None:
    print("+", *words, flush=True)
    subprocess.run([sys.executable, *map(str, words)], check=True)


if __name__ == "__main__":
    main()
