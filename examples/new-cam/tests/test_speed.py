"""NearCAM asks no more of the network than GradCAM; its seconds are shown, and not asserted."""

from camfaith.methods import GradCAM

from nearcam import NearCAM


def test_nearcam(faithfulness):
    found = faithfulness.speed(NearCAM, peer=GradCAM, suite="suite.toml")
    print(found)
    assert found.calls == found.peer_calls
