"""The language, part 1: what is made and what is done to it. Data only; see `vocabulary.py`."""

from __future__ import annotations

from sai3tui.config.model import (
    ArrivalKind,
    CleanupMode,
    Distribution,
    Fill,
    KeySource,
    Popularity,
    PrepareStrategy,
    SizeKind,
)
from sai3tui.config.ops import OPS
from sai3tui.config.vocabulary import BlockSpec, Field, Kind, Status, words_of

READING = ("get", "stat")

IN_PARTS = (
    "Larger objects are uploaded in parts of this size, by the connection that began and those to the same endpoint "
    "that become free; one operation. S3 only."
)
WEIGHTED_SIZE = BlockSpec(
    "size with a weight",
    "One of several sizes.",
    (
        Field("size", Kind.SIZE, "Bytes of such an object.", required=True, ours=True),
        Field("weight", Kind.COUNT, "Its share, relative to the other sizes.", required=True, most=10**9, ours=True),
    ),
)

BOUNDS = (
    Field("min", Kind.SIZE, "No object is smaller.", "1 KiB; 1 for lognormal", ("min_size",)),
    Field("max", Kind.SIZE, "No object is larger.", "1 MiB; none for lognormal", ("max_size",), least=1),
    Field("mean", Kind.SIZE, "Of lognormal sizes, in bytes, before bounds cut it.", least=1),
    Field("std_dev", Kind.SIZE, "Of lognormal sizes, in bytes.", "", ("stddev",), least=1),
)

UNIFORM_OR_LOGNORMAL = BlockSpec("bounds of sizes", "Older files name the kind of sizes by this mapping's key.", BOUNDS)

SIZE_MAP = BlockSpec(
    "sizes",
    "How large objects are: a plain size, or a mapping. An object's size depends on `seed` and its number only.",
    (
        Field(
            "type",
            Kind.CHOICE,
            "How sizes are spread. `weighted` draws from a list.",
            "what the other fields say",
            words=words_of(SizeKind),
            note="`fixed` and `weighted` are added",
        ),
        Field("size", Kind.SIZE, "Of `fixed` objects.", "", ("value",), ours=True),
        *BOUNDS,
        Field("fixed", Kind.SIZE, "As `{type: fixed, size: ...}`.", ours=True),
        Field("uniform", Kind.BLOCK, "As `{type: uniform, ...}`.", block=UNIFORM_OR_LOGNORMAL, ours=True),
        Field("lognormal", Kind.BLOCK, "As `{type: lognormal, ...}`.", block=UNIFORM_OR_LOGNORMAL, ours=True),
        Field("weighted", Kind.BLOCKS, "Sizes with their weights.", block=WEIGHTED_SIZE, ours=True),
    ),
    example="""\
target: s3://bucket/sizes/
prepare:
  ensure_objects:
    - {base_uri: one/, count: 1000, size_spec: 64KiB}
    - {base_uri: two/, count: 1000, size_spec: {type: uniform, min: 4KiB, max: 128KiB}}
    - {base_uri: three/, count: 1000, size_spec: {type: lognormal, mean: 1MiB, std_dev: 512KiB, min: 1KiB, max: 8MiB}}
    - base_uri: four/
      count: 1000
      size_spec:
        weighted:
          - {size: 4KiB, weight: 80}
          - {size: 1MiB, weight: 20}
workload:
  - {op: get, path: "one/*", weight: 1}
""",
)

SIZES = Field(
    "size_spec",
    Kind.SIZES,
    "How large objects are.",
    "",
    ("size_distribution",),
    block=SIZE_MAP,
    note='also a plain size such as "8MiB", `{fixed: ...}` and `{uniform: {...}}`',
)

