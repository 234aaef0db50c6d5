"""Labels of cells, votes and edges against loops over pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.units import UNLABELLED, Shares, cell_classes, majority, near_edges

pixels = arrays(np.int16, (6, 9), elements=st.integers(-1, 2))


def _naive_cell(values, shares):
    target = (values == 2).mean()
    if target and target >= shares.target:
        return 2, False
    others = [int((values == 0).sum()), int((values == 1).sum())]
    known = (values != UNLABELLED).mean() >= shares.labelled and sum(others) > 0
    return int(np.argmax(others)) if known else UNLABELLED, bool(target)


@given(pixels, st.sampled_from([Shares(), Shares(target=0.5, labelled=1.0), Shares(target=1e-9, labelled=1e-9)]))
def test_cells_equal_a_loop(labels, shares):
    classes, doubts = cell_classes(labels, 3, 3, shares)
    for row in range(2):
        for column in range(3):
            cell = labels[3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
            assert (classes[row, column], doubts[row, column]) == _naive_cell(cell, shares)


def test_a_cell_by_hand():
    cell = np.zeros((10, 10), np.int16)
    cell.flat[:9] = 1
    classes, doubts = cell_classes(cell, 10, 2, Shares())
    assert (classes[0, 0], doubts[0, 0]) == (0, True)
    cell.flat[9] = 1
    classes, doubts = cell_classes(cell, 10, 2, Shares())
    assert (classes[0, 0], doubts[0, 0]) == (1, False)
    cell[:] = UNLABELLED
    cell.flat[:49] = 0
    assert cell_classes(cell, 10, 2, Shares())[0][0, 0] == UNLABELLED


@pytest.mark.parametrize("changes", [{"target": 0}, {"target": 1.5}, {"labelled": 0}])
def test_shares_are_shares(changes):
    with pytest.raises(ValueError, match="expected above 0 to 1"):
        Shares(**changes)


@given(pixels, st.integers(1, 3))
def test_edges_equal_a_loop(labels, radius):
    found = near_edges(labels, radius)
    for (row, column), label in np.ndenumerate(labels):
        around = labels[max(0, row - radius) : row + radius + 1, max(0, column - radius) : column + radius + 1]
        others = set(around.ravel().tolist()) - {UNLABELLED, int(label)}
        assert found[row, column] == (label != UNLABELLED and bool(others))


def test_most_votes_count_and_of_as_many_the_target():
    votes = [np.array([1, 0, 0, -1, -1, 0], np.int16), np.array([1, 1, 0, -1, 2, 2], np.int16)]
    votes.append(np.array([0, -1, 2, -1, -1, 1], np.int16))
    np.testing.assert_array_equal(majority(votes, 3), [1, 1, 0, UNLABELLED, 2, 2])
