"""A directory tree as arithmetic: number of a directory or file to its path, with no table of either."""

from __future__ import annotations

from sai3tui.config.model import DirectoryStructure, Distribution

KEPT_NAMES = 65536
"""Up to so many directory names are kept, level by level: making them anew costs most of a path."""


class Tree:
    """The tree of a `DirectoryStructure`. Directories are numbered level by level from 0, files from 0 in the order
    of the directories that hold them; paths are relative, without a leading or closing slash."""

    __slots__ = ("_after", "_first_holder", "_kept", "_levels", "_numbered", "_starts", "directories", "files", "shape")

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
        self._kept: list[list[str]] = []
        """The names of the directories with one parent, from the deepest level up; empty where they are too many."""
        if shape.width * shape.depth <= KEPT_NAMES:
            self._kept = [[self._name(begin, local) for local in range(shape.width)] for begin in self._levels[:0:-1]]
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
        width = self.shape.width
        names = []
        if self._kept:
            for kept in self._kept[self.shape.depth - level :]:
                names.append(kept[place % width])
                place //= width
        else:
            for begin in self._levels[level:0:-1]:
                place, local = divmod(place, width)
                names.append(self._name(begin, local))
        names.reverse()
        return "/".join(names)

    def _name(self, begin: str, local: int) -> str:
        return f"{begin}{local + 1}{self._after}" if self._numbered else f"{begin}{self._after}"