FILL = Field(
    "fill",
    Kind.CHOICE,
    "`random` bytes, which do not shrink, or zeros.",
    Fill.RANDOM.value,
    words=words_of(Fill),
    other_words=(("prand", "random"), ("zeros", "zero")),
)
DEDUP = Field("dedup_factor", Kind.COUNT, "One block in so many is unique.", "1", least=1, most=1_000_000)
COMPRESS = Field("compress_factor", Kind.COUNT, "Contents shrink so many times.", "1", least=1, most=1_000_000)

IO_RATE = BlockSpec(
    "io_rate",
    "Operations begin when they are due instead of as fast as possible; scheduled latency counts from there.",
    (
        Field(
            "iops",
            Kind.IOPS,
            "Operations per second of the whole fleet, which its agents share by their connections. `max`, 0 and "
            "negative numbers mean: no limit.",
            required=True,
            note="of the whole fleet, not of each agent; what is asked is delivered, with every distribution",
        ),
        Field(
            "distribution",
            Kind.CHOICE,
            "How the times between operations are spread.",
            ArrivalKind.EXPONENTIAL.value,
            words=words_of(ArrivalKind),
        ),
    ),
    example="""\
target: s3://bucket/rate/
io_rate: {iops: 500, distribution: exponential}
prepare:
  ensure_objects: [{base_uri: data/, count: 1000, size_spec: 64KiB}]
workload:
  - {op: get, path: "data/*", weight: 1}
""",
)

RANGE = BlockSpec(
    "range",
    "GETs of a part of each object.",
    (
        Field("size", Kind.SIZE, "Bytes of each part.", required=True, least=1, ours=True),
        Field("align", Kind.SIZE, "Parts begin at multiples of this.", "1", least=1, ours=True),
    ),
)

OP = BlockSpec(
    "workload",
    "What execute does: one entry for each kind of operation. Entries are drawn by their weights. In `path`, `*` and "
    "`**` match anything, `/` included; a path that ends in `/` means what stands directly below it.",
    (
        Field("op", Kind.CHOICE, "What is done.", required=True, words=tuple(op.word for op in OPS)),
        Field("weight", Kind.COUNT, "Its share, relative to the other entries; 0: never.", required=True, most=10**9),
        Field(
            "path",
            Kind.TEXT,
            "A key or pattern, relative to the target or each endpoint, or a whole URI. Required, but for put.",
            note="what prepare covers and a pattern cannot match is an error before the run, not in it",
        ),
        Field(
            "object_size",
            Kind.SIZE,
            "Bytes of each object.",
            "",
            ("size",),
            only=("put",),
            note="also with a unit",
        ),
        Field("size_spec", Kind.SIZES, SIZES.text, "", SIZES.aliases, block=SIZE_MAP, only=("put",), note=SIZES.note),
        Field(FILL.name, FILL.kind, FILL.text, FILL.default, words=FILL.words, other_words=FILL.other_words, ours=True),
        DEDUP,
        COMPRESS,
        Field(
            "concurrency",
            Kind.COUNT,
            "At most so many connections of an agent are in this entry at once; others wait, and weights are kept.",
            least=1,
            most=1_000_000,
        ),
        Field("recursive", Kind.BOOLEAN, "Remove what is below the directory too.", "false", only=("rmdir",)),
        Field(
            "io_rate",
            Kind.BLOCK,
            "A rate of this entry's own: it then takes no part in the draw by weight, whose weight must be above 0.",
            block=IO_RATE,
            ours=True,
        ),
        Field(
            "verify",
            Kind.BOOLEAN,
            "Compare what is read with what was written; a difference is corruption.",
            "false",
            only=("get",),
            ours=True,
        ),
        Field(
            "range",
            Kind.BLOCK,
            "Read a part of each object.",
            block=RANGE,
            only=("get",),
            ours=True,
        ),
        Field(
            "part_size",
            Kind.SIZE,
            IN_PARTS,
            least=5 * 1024 * 1024,
            only=("put",),
            ours=True,
        ),
        Field(
            "delete_many",
            Kind.COUNT,
            "At most so many keys in each request, which counts as one operation. S3 only.",
            "1",
            least=1,
            most=1000,
            only=("delete",),
            ours=True,
        ),
        Field(
            "source",
            Kind.CHOICE,
            "`prepare`: objects of prepare. `list`: objects that exist already; of more than "
            "1,000,000 a sample in which each is as likely as any other, because agents hold names and sizes of what "
            "they work on in memory. `auto`: whichever the pattern finds.",
            KeySource.AUTO.value,
            words=words_of(KeySource),
            only=("get", "stat", "delete"),
            ours=True,
        ),
        Field(
            "popularity",
            Kind.CHOICE,
            "Which objects are chosen: all alike, few very often, one after the other and round again, or each once by "
            "the whole fleet; a stage whose entries have all come to their end ends early.",
            Popularity.UNIFORM.value,
            words=words_of(Popularity),
            only=READING,
            ours=True,
        ),
        Field(
            "zipf_exponent",
            Kind.NUMBER,
            "How much oftener popular objects are chosen.",
            "0.99",
            least=0.01,
            most=10,
            only=READING,
            ours=True,
        ),
        Field("use_multi_endpoint", Kind.BOOLEAN, "Endpoints are used where there are any.", status=Status.IGNORED),
    ),
    tag="op",
    example="""\
target: s3://bucket/mixed/
concurrency: 32
prepare:
  ensure_objects: [{base_uri: data/, count: 1000, size_spec: 64KiB}]
workload:
  - {op: get, path: "data/prepared-*.dat", weight: 60}
  - {op: put, path: "new/", object_size: 64KiB, weight: 20}
  - {op: stat, path: "data/prepared-*.dat", weight: 10}
  - {op: list, path: "data/", weight: 5}
  - {op: delete, path: "data/prepared-*.dat", weight: 5}
""",
)

