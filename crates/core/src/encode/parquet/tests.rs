//! What is written, read back by the library's own reader.

use parquet::basic::ConvertedType;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

use super::*;

fn columns(list: &[(&str, &str)]) -> Vec<(String, ColumnType)> {
    list.iter().map(|(name, kind)| ((*name).to_owned(), ColumnType::parse(kind).unwrap())).collect()
}

/// The cells of rows of raw values.
fn cells(columns: &[(String, ColumnType)], rows: &[&[&str]]) -> Vec<u8> {
    let mut out = Vec::new();
    for row in rows {
        assert_eq!(row.len(), columns.len());
        for ((_, kind), raw) in columns.iter().zip(*row) {
            cell::append(*kind, raw, &mut out);
        }
    }
    out
}

fn reader(file: &Bytes) -> SerializedFileReader<Bytes> {
    SerializedFileReader::new(file.clone()).unwrap()
}

fn read(file: &Bytes) -> Vec<Vec<(String, Field)>> {
    reader(file).get_row_iter(None).unwrap().map(|row| row.unwrap().into_columns()).collect()
}

fn all() -> Vec<(String, ColumnType)> {
    columns(&[
        ("id", "int64"),
        ("ratio", "float64"),
        ("cost", "decimal(10,2)"),
        ("wide", "decimal(38,4)"),
        ("open", "bool"),
        ("a name, with \"marks\"", "string"),
        ("at", "timestamp"),
    ])
}

#[test]
fn every_type_comes_back_as_it_went_in() {
    let columns = all();
    let wide = format!("-{}.9999", "9".repeat(34));
    let rows: [&[&str]; 3] = [
        &["-7", "0.1", "12.30", &wide, "true", "\"\"", "\"2018-12-17T22:10:50.123456Z\""],
        &["null"; 7],
        &["1e2", "-1E-5", "\"-0.01\"", "1", "\"false\"", "{\"a\": 1}", "\"1969-12-31 23:59:59\""],
    ];
    let file = file(&columns, cells(&columns, &rows)).unwrap();
    let read = read(&file);
    let names: Vec<_> = read[0].iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names, columns.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>());
    let decimal = |field: &Field| match field {
        Field::Decimal(decimal) => {
            let sign = if decimal.data()[0] & 0x80 == 0 { 0 } else { 0xff };
            let mut bytes = [sign; 16];
            bytes[16 - decimal.data().len()..].copy_from_slice(decimal.data());
            (i128::from_be_bytes(bytes), decimal.precision(), decimal.scale())
        }
        other => panic!("{other:?} is no decimal"),
    };
    let [first, second, third] = &read[..] else { panic!("{} rows", read.len()) };
    assert_eq!((&first[0].1, &third[0].1), (&Field::Long(-7), &Field::Long(100)));
    assert_eq!((&first[1].1, &third[1].1), (&Field::Double(0.1), &Field::Double(-1e-5)));
    assert_eq!((decimal(&first[2].1), decimal(&third[2].1)), ((1230, 10, 2), (-1, 10, 2)));
    assert_eq!((decimal(&first[3].1), decimal(&third[3].1)), ((1 - 10_i128.pow(38), 38, 4), (10_000, 38, 4)));
    assert_eq!((&first[4].1, &third[4].1), (&Field::Bool(true), &Field::Bool(false)));
    assert_eq!((&first[5].1, &third[5].1), (&Field::Str(String::new()), &Field::Str("{\"a\": 1}".into())));
    assert_eq!(first[6].1, Field::TimestampMicros(1_545_084_650_123_456));
    assert_eq!(third[6].1, Field::TimestampMicros(-1_000_000));
    assert!(second.iter().all(|(_, field)| *field == Field::Null), "{second:?}");
}

