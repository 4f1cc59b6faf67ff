"""Arrays in the files that predictions and ground truth come in."""

import h5py
import numpy as np
from scipy.io import savemat


def save(path, **arrays):
    """Write arrays as the suffix says; ``.mat`` in the form before v7.3."""
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".mat":
        savemat(path, arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    return path