ENSURE = BlockSpec(
    "ensure_objects",
    "One set of objects that prepare makes. Without a tree, objects are named `prepared-00000000.dat` and so on. Where "
    "a workload both reads and deletes, as many `deletable-...` objects are made, and deletes take those.",
    (
        Field("count", Kind.COUNT, "How many; 0: as many as the tree holds.", required=True),
        Field(
            "base_uri",
            Kind.TEXT,
            "The directory they stand in: relative to the target or each endpoint, or a whole URI.",
            "the root itself",
            note="a relative one is resolved once, for every stage alike",
        ),
        SIZES,
        Field(
            "object_size",
            Kind.SIZE,
            "Bytes of each object.",
            "",
            ("size", "file_size"),
            note="the predecessor ignores it and makes objects of 1 MiB",
        ),
        Field("min_size", Kind.SIZE, "With `max_size`, instead of `size_spec`.", "1 MiB"),
        Field("max_size", Kind.SIZE, "If it equals `min_size`, all have that size.", "1 MiB"),
        FILL,
        DEDUP,
        COMPRESS,
        Field("use_multi_endpoint", Kind.BOOLEAN, "Endpoints are used where there are any.", status=Status.IGNORED),
        Field("strategy", Kind.ANYTHING, "A word of older documents.", status=Status.IGNORED),
        Field("enabled", Kind.ANYTHING, "A word of older documents.", status=Status.IGNORED),
    ),
)

TREE = BlockSpec(
    "directory_structure",
    "A tree of directories with files named `file_00000000.dat` and so on.",
    (
        Field("width", Kind.COUNT, "Directories in each directory.", required=True, least=1),
        Field("depth", Kind.COUNT, "Levels of directories.", required=True, least=1, most=64),
        Field("files_per_dir", Kind.COUNT, "Files in each directory that holds any.", "0"),
        Field(
            "distribution",
            Kind.CHOICE,
            "Which directories hold files: those on the lowest level, or all.",
            Distribution.BOTTOM.value,
            words=words_of(Distribution),
            # "uniform" is what the documents of the predecessor call files in every directory
            other_words=(("uniform", "all"),),
        ),
        Field("dir_mask", Kind.TEXT, "Names of directories: the level, then the number.", "sai3bench.d%d_w%d.dir"),
    ),
    example="""\
target: s3://bucket/
prepare:
  directory_structure: {width: 8, depth: 2, files_per_dir: 10, distribution: bottom, dir_mask: "d%d_w%d.dir"}
  ensure_objects:
    - {base_uri: data/, count: 0, size_spec: {type: lognormal, mean: 64KiB, std_dev: 8KiB, min: 16KiB, max: 128KiB}}
workload:
  - {op: get, path: "data/d*_w*.dir/**/*", weight: 1}
""",
)


