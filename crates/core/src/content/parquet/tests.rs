//! Files of every type and shape, sound and not.

use std::sync::Arc;

use ::parquet::basic::Compression;
use ::parquet::data_type::{
    BoolType, ByteArrayType, DataType, DoubleType, FixedLenByteArrayType, FloatType, Int32Type, Int64Type, Int96,
    Int96Type,
};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::properties::WriterVersion::{self, PARQUET_1_0, PARQUET_2_0};
use ::parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use ::parquet::schema::parser::parse_message_type;

use super::*;

type Fill = Box<dyn Fn(&mut SerializedColumnWriter<'_>)>;

/// A column's values and levels.
fn column<T: DataType>(values: Vec<T::T>, definitions: &'static [i16], repetitions: &'static [i16]) -> Fill {
    Box::new(move |writer| {
        let levels = |levels: &'static [i16]| (!levels.is_empty()).then_some(levels);
        writer.typed::<T>().write_batch(&values, levels(definitions), levels(repetitions)).unwrap();
    })
}

fn file_with(properties: WriterProperties, schema: &str, groups: &[Vec<Fill>]) -> Bytes {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
    for group in groups {
        let mut rows = writer.next_row_group().unwrap();
        for fill in group {
            let mut column = rows.next_column().unwrap().unwrap();
            fill(&mut column);
            column.close().unwrap();
        }
        rows.close().unwrap();
    }
    writer.into_inner().unwrap().into()
}

fn file(schema: &str, columns: Vec<Fill>) -> Bytes {
    file_with(WriterProperties::default(), schema, &[columns])
}

fn read_within(content: Bytes, limit: u64) -> Result<Vec<String>, ContentError> {
    let mut reader = Reader::new(content, limit)?;
    std::iter::from_fn(|| reader.next().transpose()).map(|row| row.map(|row| row.get().to_owned())).collect()
}

fn read(content: Bytes) -> Result<Vec<String>, ContentError> {
    read_within(content, u64::MAX)
}

/// The values of a column of one type, all there.
fn values<T: DataType>(kind: &str, values: Vec<T::T>) -> Result<Vec<String>, ContentError> {
    let rows = read(file(&format!("message m {{ required {kind}; }}"), vec![column::<T>(values, &[], &[])]))?;
    Ok(rows.iter().map(|row| row.strip_prefix("{\"v\":").unwrap().strip_suffix('}').unwrap().to_owned()).collect())
}

fn bytes<T: From<Vec<u8>>>(all: &[&[u8]]) -> Vec<T> {
    all.iter().map(|bytes| bytes.to_vec().into()).collect()
}

type FixedBytes = <FixedLenByteArrayType as DataType>::T;

fn fixed(all: &[&[u8]]) -> Vec<FixedBytes> {
    bytes::<::parquet::data_type::ByteArray>(all).into_iter().map(FixedBytes::from).collect()
}

#[test]
fn whole_numbers_have_their_width_and_sign() {
    assert_eq!(
        values::<Int32Type>("int32 v", vec![0, i32::MIN, i32::MAX]).unwrap(),
        ["0", "-2147483648", "2147483647"]
    );
    assert_eq!(values::<Int32Type>("int32 v (INTEGER(8,true))", vec![-1]).unwrap(), ["-1"]);
    for unsigned in ["INTEGER(32,false)", "UINT_32"] {
        assert_eq!(values::<Int32Type>(&format!("int32 v ({unsigned})"), vec![-1]).unwrap(), ["4294967295"]);
    }
    assert_eq!(values::<Int64Type>("int64 v", vec![i64::MIN]).unwrap(), ["-9223372036854775808"]);
    assert_eq!(values::<Int64Type>("int64 v (UINT_64)", vec![-1]).unwrap(), ["18446744073709551615"]);
    assert_eq!(values::<BoolType>("boolean v", vec![true, false]).unwrap(), ["true", "false"]);
}

#[test]
fn floating_point_numbers_are_the_shortest_text_and_what_json_lacks_is_a_string() {
    let floats = vec![0.1, 1.0, -0.0, f32::MAX, f32::NAN, f32::INFINITY];
    assert_eq!(
        values::<FloatType>("float v", floats).unwrap(),
        ["0.1", "1.0", "-0.0", "3.4028235e+38", "\"NaN\"", "\"Infinity\""]
    );
    let doubles = vec![0.1, 5e-324, 1e22, f64::NEG_INFINITY];
    let texts = values::<DoubleType>("double v", doubles.clone()).unwrap();
    assert_eq!(texts[0], "0.1");
    assert_eq!(texts[3], "\"-Infinity\"");
    assert!(texts.iter().zip(doubles).take(3).all(|(text, value)| text.parse::<f64>().unwrap() == value));
    let halves = fixed(&[&[0x00, 0x3e], &[0x01, 0x80], &[0xff, 0x7b], &[0x00, 0xfc], &[0x01, 0x7c]]);
    let kind = "fixed_len_byte_array(2) v (FLOAT16)";
    assert_eq!(
        values::<FixedLenByteArrayType>(kind, halves).unwrap(),
        ["1.5", "-5.9604645e-8", "65504.0", "\"-Infinity\"", "\"NaN\""]
    );
}

#[test]
fn decimals_keep_their_digits_and_scale() {
    let small = vec![150, -5, 0, 123_456_789];
    assert_eq!(values::<Int32Type>("int32 v (DECIMAL(9,2))", small).unwrap(), ["1.50", "-0.05", "0.00", "1234567.89"]);
    assert_eq!(values::<Int64Type>("int64 v (DECIMAL(18,0))", vec![-7]).unwrap(), ["-7"]);
    let greatest = 10_i128.pow(38) - 1;
    let whole = fixed(&[&greatest.to_be_bytes(), &(-greatest).to_be_bytes()]);
    let text = "99999999999999999999999999999999999.999";
    assert_eq!(
        values::<FixedLenByteArrayType>("fixed_len_byte_array(16) v (DECIMAL(38,3))", whole).unwrap(),
        [text.to_owned(), format!("-{text}")]
    );
    let long = bytes(&[&[], &[0xff], &[0, 0x80], &[[0xff; 20].as_slice(), &[0x7f]].concat()]);
    assert_eq!(values::<ByteArrayType>("binary v (DECIMAL(38,1))", long).unwrap(), ["0.0", "-0.1", "12.8", "-12.9"]);
    for beyond in [[1; 17].as_slice(), &[[0].as_slice(), &[0x80; 16]].concat()] {
        let error = values::<ByteArrayType>("binary v (DECIMAL(38,1))", bytes(&[&[1], beyond])).unwrap_err();
        assert!(error.to_string().starts_with("row 2, column v: a decimal of more than 38 digits"), "{error}");
    }
}

#[test]
fn text_is_text_and_other_bytes_are_base64() {
    for text in ["STRING", "UTF8", "ENUM", "JSON"] {
        let kind = format!("binary v ({text})");
        assert_eq!(
            values::<ByteArrayType>(&kind, bytes(&["é\"\n".as_bytes(), b""])).unwrap(),
            ["\"é\\\"\\n\"", "\"\""]
        );
    }
    assert_eq!(values::<ByteArrayType>("binary v", bytes(&[b"\xff\x00"])).unwrap(), ["\"/wA=\""]);
    assert_eq!(values::<FixedLenByteArrayType>("fixed_len_byte_array(1) v", fixed(&[b"a"])).unwrap(), ["\"YQ==\""]);
    let id = fixed(&[&[0x12; 16]]);
    assert_eq!(
        values::<FixedLenByteArrayType>("fixed_len_byte_array(16) v (UUID)", id).unwrap(),
        ["\"12121212-1212-1212-1212-121212121212\""]
    );
    let error = values::<ByteArrayType>("binary v (STRING)", bytes(&[b"\xff"])).unwrap_err().to_string();
    assert!(error.starts_with("row 1, column v: text that is not UTF-8"), "{error}");
}

#[test]
fn dates_times_and_timestamps_are_text_in_utc() {
    assert_eq!(values::<Int32Type>("int32 v (DATE)", vec![20_780, -1]).unwrap(), ["\"2026-11-23\"", "\"1969-12-31\""]);
    assert_eq!(values::<Int32Type>("int32 v (TIME_MILLIS)", vec![36_000_500]).unwrap(), ["\"10:00:00.5\""]);
    assert_eq!(values::<Int64Type>("int64 v (TIME(NANOS,false))", vec![1]).unwrap(), ["\"00:00:00.000000001\""]);
    let millis = [1_545_084_650_987, 0];
    let want = ["\"2018-12-17T22:10:50.987Z\"", "\"1970-01-01T00:00:00Z\""];
    for (kind, unit) in [
        ("TIMESTAMP_MILLIS", 1),
        ("TIMESTAMP(MILLIS,false)", 1),
        ("TIMESTAMP_MICROS", 1000),
        ("TIMESTAMP(MICROS,true)", 1000),
        ("TIMESTAMP(NANOS,true)", 1_000_000),
    ] {
        let units = millis.iter().map(|at| at * unit).collect();
        assert_eq!(values::<Int64Type>(&format!("int64 v ({kind})"), units).unwrap(), want, "{kind}");
    }
    let mut legacy = Int96::new();
    legacy.set_data(1, 0, 2_440_589);
    assert_eq!(values::<Int96Type>("int96 v", vec![legacy]).unwrap(), ["\"1970-01-02T00:00:00.000000001Z\""]);
    for error in [
        values::<Int64Type>("int64 v (TIMESTAMP_MILLIS)", vec![i64::MAX]),
        values::<Int32Type>("int32 v (DATE)", vec![i32::MIN]),
        values::<Int32Type>("int32 v (TIME_MILLIS)", vec![86_400_000]),
        values::<Int64Type>("int64 v (TIME_MICROS)", vec![-1]),
    ] {
        assert!(error.unwrap_err().to_string().starts_with("row 1, column v: a date or time outside"));
    }
}

#[test]
fn a_null_is_absent() {
    let schema =
        "message m { optional int32 a; required int32 b; optional binary c\"d (STRING); }".replace("c\"d", "c_d");
    let content = file(
        &schema,
        vec![
            column::<Int32Type>(vec![1], &[0, 1, 0], &[]),
            column::<Int32Type>(vec![1, 2, 3], &[], &[]),
            column::<ByteArrayType>(bytes(&[b"x"]), &[1, 0, 0], &[]),
        ],
    );
    assert_eq!(read(content).unwrap(), [r#"{"b":1,"c_d":"x"}"#, r#"{"a":1,"b":2}"#, r#"{"b":3}"#]);
}

#[test]
fn groups_lists_and_maps_nest() {
    let group = "optional group g { required int32 a; optional group h { optional int32 b; } }";
    let content = file(
        &format!("message m {{ {group} }}"),
        vec![column::<Int32Type>(vec![1, 2, 3], &[1, 0, 1, 1], &[]), column::<Int32Type>(vec![9], &[3, 0, 2, 1], &[])],
    );
    let want = [r#"{"g":{"a":1,"h":{"b":9}}}"#, "{}", r#"{"g":{"a":2,"h":{"b":null}}}"#, r#"{"g":{"a":3,"h":null}}"#];
    assert_eq!(read(content).unwrap(), want);

    // A list of lists: null, empty, of nothing but nulls, and two of them.
    let inner = "optional group element (LIST) { repeated group list { optional int32 element; } }";
    let lists = format!("message m {{ optional group l (LIST) {{ repeated group list {{ {inner} }} }} }}");
    let content = file(
        &lists,
        vec![column::<Int32Type>(vec![1, 2, 3], &[0, 1, 2, 3, 4, 5, 5, 2, 5], &[0, 0, 0, 0, 0, 2, 1, 1, 1])],
    );
    let want = ["{}", r#"{"l":[]}"#, r#"{"l":[null]}"#, r#"{"l":[[]]}"#, r#"{"l":[[null,1],[2],null,[3]]}"#];
    assert_eq!(read(content).unwrap(), want);

    let map =
        "optional group p (MAP) { repeated group key_value { required int32 key; optional binary value (UTF8); } }";
    let content = file(
        &format!("message m {{ {map} }}"),
        vec![
            column::<Int32Type>(vec![7, 8], &[2, 2, 1, 0], &[0, 1, 0, 0]),
            column::<ByteArrayType>(bytes(&[b"x"]), &[3, 2, 1, 0], &[0, 1, 0, 0]),
        ],
    );
    assert_eq!(read(content).unwrap(), [r#"{"p":{"7":"x","8":null}}"#, r#"{"p":{}}"#, "{}"]);
}

#[test]
fn every_layout_of_a_list_is_a_list() {
    for (layout, want) in [
        ("repeated int32 l", r#"{"l":[1,2]}"#),
        ("required group l (LIST) { repeated int32 element; }", r#"{"l":[1,2]}"#),
        ("required group l (LIST) { repeated group bag { required int32 e; } }", r#"{"l":[1,2]}"#),
        ("required group l (LIST) { repeated group array { required int32 e; } }", r#"{"l":[{"e":1},{"e":2}]}"#),
        ("required group l (LIST) { repeated group l_tuple { required int32 e; } }", r#"{"l":[{"e":1},{"e":2}]}"#),
        ("repeated group l { required int32 e; }", r#"{"l":[{"e":1},{"e":2}]}"#),
        ("required group l (MAP) { repeated group map { required int32 key; } }", r#"{"l":{"1":null,"2":null}}"#),
    ] {
        let content = file(
            &format!("message m {{ {layout}; }}").replace("};", "}"),
            vec![column::<Int32Type>(vec![1, 2], &[1, 1, 0], &[0, 1, 0])],
        );
        let empty = if layout.contains("MAP") { r#"{"l":{}}"# } else { r#"{"l":[]}"# };
        assert_eq!(read(content).unwrap(), [want, empty], "{layout}");
    }
}

#[test]
fn row_groups_follow_each_other_however_they_are_packed() {
    let schema = "message m { required int32 a; optional binary b (STRING); repeated int64 c; }";
    for (compression, dictionary, version) in [
        (Compression::UNCOMPRESSED, true, 1),
        (Compression::SNAPPY, false, 1),
        (Compression::GZIP(Default::default()), true, 2),
        (Compression::ZSTD(Default::default()), true, 1),
        (Compression::LZ4_RAW, false, 2),
    ] {
        let properties = WriterProperties::builder()
            .set_compression(compression)
            .set_dictionary_enabled(dictionary)
            .set_data_page_row_count_limit(700)
            .set_write_batch_size(100)
            .set_writer_version(if version == 1 { PARQUET_1_0 } else { PARQUET_2_0 });
        let group = |first: i32, count: i32| -> Vec<Fill> {
            let all = first..first + count;
            let texts = all.clone().map(|n| format!("text {}", n % 7).into_bytes().into()).collect::<Vec<_>>();
            vec![
                column::<Int32Type>(all.clone().collect(), &[], &[]),
                Box::new(move |writer| {
                    writer.typed::<ByteArrayType>().write_batch(&texts, Some(&vec![1; texts.len()]), None).unwrap();
                }),
                Box::new(move |writer| {
                    let values: Vec<i64> = all.clone().flat_map(|n| [n.into(), 0]).collect();
                    let (defs, reps) = (vec![1; values.len()], [0, 1].repeat(values.len() / 2));
                    writer.typed::<Int64Type>().write_batch(&values, Some(&defs), Some(&reps)).unwrap();
                }),
            ]
        };
        let content = file_with(properties.build(), schema, &[group(0, 3000), group(3000, 0), group(3000, 1500)]);
        let rows = read(content).unwrap();
        let want: Vec<_> = (0..4500).map(|n| format!(r#"{{"a":{n},"b":"text {}","c":[{n},0]}}"#, n % 7)).collect();
        assert!(rows == want, "{compression:?}: {} rows", rows.len());
    }
}

/// What is found wrong with two columns that come from a file each.
fn torn(schema: &str, [left, right]: [Vec<Fill>; 2]) -> String {
    let files = [left, right].map(|columns| SerializedFileReader::new(file(schema, columns)).unwrap());
    let root = schema::compile(files[0].metadata().file_metadata().schema_descr()).unwrap();
    let mut columns = [0, 1].map(|index| {
        let pages = files[index].get_row_group(0).unwrap().get_column_page_reader(index).unwrap();
        Column::new(files[index].metadata().file_metadata().schema_descr().column(index), pages)
    });
    let mut out = Vec::new();
    loop {
        match (Assembly { columns: &mut columns, out: &mut out }).row(&root) {
            Err(Fault { column, why: Why::Torn(reason) }) => return format!("{column}: {reason}"),
            other => assert!(other.is_ok()),
        }
    }
}

#[test]
fn columns_that_do_not_fit_together_are_refused() {
    let flat = "message m { required int32 a; required int32 b; }";
    let rows = |count| [0, 1].map(|_| column::<Int32Type>(vec![7; count], &[], &[])).into();
    assert_eq!(torn(flat, [rows(3), rows(2)]), "1: it ends before the last row");
    assert_eq!(torn(flat, [rows(2), rows(3)]), "0: it ends before the last row");

    let group = "message m { optional group g { optional int32 a; required int32 b; } }";
    let there = || {
        let b = column::<Int32Type>(vec![1], &[1], &[]);
        vec![column::<Int32Type>(vec![1], &[2], &[]), b]
    };
    let absent = || [0, 1].map(|_| column::<Int32Type>(vec![], &[0], &[])).into();
    assert_eq!(torn(group, [there(), absent()]), "1: no value where another column of its group has one");
    assert_eq!(torn(group, [absent(), there()]), "1: a value where another column of its group has none");

    let list = "message m { repeated group l { required int32 a; required int32 b; } }";
    let two = || [0, 1].map(|_| column::<Int32Type>(vec![1, 2], &[1, 1], &[0, 1])).into();
    let apart = || [0, 1].map(|_| column::<Int32Type>(vec![1, 2], &[1, 1], &[0, 0])).into();
    assert_eq!(torn(list, [two(), apart()]), "1: its repetitions differ from those of the other columns");
    assert_eq!(torn(list, [apart(), two()]), "1: its repetitions differ from those of the other columns");
}

#[test]
fn a_group_of_other_rows_than_declared_is_refused() {
    let content = file("message m { required int32 a; }", vec![column::<Int32Type>(vec![7; 3], &[], &[])]);
    for (rows, problem) in
        [(2, "row 3, column a: it goes on after the last row"), (4, "row 4, column a: it ends before")]
    {
        let mut reader = Reader::new(content.clone(), u64::MAX).unwrap();
        reader.next().unwrap();
        reader.left = rows - 1;
        let error = std::iter::repeat_with(|| reader.next()).take(9).find_map(Result::err).unwrap().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn a_footer_that_lacks_a_row_group_is_refused() {
    let group = || vec![column::<Int32Type>(vec![7; 3], &[], &[])];
    let properties = WriterProperties::default();
    let content = file_with(properties, "message m { required int32 a; }", &[group(), group()]);
    let metadata = SerializedFileReader::new(content).unwrap().metadata().clone();
    assert!(declared(&metadata).is_ok());
    let mut builder = metadata.into_builder();
    let first = builder.take_row_groups().swap_remove(0);
    let error = declared(&builder.add_row_group(first).build()).unwrap_err().to_string();
    assert!(error.contains("other rows than the file"), "{error}");
}

#[test]
fn a_column_has_no_more_entries_than_the_bound_has_bytes() {
    // Rows without a value are two bytes each, and a page of a billion nulls is a few.
    let content = file("message m { optional int32 a; }", vec![column::<Int32Type>(vec![], &[0; 1000], &[])]);
    assert!(read_within(content.clone(), 3000).is_ok());
    let error = read_within(content, 999).unwrap_err().to_string();
    assert!(error.contains("more values than the bound"), "{error}");
}

/// Three rows of text, of lists and of numbers, in as few bytes as can be.
fn small(version: WriterVersion) -> Bytes {
    let schema = "message m { optional binary a (STRING); repeated int32 b; required double c; }";
    let properties = WriterProperties::builder().set_writer_version(version).set_compression(Compression::SNAPPY);
    file_with(
        properties.build(),
        schema,
        &[vec![
            column::<ByteArrayType>(bytes(&[b"xx", b"xx"]), &[1, 0, 1], &[]),
            column::<Int32Type>(vec![1, 2], &[1, 1, 0, 0], &[0, 1, 0, 0]),
            column::<DoubleType>(vec![1.0, 2.0, 3.0], &[], &[]),
        ]],
    )
}

#[test]
fn a_file_that_is_cut_short_is_refused() {
    let content = small(PARQUET_1_0);
    assert_eq!(read(content.clone()).unwrap().len(), 3);
    for end in 0..content.len() {
        assert!(read(content.slice(..end)).is_err(), "cut at {end}");
    }
}

#[test]
fn an_altered_bit_loses_no_row_and_panics_nowhere() {
    for version in [PARQUET_1_0, PARQUET_2_0] {
        let content = small(version);
        for bit in 0..content.len() * 8 {
            let mut altered = content.to_vec();
            altered[bit / 8] ^= 1 << (bit % 8);
            if let Ok(rows) = read_within(altered.into(), 1 << 20) {
                assert_eq!(rows.len(), 3, "bit {bit}");
            }
        }
    }
}

#[test]
fn more_than_the_bound_is_refused_before_and_while_reading() {
    let content = file("message m { required double a; }", vec![column::<DoubleType>(vec![1.5; 1000], &[], &[])]);
    let lines = "{\"a\":1.5}\n".len() as u64 * 1000;
    assert_eq!(read_within(content.clone(), lines).unwrap().len(), 1000);
    let mut reader = Reader::new(content.clone(), lines - 1).unwrap();
    let rows = std::iter::from_fn(|| reader.next().transpose());
    let (rows, errors): (Vec<_>, Vec<_>) = rows.take(1000).partition(Result::is_ok);
    assert!(rows.len() == 999 && matches!(errors[..], [Err(ContentError::TooLarge { .. })]));
    let distinct = (0..1000).map(f64::from).collect();
    let content = file("message m { required double a; }", vec![column::<DoubleType>(distinct, &[], &[])]);
    assert!(matches!(Reader::new(content, 7999), Err(ContentError::TooLarge { limit: 7999 })));
}

#[test]
fn a_schema_without_one_meaning_is_refused() {
    let twice = "message m { optional group g { required int32 a; required int32 a; } }";
    let error = read(file(twice, [0, 1].map(|_| column::<Int32Type>(vec![1], &[1], &[])).into())).unwrap_err();
    assert_eq!(error.to_string(), "two columns are named \"g.a\"; rename one of them");
    let error = read(file("message m { }", vec![])).unwrap_err().to_string();
    assert_eq!(error, "column (all): it has no fields; leave it out");
    let deep = (0..70).fold("required int32 v;".to_owned(), |inside, _| format!("required group g {{ {inside} }}"));
    let error =
        read(file(&format!("message m {{ {deep} }}"), vec![column::<Int32Type>(vec![1], &[], &[])])).unwrap_err();
    assert!(error.to_string().contains("nested too deeply"), "{error}");
}
