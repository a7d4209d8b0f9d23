"""Philox 4x32-10, and normal numbers by exact operations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from semilinear.integrators.numerics.philox import MASK, Words, normal, philox, split

from tests.roundings import MANY_ULP

KNOWN: tuple[tuple[Words, tuple[int, int], Words], ...] = (
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((MASK, MASK, MASK, MASK), (MASK, MASK), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
)
"""The known answers that Random123 publishes (kat_vectors): zeros, ones, digits of pi."""


def counters(blocks: int, rows: int = 1) -> Words:
    z = torch.zeros(1, dtype=torch.int64)
    words = torch.broadcast_tensors(torch.arange(blocks), z, torch.arange(rows)[:, None], z)
    return words[0], words[1], words[2], words[3]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_the_known_answers(counter: Words, key: tuple[int, int], words: Words) -> None:
    assert philox(counter, key) == words
    a, b, c, d = (torch.tensor([w]) for w in counter)
    assert [int(w) for w in philox((a, b, c, d), key)] == list(words)


def test_products_stay_below_63_bits() -> None:
    """Where they are largest: wrapping around is not what every device must do."""
    for multiplier in (0xD2511F53, 0xCD9E8D57):
        assert MASK * abs(multiplier - 2**32) < 2**63


def test_numbers_are_those_of_the_words_to_the_series_error() -> None:
    counter, key = counters(5000), (3, 4)
    a, b, c, d = (w.numpy()[0].astype(np.float64) for w in philox(counter, key))
    found = normal(counter, key)[0].numpy()
    for radius, turn, pair in ((a, b, found[:, :2]), (c, d, found[:, 2:])):
        r = np.sqrt(-2 * np.log((radius + 0.5) / 2**32))
        # the series of the logarithm and of the sine end at 1e-14
        assert np.abs(np.hypot(*pair.T) - r).max() < 1e-13 * r.max()
        quarter = (np.floor(turn % 2**30) + 0.5) / 2**30 - 0.5
        assert np.abs(np.abs(pair / r[:, None]).min(1) - np.sin(np.abs(quarter) * np.pi / 2)).max() < MANY_ULP


def test_bits_do_not_depend_on_how_many_are_drawn_at_once() -> None:
    """A vector unit's tail is another code path than its body: no operation may differ between them."""
    whole = normal(counters(37, 13), (1, 2))
    for row in range(13):
        for block in (0, 1, 36):
            z = torch.zeros(1, dtype=torch.int64)
            assert torch.equal(normal((z + block, z, z + row, z), (1, 2))[0], whole[row, block])


def test_moments_quarters_and_neighbours() -> None:
    """Within five standard errors: moments to the eighth, octants, correlations of a counter's four."""
    z = normal(counters(1000, 100), split(2**40 + 7)).reshape(-1, 4)
    n = z.numel()
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (8, 105, 2027025 - 105**2)):
        assert abs(float((z**power).mean()) - moment) < 5 * (variance / n) ** 0.5
    octant = torch.floor(torch.atan2(z[:, 1], z[:, 0]) / (torch.pi / 4)).long() + 4
    share = torch.bincount(octant.clamp(0, 7), minlength=8) / len(z)
    assert float((share - 1 / 8).abs().max()) < 5 * (7 / 64 / len(z)) ** 0.5
    assert float((torch.corrcoef(z.T) - torch.eye(4)).abs().max()) < 5 / len(z) ** 0.5
    squares = torch.corrcoef((z * z).T) - torch.eye(4)
    assert float(squares.abs().max()) < 5 / len(z) ** 0.5
