"""Time to read an epoch of records in stored order, in the window order of earlier releases, and as a permutation.

    python benchmarks/record_order.py [--data DIR] [--folder DIR] [--records 2000] [--repeats 5]

DIR holds data sets in the layout of MASKRCNN_TEST_DATA (default: $MASKRCNN_TEST_DATA, else ../shared/data). COCO's
images are converted and written repeatedly into shards of 100 records in --folder (default: the temporary folder),
which should be on the storage to measure. Before each epoch the page cache of the shards is dropped
(``posix_fadvise``), so all bytes come from the storage. Each row is the fastest of --repeats epochs; the orders
alternate. A window of 4,096 of COCO's 117,266 records corresponds to 69 of 2,000. No image is decoded: see
``input_pipeline.py`` for that.

The last lines are the same epochs from the page cache, and the cost of the checksums.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.conversion import convert_dataset
from maskrcnn_trainer.data.crc32c import masked_crc32c
from maskrcnn_trainer.data.order import permutation, window_shuffle
from maskrcnn_trainer.data.reader import RecordReader
from maskrcnn_trainer.data.records import RecordIndex, frame, index_records
from maskrcnn_trainer.data.shard_names import shard_name

ROOT = Path(__file__).resolve().parent.parent
RECORDS_PER_SHARD = 100
COCO_RECORDS, COCO_WINDOW = 117_266, 4096
WORKERS = (1, 16)  # sequential reads; the default of nWorkers


def payloads(coco: Path, scratch: Path) -> Iterator[bytes]:
    """Yield the records of COCO's images, repeated without end."""
    convert_dataset(str(coco / "images"), str(coco / "instances_train.json"), str(scratch), tag="coco", num_shards=1)
    index = index_records(str(scratch / "coco-*"))
    reader = RecordReader(index)
    return cycle([reader.read(record) for record in range(len(index))])


def write_shards(source: Iterator[bytes], folder: Path, count: int) -> RecordIndex:
    """Write ``count`` records to shards."""
    shards = -(-count // RECORDS_PER_SHARD)
    for shard in range(shards):
        here = min(RECORDS_PER_SHARD, count - shard * RECORDS_PER_SHARD)
        with (folder / shard_name("copies", shard, shards)).open("wb") as file:
            for payload in islice(source, here):
                file.write(frame(payload))
            file.flush()
            os.fsync(file.fileno())  # only clean pages can be dropped
    return index_records(str(folder / "copies-*"))


def drop_page_cache(index: RecordIndex) -> None:
    """Drop the shards from the page cache."""
    for name in index.files:
        descriptor = os.open(name, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def epoch_seconds(index: RecordIndex, order: NDArray[Any], workers: int, *, cold: bool) -> float:
    """Return the seconds to read all records in an order with ``workers`` threads."""
    if cold:
        drop_page_cache(index)
    reader = RecordReader(index)
    start = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(reader.read, order.tolist(), chunksize=1):
            pass
    return time.perf_counter() - start


def main() -> None:
    """Run the benchmark and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("MASKRCNN_TEST_DATA", ROOT.parent / "shared" / "data"))
    )
    parser.add_argument("--folder", type=Path, help="directory on the storage to measure")
    parser.add_argument("--records", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        index = write_shards(payloads(arguments.data / "coco", Path(scratch)), Path(scratch), arguments.records)
        megabytes = int(index.lengths.sum()) / 1e6
        window = max(2, arguments.records * COCO_WINDOW // COCO_RECORDS)
        orders = {
            "stored order": np.arange(len(index)),
            f"window of {window}": window_shuffle(len(index), window, 1, 0),
            "permutation": permutation(len(index), 1, 0),
        }
        print(f"{len(index)} records, {megabytes:.0f} MB, {megabytes / len(index) * 1000:.0f} KB each")
        for cold in (True, False):
            for workers in WORKERS:
                seconds: dict[str, list[float]] = {name: [] for name in orders}
                for _ in range(arguments.repeats):
                    for name, order in orders.items():
                        seconds[name].append(epoch_seconds(index, order, workers, cold=cold))
                best = {name: min(found) for name, found in seconds.items()}
                source = "storage" if cold else "page cache"
                for name, one in best.items():
                    print(
                        f"{source}, {workers:2d} reads at once, {name:14s} {one:6.2f} s, {len(index) / one:6.0f} "
                        f"records/s, {megabytes / one:5.0f} MB/s, {one / best['stored order']:.2f} times stored"
                    )

        reader = RecordReader(index)
        start, checked = time.perf_counter(), 0.0
        for record in range(len(index)):
            payload = reader.read(record)
            begun = time.perf_counter()
            masked_crc32c(payload)
            checked += time.perf_counter() - begun
        whole = time.perf_counter() - start - checked
        print(
            f"checksum: {checked / len(index) * 1e6:.0f} us per record, {checked:.3f} s per epoch; "
            f"reading {whole:.2f} s"
        )


if __name__ == "__main__":
    main()
