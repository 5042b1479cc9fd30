"""NearCAM is not worse than when its baseline was accepted (`camfaith gate` asks the same)."""

from nearcam import NearCAM


def test_nearcam(faithfulness):
    faithfulness.check(NearCAM, baseline="baselines/nearcam.parquet", suite="suite.toml", margin="5%")
