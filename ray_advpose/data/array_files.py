"""The named arrays of a ``.npz``, ``.mat`` or HDF5 file, whoever wrote it."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import scipy.io

from ray_advpose.errors import UserError


class Arrays(dict[str, np.ndarray]):
    """Arrays by name.

    Attributes:
        left_out: Shape and type of what else the file holds, by name, for messages only.
    """

    def __init__(self) -> None:
        """Begin without arrays."""
        super().__init__()
        self.left_out: dict[str, str] = {}


def read_arrays(path: Path) -> Arrays:
    """Return the arrays of numbers, booleans and text in a file, by name.

    MATLAB arrays come in MATLAB's order of axes, also those of its HDF5 form (v7.3). Arrays with
    more than three axes (heatmaps), complex numbers, Python objects, structs and cells are left out.

    Raises:
        UserError: The file does not exist, has another suffix, or is not what its suffix says.
    """
    readers: dict[str, tuple[str, Callable[[Path], Arrays]]] = {
        ".npz": ("a NumPy archive", _npz_arrays),
        ".mat": ("a MATLAB file", _mat_arrays),
        ".h5": ("an HDF5 file", _hdf5_arrays),
        ".hdf5": ("an HDF5 file", _hdf5_arrays),
    }
    if path.suffix.lower() not in readers:
        raise UserError(f"{path}: a file ending in {path.suffix!r} is not known, known are {', '.join(readers)}")
    if not path.is_file():
        raise UserError(f"{path} is {'a folder, not a file' if path.is_dir() else 'not there'}")
    kind, read = readers[path.suffix.lower()]
    try:
        return read(path)
    except Exception as error:  # parsers raise whatever they stumble over in a broken file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"cannot read {path} as {kind}: {reason}") from None


def shape_text(array: np.ndarray) -> str:
    """Return a shape as papers write it, e.g. ``2958 x 16 x 2``."""
    return _shape_text(array.shape)


def contents_text(arrays: Arrays) -> str:
    """Return names and shapes of all a file holds, for a message on what it holds instead."""
    found = [f"{name} ({shape_text(array)})" for name, array in arrays.items()]
    found += [f"{name} ({form}, not read)" for name, form in arrays.left_out.items()]
    return ", ".join(found) or "no arrays"


def persons_text(count: int) -> str:
    """Return e.g. ``1 person`` or ``2958 persons``."""
    return f"{count} person" if count == 1 else f"{count} persons"


def text_of(array: np.ndarray) -> list[str]:
    """Return the entries of an array as text; HDF5 keeps text as bytes."""
    return [entry.decode(errors="replace") if isinstance(entry, bytes) else str(entry) for entry in array.ravel()]


def _npz_arrays(path: Path) -> Arrays:
    if not zipfile.is_zipfile(path):
        raise ValueError("it is no zip archive, or not a whole one")
    arrays = Arrays()
    with np.load(path) as archive:
        for name in archive.files:
            try:
                array = archive[name]
            except ValueError as error:
                # A pickled object beside the arrays; reading it would run code from the file.
                if "allow_pickle" not in str(error):
                    raise
                arrays.left_out[name] = _npy_form(path, name)
                continue
            _keep(arrays, name, array)
    return arrays


def _npy_form(path: Path, name: str) -> str:
    """Read shape and type of an array of objects from its header, which runs no code from the file."""
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    return _form(shape, dtype)


def _mat_arrays(path: Path) -> Arrays:
    if h5py.is_hdf5(path):
        return _hdf5_arrays(path)
    arrays = Arrays()
    for name, array in scipy.io.loadmat(path).items():
        if not name.startswith("__"):
            _keep(arrays, name, array)
    return arrays


def _hdf5_arrays(path: Path) -> Arrays:
    arrays = Arrays()

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        # MATLAB keeps what its cells and structs refer to below names that begin with #.
        if not isinstance(item, h5py.Dataset) or name.startswith("#") or item.shape is None:
            return
        if item.ndim > 3:  # heatmaps would fill the memory
            arrays.left_out[name] = _form(item.shape[::-1] if "MATLAB_class" in item.attrs else item.shape, item.dtype)
            return
        array = np.asarray(item[()])
        _keep(arrays, name, array.T if "MATLAB_class" in item.attrs else array)

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return arrays


def _keep(arrays: Arrays, name: str, array: object) -> None:
    """Add what is an array of numbers, booleans or text (h5py gives text of any length as bytes in objects)."""
    if not isinstance(array, np.ndarray):
        return
    known = array.dtype.kind in "biufUS" or (array.size and isinstance(array.flat[0], bytes))
    if known and array.ndim <= 3:
        arrays[name] = array
    else:
        arrays.left_out[name] = _form(array.shape, array.dtype)


def _shape_text(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a single value"


def _form(shape: tuple[int, ...], dtype: np.dtype) -> str:
    return f"{_shape_text(shape)} of {dtype.name}"
