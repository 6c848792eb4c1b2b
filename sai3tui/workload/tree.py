"""A directory tree as arithmetic: number of a directory or file to its path, with no table of either."""

from __future__ import annotations

from sai3tui.config.model import DirectoryStructure, Distribution


class Tree:
    """The tree of a `DirectoryStructure`. Directories are numbered level by level from 0, files from 0 in the order
    of the directories that hold them; paths are relative, without a leading or closing slash."""

    __slots__ = ("_after", "_first_holder", "_levels", "_numbered", "_starts", "directories", "files", "shape")

    def __init__(self, shape: DirectoryStructure) -> None:
        self.shape = shape
        self.directories = shape.directories
        self.files = shape.files
        # An unusual mask may have fewer than two places; what is missing is then left out, as the format says.
        before, between, self._after = [*shape.dir_mask.split("%d", 2), "", ""][:3]
        places = shape.dir_mask.count("%d")
        self._numbered = places >= 2
        self._levels = [f"{before}{level if places else ''}{between}" for level in range(shape.depth + 1)]
        """What the names of directories on each level begin with."""
        starts = [0]
        for level in range(1, shape.depth + 1):
            starts.append(starts[-1] + shape.width**level)
        self._starts = tuple(starts)
        self._first_holder = starts[-2] if shape.distribution is Distribution.BOTTOM else 0

    def directory(self, number: int) -> str:
        """The path of directory `number`. Raises IndexError."""
        if not 0 <= number < self.directories:
            raise IndexError(number)
        level = 1
        while number >= self._starts[level]:
            level += 1
        return self._path(level, number - self._starts[level - 1])

    def file_path(self, index: int) -> str:
        """The path of file `index`. Raises IndexError."""
        if not 0 <= index < self.files:
            raise IndexError(index)
        return f"{self.directory(self.directory_of(index))}/file_{index:08d}.dat"

    def directory_of(self, index: int) -> int:
        """The number of the directory that holds file `index`."""
        return self._first_holder + index // self.shape.files_per_dir

    def _path(self, level: int, place: int) -> str:
        """The path of the directory at `place`, from 0, on `level`, from 1."""
        width, after, numbered = self.shape.width, self._after, self._numbered
        names = []
        for begin in self._levels[level:0:-1]:
            place, local = divmod(place, width)
            names.append(f"{begin}{local + 1}{after}" if numbered else f"{begin}{after}")
        names.reverse()
        return "/".join(names)
