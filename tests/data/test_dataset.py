from __future__ import annotations

import numpy as np
import pytest

from tinymp.data import Dataset, check_finite


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_reported_with_its_place(bad):
    inputs = np.zeros((5, 4), np.float32)
    inputs[2, 3] = inputs[4, 0] = bad
    with pytest.raises(ValueError, match=rf"'sums inputs' holds {bad} at row 2, column 3 \(2 such"):
        Dataset("sums", inputs, np.zeros(5, np.int64))
    with pytest.raises(ValueError, match=rf"'sums targets' holds {bad} at row 2 \(1 such"):
        Dataset("sums", np.zeros((5, 4)), inputs[:, 3])


def test_images_with_more_axes_name_each_axis():
    images = np.zeros((3, 1, 8, 8))
    images[1, 0, 2, 7] = np.nan
    with pytest.raises(ValueError, match="nan at axis 0 1, axis 1 0, axis 2 2, axis 3 7"):
        check_finite("images", images)


@pytest.mark.parametrize("values", [np.zeros((0, 3)), np.arange(4), np.array([True]), np.ones(2)])
def test_finite_data_pass(values):
    check_finite("fine", values)


def test_inputs_without_targets_are_refused():
    with pytest.raises(ValueError, match="'pairs': 3 inputs but 2 targets"):
        Dataset("pairs", np.zeros(3), np.zeros(2))
    assert len(Dataset("pairs", np.zeros((3, 2)), np.zeros(3))) == 3
