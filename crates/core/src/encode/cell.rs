//! Typed cells: a value as a Parquet column of its type stores it, in bytes that can wait in a row's buffer.
//!
//! A cell is its length in four bytes, then its bytes; the length also tells null and *misfit* apart. A value that does
//! not fit its type becomes a misfit, which keeps the value's text and is never written out: so a bad value in a
//! reference row harms the records that would write it, and not the loading of the reference. Nothing is rounded, but to
//! the nearest `float64`.

use bytes::{Buf, Bytes};

use super::timestamp::micros;
use crate::decimal::Decimal;
use crate::pipeline::ColumnType;
use crate::value::{Kind, is_json_number, kind};

/// The length that means null.
const NULL: u32 = u32::MAX;
/// Set in the length of a misfit.
const MISFIT: u32 = 1 << 31;
/// Bytes of the length.
const HEAD: usize = 4;
/// So much of a misfit's text is kept, in characters.
const SHOWN: usize = 64;

/// What a cell holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Null,
    /// Whole numbers and floats little-endian, a bool as one byte, a decimal big-endian in its column's width.
    Value(Bytes),
    Misfit,
}

/// Appends a value's cell.
pub(super) fn append(column: ColumnType, raw: &str, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    let fits = match kind(raw) {
        Ok(Kind::Null) => {
            out.truncate(start);
            return append_null(out);
        }
        Ok(value) => append_bytes(column, &value, out).is_some(),
        Err(_) => false,
    };
    let length = u32::try_from(out.len() - start - HEAD).ok().filter(|length| fits && *length < MISFIT);
    let head = length.unwrap_or_else(|| {
        out.truncate(start + HEAD);
        append_shortened(raw, out);
        MISFIT | u32::try_from(out.len() - start - HEAD).unwrap_or(0)
    });
    for (to, from) in out.iter_mut().skip(start).zip(head.to_le_bytes()) {
        *to = from;
    }
}

/// Appends the cell of an absent value.
pub(super) fn append_null(out: &mut Vec<u8>) {
    out.extend_from_slice(&NULL.to_le_bytes());
}

/// The text of a cell's value, shortened, where it does not fit.
pub(super) fn misfit(cell: &[u8]) -> Option<&str> {
    let (head, text) = cell.split_first_chunk::<HEAD>()?;
    let head = u32::from_le_bytes(*head);
    (head != NULL && head & MISFIT != 0).then(|| std::str::from_utf8(text).unwrap_or_default())
}

/// Takes the first cell off a row; `None` if there is none whole.
pub(super) fn take(row: &mut Bytes) -> Option<Cell> {
    match row.try_get_u32_le().ok()? {
        NULL => Some(Cell::Null),
        head => {
            let length = usize::try_from(head & !MISFIT).ok().filter(|length| *length <= row.len())?;
            let bytes = row.split_to(length);
            Some(if head & MISFIT == 0 { Cell::Value(bytes) } else { Cell::Misfit })
        }
    }
}

/// The bytes of a decimal column's values: the fewest that hold every number of so many digits, and its sign.
pub(super) fn decimal_width(precision: u8) -> usize {
    let greatest = 10_i128.checked_pow(u32::from(precision)).map_or(i128::MAX, |above| above - 1);
    let unused = usize::try_from(greatest.leading_zeros() - 1).unwrap_or(0) / 8;
    size_of::<i128>() - unused
}

/// `None` if the value does not fit; `out` may have grown then.
fn append_bytes(column: ColumnType, value: &Kind<'_>, out: &mut Vec<u8>) -> Option<()> {
    match column {
        ColumnType::String => match value {
            Kind::Null => return None,
            Kind::Text(text) => out.extend_from_slice(text.as_bytes()),
            Kind::Plain(text) | Kind::Number(text) | Kind::Nested(text) => out.extend_from_slice(text.as_bytes()),
        },
        ColumnType::Int64 => {
            let text = number(value)?;
            // Most are plain whole numbers.
            let number = match text.parse::<i64>() {
                Ok(number) => number,
                Err(_) => i64::try_from(Decimal::parse(text)?.unscaled(19, 0)?).ok()?,
            };
            out.extend_from_slice(&number.to_le_bytes());
        }
        ColumnType::Float64 => {
            let number = number(value)?.parse::<f64>().ok().filter(|number| number.is_finite())?;
            out.extend_from_slice(&number.to_le_bytes());
        }
        ColumnType::Decimal { precision, scale } => {
            let bytes = Decimal::parse(number(value)?)?.unscaled(precision, scale)?.to_be_bytes();
            out.extend(bytes.iter().skip(bytes.len() - decimal_width(precision)));
        }
        ColumnType::Bool => match value {
            Kind::Plain("true") => out.push(1),
            Kind::Plain("false") => out.push(0),
            Kind::Text(text) if text == "true" => out.push(1),
            Kind::Text(text) if text == "false" => out.push(0),
            _ => return None,
        },
        ColumnType::Timestamp => match value {
            Kind::Text(text) => out.extend_from_slice(&micros(text)?.to_le_bytes()),
            _ => return None,
        },
    }
    Some(())
}

/// A number as written, or the text that is exactly one: CSV has no types.
fn number<'v>(value: &'v Kind<'_>) -> Option<&'v str> {
    match value {
        Kind::Number(text) => Some(text),
        Kind::Text(text) if is_json_number(text) => Some(text),
        _ => None,
    }
}

