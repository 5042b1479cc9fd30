"""Other pictures of the data set."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from camfaith.metrics import Metric, Pool
from camfaith.metrics.probing.pool import filled


@dataclass(frozen=True, kw_only=True)
class Like(Metric):
    """Needs other pictures."""

    pool: Any = 3
    name = "like"


def test_pools_are_equal_if_their_pictures_are_and_do_not_follow_the_images_that_they_are_made_of(images):
    pictures = images(3, 4, 5).float()
    pool = Like(pool=pictures).pool
    assert pool == Pool.of(list(pictures.numpy())) != Pool.of(pictures.flip(0))
    kept = pictures.clone()
    pictures.zero_()
    assert torch.equal(pool.images(torch.zeros(1, 3, 4, 5)), kept)


def test_pictures_come_at_the_size_and_precision_of_the_images_and_without_the_image_itself(images):
    small, large = images(1, 4, 4)[0], images(1, 8, 8)[0]
    pool = Pool.of([small, large])
    found = pool.images(torch.zeros(2, 3, 4, 4, dtype=torch.float64))
    expected = F.interpolate(large[None].float(), (4, 4), mode="bilinear", antialias=True).double()
    torch.testing.assert_close(found, torch.cat([small[None].float().double(), expected]), rtol=0, atol=0)
    assert torch.equal(pool.others(small.float()), expected.float())
    with pytest.raises(ValueError, match="no picture but the image itself"):
        Pool.of([small]).others(small.float())
    with pytest.raises(ValueError, match="the pool's pictures have 3 colours, the images 1"):
        pool.images(torch.zeros(1, 1, 4, 4))


def test_what_is_not_given_is_filled_wherever_it_stands_and_nothing_else(images):
    given = Pool.of(images(2, 4))
    assert filled(Like(), lambda size: given if size == 3 else None).pool is given
    own = Like(pool=given)
    assert filled(own, lambda _: Pool.of(images(1, 4))) is own


@pytest.mark.parametrize(
    ("wanted", "text"),
    [("all", "how many pictures it shall have, got 'all'"), (0, "pictures"), (torch.zeros(3, 4, 4), "3×H×W")],
)
def test_what_is_no_pool_is_refused(wanted, text):
    with pytest.raises(ValueError, match=text):
        Like(pool=wanted)


def test_a_pool_that_nobody_gave_says_who_gives_it():
    with pytest.raises(ValueError, match=r"no pool of pictures.*pool = images"):
        Like().pool.images(torch.zeros(1, 3, 4, 4))
