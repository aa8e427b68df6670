"""Reads every Parquet file below a folder with DuckDB and with pyarrow, and prints what each sees, as JSON.

    read_parquet.py FOLDER PARTITION

`files`: by path below the folder and reader, the columns' names and types, and the rows; decimals are text, points in
time microseconds since 1970. `partitions`: by reader, how many rows the folder as one Hive-partitioned table has for each
value of the column PARTITION.
"""

import json
import pathlib
import sys

import duckdb
import pyarrow
import pyarrow.dataset
import pyarrow.parquet

database = duckdb.connect()


def by_duckdb(path):
    source = f"read_parquet('{path}', hive_partitioning = false)"
    columns = [row[:2] for row in database.sql(f"DESCRIBE SELECT * FROM {source}").fetchall()]
    # A value with a time zone would come back in that of the machine.
    shown = [
        f'epoch_us("{name}")' if kind == "TIMESTAMP WITH TIME ZONE" else f'"{name}"' for name, kind in columns
    ]
    rows = database.sql(f"SELECT {', '.join(shown)} FROM {source}").fetchall()
    return {"columns": columns, "rows": rows}


def by_pyarrow(path):
    table = pyarrow.parquet.ParquetFile(path).read()
    columns = [(field.name, str(field.type)) for field in table.schema]

    def values(column):
        instant = pyarrow.types.is_timestamp(column.type)
        return (column.cast(pyarrow.int64()) if instant else column).to_pylist()

    return {"columns": columns, "rows": list(zip(*(values(column) for column in table.columns)))}


def main(folder, partition):
    paths = sorted(pathlib.Path(folder).rglob("*.parquet"))
    files = {
        str(path.relative_to(folder)): {"duckdb": by_duckdb(path), "pyarrow": by_pyarrow(path)} for path in paths
    }
    whole = f"read_parquet('{folder}/**/*.parquet', hive_partitioning = true, hive_types_autocast = false)"
    counts = database.sql(f"SELECT {partition}, count(*) FROM {whole} GROUP BY 1").fetchall()
    text = pyarrow.schema([(partition, pyarrow.string())])
    hive = pyarrow.dataset.partitioning(text, flavor="hive")
    table = pyarrow.dataset.dataset([str(path) for path in paths], partitioning=hive, partition_base_dir=folder)
    counted = table.to_table(columns=[partition]).group_by(partition).aggregate([([], "count_all")])
    partitions = {"duckdb": counts, "pyarrow": [list(row.values()) for row in counted.to_pylist()]}
    partitions = {reader: sorted(rows, key=str) for reader, rows in partitions.items()}
    print(json.dumps({"files": files, "partitions": partitions}, default=str))


main(*sys.argv[1:])