fn append_shortened(raw: &str, out: &mut Vec<u8>) {
    let end = raw.char_indices().nth(SHOWN).map_or(raw.len(), |(end, _)| end);
    out.extend_from_slice(raw.get(..end).unwrap_or_default().as_bytes());
    if end < raw.len() {
        out.extend_from_slice("…".as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(column: &str, raw: &str) -> Vec<u8> {
        let mut out = b"before".to_vec();
        append(ColumnType::parse(column).unwrap(), raw, &mut out);
        out.split_off(6)
    }

    fn value(column: &str, raw: &str) -> Option<Vec<u8>> {
        let mut row = Bytes::from(cell(column, raw));
        let taken = take(&mut row).unwrap();
        assert!(row.is_empty(), "a cell says where it ends");
        match taken {
            Cell::Null => panic!("{raw} is not null"),
            Cell::Value(bytes) => Some(bytes.to_vec()),
            Cell::Misfit => None,
        }
    }

    #[test]
    fn a_value_that_fits_has_the_bytes_of_its_column() {
        for (raw, number) in [
            ("7", 7),
            ("-0", 0),
            ("1.0", 1),
            ("1e2", 100),
            ("\"42\"", 42),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808.00", i64::MIN),
        ] {
            assert_eq!(value("int64", raw), Some(number.to_le_bytes().to_vec()), "{raw}");
        }
        for (raw, number) in [("1", 1.0), ("0.1", 0.1), ("1e308", 1e308), ("\"-2.5E-1\"", -0.25), ("1e-400", 0.0)] {
            assert_eq!(value("float64", raw), Some(f64::to_le_bytes(number).to_vec()), "{raw}");
        }
        for (raw, truth) in [("true", 1), ("false", 0), ("\"true\"", 1), (r#""f\u0061lse""#, 0)] {
            assert_eq!(value("bool", raw), Some(vec![truth]), "{raw}");
        }
        assert_eq!(value("decimal(4,2)", "-1.5"), Some(vec![0xff, 0x6a]));
        assert_eq!(value("decimal(5,2)", "\"1.5\""), Some(vec![0, 0, 150]));
        let nines = "9".repeat(38);
        assert_eq!(value("decimal(38,0)", &nines), Some((10_i128.pow(38) - 1).to_be_bytes().to_vec()));
        assert_eq!(value("timestamp", "\"1970-01-01T00:00:01Z\""), Some(1_000_000_i64.to_le_bytes().to_vec()));
    }

    #[test]
    fn text_is_the_text_of_csv_without_its_quotes() {
        for (raw, text) in [
            ("\"\"", ""),
            (r#""caf\u00e9\n""#, "café\n"),
            ("1.50", "1.50"),
            ("1E400", "1E400"),
            ("true", "true"),
            (r#"{"a": [1, null]}"#, r#"{"a": [1, null]}"#),
            ("[]", "[]"),
        ] {
            assert_eq!(value("string", raw), Some(text.as_bytes().to_vec()), "{raw}");
        }
    }

    #[test]
    fn what_does_not_fit_keeps_its_text() {
        let huge = format!("1{}", "0".repeat(400));
        for (column, raws) in [
            ("string", vec![r#""\ud800""#]),
            (
                "int64",
                vec!["1.5", "1e19", "9223372036854775808", "\"\"", "\"007\"", "\" 1\"", "true", "[1]", "{}", &huge],
            ),
            ("float64", vec!["1e309", "\"NaN\"", "\"1e309\"", "\"x\"", "false", &huge]),
            ("decimal(4,2)", vec!["100", "0.001", "\"1,5\"", "true", "1e999999999999999999999", &huge]),
            ("decimal(38,0)", vec!["100000000000000000000000000000000000000"]),
            ("bool", vec!["1", "0", "\"True\"", "\"\""]),
            ("timestamp", vec!["1545084650", "\"yesterday\"", "\"\"", "true"]),
        ] {
            for raw in raws {
                let cell = cell(column, raw);
                let shown: String = raw.chars().take(SHOWN).collect();
                let expected = if raw.len() > SHOWN { shown + "…" } else { shown };
                assert_eq!(misfit(&cell), Some(expected.as_str()), "{raw} as {column}");
                assert_eq!(value(column, raw), None);
            }
        }
    }

    #[test]
    fn null_is_neither_a_value_nor_a_misfit() {
        for column in ["string", "int64", "float64", "decimal(1,0)", "bool", "timestamp"] {
            let cell = cell(column, "null");
            assert_eq!(misfit(&cell), None);
            assert_eq!(take(&mut Bytes::from(cell)), Some(Cell::Null));
        }
        assert_eq!(misfit(&cell("string", "\"\"")), None);
        let mut torn = Bytes::from(cell("int64", "1")).slice(..7);
        assert_eq!(take(&mut torn), None);
        assert_eq!(take(&mut Bytes::new()), None);
    }

    #[test]
    fn a_decimal_is_as_wide_as_its_digits_need() {
        let widths = [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (9, 4), (10, 5), (18, 8), (19, 9), (28, 12), (38, 16)];
        for (precision, width) in widths {
            assert_eq!(decimal_width(precision), width, "{precision} digits");
        }
    }
}