def _default_of_entries(field: Field) -> Field:
    return Field(
        field.name,
        field.kind,
        "For every entry of `ensure_objects` that has none.",
        field.default,
        field.aliases,
        words=field.words,
        other_words=field.other_words,
        block=field.block,
        least=field.least,
        most=field.most,
        note="a default of the entries; the predecessor ignores it there",
    )


PREPARE = BlockSpec(
    "prepare",
    "The objects that must exist before execute.",
    (
        Field("ensure_objects", Kind.BLOCKS, "Sets of objects.", block=ENSURE),
        Field("directory_structure", Kind.BLOCK, "Makes every set a tree of directories.", block=TREE),
        Field(
            "prepare_strategy",
            Kind.CHOICE,
            "Sets one after the other, or all at once by turns.",
            PrepareStrategy.SEQUENTIAL.value,
            words=words_of(PrepareStrategy),
            note="never changes which agent or endpoint makes an object",
        ),
        Field(
            "skip_verification",
            Kind.BOOLEAN,
            "Do not list what exists: a sample decides.",
            "false",
            note="the predecessor then assumes that everything exists",
        ),
        Field("force_overwrite", Kind.BOOLEAN, "Write all objects, whatever exists.", "false"),
        Field("verify", Kind.BOOLEAN, "Read back all objects at the end and compare them.", "false", ours=True),
        Field(
            "cleanup",
            Kind.BOOLEAN,
            "Delete the objects at the end, where the file lists no stages.",
            "false",
        ),
        Field(
            "cleanup_only",
            Kind.BOOLEAN,
            "Only delete the objects: no stage but preflight and cleanup is done.",
            "false",
            note="never prepares first",
        ),
        Field(
            "cleanup_mode",
            Kind.CHOICE,
            "What an object means that is not there or cannot be deleted.",
            CleanupMode.TOLERANT.value,
            words=words_of(CleanupMode),
            note="`best_effort` and `besteffort` alike; nothing but what the state cache knows is deleted",
        ),
        Field(
            "part_size",
            Kind.SIZE,
            IN_PARTS,
            least=5 * 1024 * 1024,
            ours=True,
        ),
        Field("post_prepare_delay", Kind.SECONDS, "Wait after prepare, if it made anything.", "0"),
        Field("key_prefix_shards", Kind.COUNT, "Spread keys over so many prefixes (no trees).", "0", most=65536),
        *(_default_of_entries(field) for field in (SIZES, FILL, DEDUP, COMPRESS)),
        Field("strategy", Kind.ANYTHING, "A word of older documents.", status=Status.IGNORED),
        Field("enabled", Kind.ANYTHING, "A word of older documents.", status=Status.IGNORED),
        Field("use_multi_endpoint", Kind.BOOLEAN, "Endpoints are used where there are any.", status=Status.IGNORED),
    ),
    example="""\
target: s3://bucket/
prepare:
  prepare_strategy: parallel
  key_prefix_shards: 16
  cleanup: true
  ensure_objects:
    - {base_uri: small/, count: 10000, size_spec: 4KiB, compress_factor: 2}
    - {base_uri: large/, count: 100, size_spec: 1MiB}
workload:
  - {op: get, path: "small/**/prepared-*.dat", weight: 9}
  - {op: get, path: "large/**/prepared-*.dat", weight: 1}
""",
)