#[test]
fn the_schema_is_what_athena_reads() {
    let columns = all();
    let file = file(&columns, cells(&columns, &[&["null"; 7]])).unwrap();
    let reader = reader(&file);
    let metadata = reader.metadata().file_metadata();
    let schema = metadata.schema_descr();
    let physical: Vec<_> = schema.columns().iter().map(|column| column.physical_type()).collect();
    let decimal = Physical::FIXED_LEN_BYTE_ARRAY;
    let expected =
        [Physical::INT64, Physical::DOUBLE, decimal, decimal, Physical::BOOLEAN, Physical::BYTE_ARRAY, Physical::INT64];
    assert_eq!(physical, expected);
    assert_eq!((schema.column(2).type_length(), schema.column(3).type_length()), (5, 16));
    assert_eq!(schema.column(2).logical_type_ref(), Some(&LogicalType::decimal(2, 10)));
    assert_eq!(schema.column(5).logical_type_ref(), Some(&LogicalType::String));
    assert_eq!(schema.column(6).logical_type_ref(), Some(&LogicalType::timestamp(true, TimeUnit::MICROS)));
    // Older readers look at these instead.
    let converted: Vec<_> = [2, 5, 6].iter().map(|place| schema.column(*place).converted_type()).collect();
    assert_eq!(converted, [ConvertedType::DECIMAL, ConvertedType::UTF8, ConvertedType::TIMESTAMP_MICROS]);
    assert!(schema.columns().iter().all(|column| column.max_def_level() == 1), "every column may be null");
    let chunk = reader.metadata().row_group(0).column(0);
    assert_eq!(chunk.compression(), Compression::SNAPPY);
    assert_eq!((chunk.column_index_offset(), chunk.offset_index_offset()), (None, None), "no index of pages");
    assert_eq!(metadata.key_value_metadata(), None);
}

#[test]
fn statistics_tell_the_least_and_the_greatest() {
    let columns = columns(&[("n", "int64"), ("d", "decimal(5,1)")]);
    let file = file(&columns, cells(&columns, &[&["3", "0.5"], &["-2", "-1.5"], &["null", "null"]])).unwrap();
    let reader = reader(&file);
    let group = reader.metadata().row_group(0);
    let bounds = |place: usize| {
        let statistics = group.column(place).statistics().unwrap();
        (statistics.min_bytes_opt().unwrap().to_vec(), statistics.max_bytes_opt().unwrap().to_vec())
    };
    assert_eq!(bounds(0), ((-2_i64).to_le_bytes().to_vec(), 3_i64.to_le_bytes().to_vec()));
    assert_eq!(bounds(1), (vec![0xff, 0xff, 0xf1], vec![0, 0, 5]), "signed, though they are bytes");
    assert_eq!(group.column(0).statistics().unwrap().null_count_opt(), Some(1));
}

#[test]
fn rows_beyond_the_bounds_begin_another_row_group() {
    let columns = columns(&[("n", "int64"), ("s", "string")]);
    let numbers: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    let rows: Vec<[&str; 2]> = numbers.iter().map(|n| [n.as_str(), "\"four\""]).collect();
    let rows: Vec<&[&str]> = rows.iter().map(<[&str; 2]>::as_slice).collect();
    let sizes = |bounds| {
        let file = file_within(&columns, cells(&columns, &rows), bounds).unwrap();
        let ids = read(&file).into_iter().map(|row| row[0].1.clone()).collect::<Vec<_>>();
        assert_eq!(ids, (0..10).map(Field::Long).collect::<Vec<_>>());
        reader(&file).metadata().row_groups().iter().map(|group| group.num_rows()).collect::<Vec<_>>()
    };
    assert_eq!(sizes(BOUNDS), [10]);
    assert_eq!(sizes(Bounds { rows: 4, ..BOUNDS }), [4, 4, 2]);
    assert_eq!(sizes(Bounds { rows: 5, ..BOUNDS }), [5, 5]);
    // A row is 12 bytes of number and 8 of text.
    assert_eq!(sizes(Bounds { bytes: 60, ..BOUNDS }), [3, 3, 3, 1]);
    assert_eq!(sizes(Bounds { bytes: 1, ..BOUNDS }), [1; 10]);
}

#[test]
fn the_same_rows_give_the_same_bytes() {
    let columns = columns(&[("s", "string"), ("d", "decimal(38,0)")]);
    let texts: Vec<String> = (0..3000).map(|n| format!("\"{}\"", n % 700)).collect();
    let rows: Vec<[&str; 2]> = texts.iter().map(|text| [text.as_str(), text.trim_matches('"')]).collect();
    let rows: Vec<&[&str]> = rows.iter().map(<[&str; 2]>::as_slice).collect();
    let cells = cells(&columns, &rows);
    let first = file(&columns, cells.clone()).unwrap();
    assert_eq!(first, file(&columns, cells).unwrap());
    assert!(first.len() < 40_000, "{} bytes: texts that repeat are in a dictionary", first.len());
}

#[test]
fn a_buffer_that_is_no_rows_is_refused() {
    let columns = columns(&[("n", "int64")]);
    let mut torn = cells(&columns, &[&["1"]]);
    torn.pop();
    assert!(matches!(file(&columns, torn), Err(EncodeError::Torn)));
    assert!(matches!(file(&columns, cells(&columns, &[&["\"x\""]])), Err(EncodeError::Torn)));
}
