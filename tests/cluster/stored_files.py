"""What lies in a store of checkpoints, whatever kind it is."""

from __future__ import annotations

import pyarrow.fs


def files_of(store):
    """Everything below a store, by its path there."""
    files, root = pyarrow.fs.FileSystem.from_uri(store.place)
    infos = files.get_file_info(pyarrow.fs.FileSelector(root, recursive=True, allow_not_found=True))
    return sorted(info.path.removeprefix(f"{root}/") for info in infos if info.type == pyarrow.fs.FileType.File)


def write(store, path, content=b"x"):
    files, root = pyarrow.fs.FileSystem.from_uri(store.place)
    files.create_dir(f"{root}/{path}".rpartition("/")[0])
    with files.open_output_stream(f"{root}/{path}") as stream:
        stream.write(content)
