"""Search by some places of a grid of codes, against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest

from discretevae.codes.search.hamming import of_places
from discretevae.codes.search.index import CodeIndex
from discretevae.config import LatentSpec
from discretevae.errors import ConfigError, DataError

PLACES = [(0, 1), (2, 0), (0, 1)]


def codes_of(spec, n, seed):
    """Codes ``[n, D]``, and the same packed."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, spec.n_categories or 2, (n, spec.n_variables)).astype(np.uint8)
    return codes, np.packbits(codes, axis=1) if spec.kind == "bernoulli" else codes


@pytest.mark.parametrize("text", ["bernoulli:3@3x2", "categorical:5@3x2", "categorical:2x4@3x2"])
def test_only_the_places_that_are_named_are_compared(text):
    spec = LatentSpec.of(text)
    (codes, packed), (query, packed_query) = codes_of(spec, 40, 0), codes_of(spec, 6, 1)
    index = CodeIndex.from_codes(packed, text)
    size = spec.variables_per_place
    own = np.r_[1 * size : 2 * size, 4 * size : 5 * size]  # row 0, column 1; row 2, column 0
    for places, columns in ((PLACES, own), (None, np.arange(spec.n_variables))):
        differing = (query[:, None, columns] != codes[None, :, columns]).sum(-1)
        found = index.search_codes(packed_query, 40, places=places)
        order = np.lexsort((np.broadcast_to(np.arange(40), differing.shape), differing))
        assert np.array_equal(found.ids, order)
        assert np.array_equal(found.distances, np.sort(differing, 1))


def test_what_is_refused():
    spec = LatentSpec.of("bernoulli:3@3x2")
    _, packed = codes_of(spec, 4, 0)
    for place in ((3, 0), (0, 2), (-1, 0)):
        with pytest.raises(ConfigError, match=r"`places` must be from 0:0 to 2:1, ROW:COLUMN"):
            of_places(spec, packed, [place])
    with pytest.raises(ConfigError, match=r"the code is bernoulli:18\. Leave them out"):
        of_places(LatentSpec.of("bernoulli:18"), packed, [(0, 0)])
    with pytest.raises(DataError):
        of_places(spec, packed[:, :1], [(0, 0)])


def test_an_index_of_a_run_knows_its_grid_and_the_command_its_places(cli, tmp_path):
    run, index = tmp_path / "run", tmp_path / "digits.index"
    trained = cli("train", "--latent", "bernoulli:2@4x4", "--width", "4", "--epochs", "1",
                  "--batch-size", "500", "--out", run)  # fmt: skip
    assert trained.status == 0, trained.err
    assert cli("index", run, "--split", "test", "--out", index).status == 0
    assert str(CodeIndex.load(index).latent) == "bernoulli:2@4x4"
    searched = ("search", index, "--run", run, "--json", "--k", "3")
    assert cli(*searched, "--places", "0:0,1-2:1-3").status == 0
    for text, said in (
        ("4:0", "--places must be from 0:0 to 3:3, ROW:COLUMN. Got 4:0."),
        ("0", "'0' must be ROW:COLUMN"),
        ("2-1:0", "holds no places"),
    ):
        refused = cli(*searched, "--places", text)
        assert refused.status == 2
        assert said in refused.err
        assert len(refused.err.strip().splitlines()) == 1
