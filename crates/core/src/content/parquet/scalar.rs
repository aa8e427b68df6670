//! One value as JSON. Numbers keep all their digits, decimals their scale; a floating-point number is the shortest text
//! that reads back equal. JSON has no NaN and no infinity: they are the strings `NaN`, `Infinity` and `-Infinity`, as in
//! Protocol Buffers' JSON. Dates, times and timestamps are RFC 3339 text, timestamps in UTC (one without a zone is taken
//! as UTC). Bytes that are not said to be text are base64.

use std::io::Write;

use ::parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type as Physical};
use ::parquet::schema::types::ColumnDescriptor;
use jiff::civil::{Date, Time};

/// A value as it is stored.
#[derive(Clone, Copy, Debug)]
pub(super) enum Raw<'a> {
    Bool(bool),
    Int32(i32),
    Int64(i64),
    /// Nanoseconds of a Julian day.
    Int96 {
        nanos: u64,
        day: u32,
    },
    Float(f32),
    Double(f64),
    Bytes(&'a [u8]),
}

/// What a column's values mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// As stored; bytes are base64.
    Plain,
    Unsigned,
    Decimal {
        scale: i32,
    },
    Float16,
    Text,
    Uuid,
    Date,
    /// Since midnight, in units of so many nanoseconds.
    Time(i64),
    /// Since the Unix epoch, in units of so many nanoseconds.
    Timestamp(i64),
}

const JULIAN_DAY_OF_EPOCH: i128 = 2_440_588;
const NANOS_A_DAY: i128 = 86_400_000_000_000;
/// The greatest precision that any engine gives a decimal, which is what 16 bytes hold.
const DECIMAL_DIGITS: i32 = 38;

const OUT_OF_RANGE: &str =
    "a date or time outside the years -9999 to 9999, or no time of day; correct it, or drop the column";

impl Meaning {
    pub(super) fn of(column: &ColumnDescriptor) -> Self {
        let unit = |unit: TimeUnit| match unit {
            TimeUnit::MILLIS => 1_000_000,
            TimeUnit::MICROS => 1000,
            TimeUnit::NANOS => 1,
        };
        match column.logical_type_ref() {
            Some(LogicalType::Integer(kind)) if !kind.is_signed => return Self::Unsigned,
            Some(LogicalType::Decimal(kind)) => return Self::Decimal { scale: kind.scale },
            Some(LogicalType::Float16) => return Self::Float16,
            Some(LogicalType::String | LogicalType::Enum | LogicalType::Json) => return Self::Text,
            Some(LogicalType::Uuid) => return Self::Uuid,
            Some(LogicalType::Date) => return Self::Date,
            Some(LogicalType::Time(kind)) => return Self::Time(unit(kind.unit)),
            Some(LogicalType::Timestamp(kind)) => return Self::Timestamp(unit(kind.unit)),
            Some(LogicalType::Integer(_)) => return Self::Plain,
            _ => {}
        }
        match column.converted_type() {
            ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64 => {
                Self::Unsigned
            }
            ConvertedType::DECIMAL => Self::Decimal { scale: column.type_scale() },
            ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON => Self::Text,
            ConvertedType::DATE => Self::Date,
            ConvertedType::TIME_MILLIS => Self::Time(1_000_000),
            ConvertedType::TIME_MICROS => Self::Time(1000),
            ConvertedType::TIMESTAMP_MILLIS => Self::Timestamp(1_000_000),
            ConvertedType::TIMESTAMP_MICROS => Self::Timestamp(1000),
            _ if column.physical_type() == Physical::INT96 => Self::Timestamp(1),
            _ => Self::Plain,
        }
    }

    /// Appends a value.
    ///
    /// # Errors
    /// Why it has no JSON form, and the mend.
    pub(super) fn append(self, raw: Raw<'_>, out: &mut Vec<u8>) -> Result<(), &'static str> {
        match (self, raw) {
            (Self::Plain, Raw::Bool(value)) => json(&value, out),
            (Self::Plain, Raw::Int32(value)) => json(&value, out),
            (Self::Plain, Raw::Int64(value)) => json(&value, out),
            (Self::Plain, Raw::Float(value)) if value.is_finite() => json(&value, out),
            (Self::Plain, Raw::Double(value)) if value.is_finite() => json(&value, out),
            (Self::Plain, Raw::Float(value)) => json(not_finite(value.into()), out),
            (Self::Plain, Raw::Double(value)) => json(not_finite(value), out),
            (Self::Plain, Raw::Bytes(bytes)) => json(&base64_simd::STANDARD.encode_to_string(bytes), out),
            (Self::Unsigned, Raw::Int32(value)) => json(&value.cast_unsigned(), out),
            (Self::Unsigned, Raw::Int64(value)) => json(&value.cast_unsigned(), out),
            (Self::Decimal { scale }, Raw::Int32(value)) => decimal(value.into(), scale, out),
            (Self::Decimal { scale }, Raw::Int64(value)) => decimal(value.into(), scale, out),
            (Self::Decimal { scale }, Raw::Bytes(bytes)) => decimal(unscaled(bytes)?, scale, out),
            (Self::Float16, Raw::Bytes(&[low, high])) => {
                let value = from_half(u16::from_le_bytes([low, high]));
                if value.is_finite() { json(&value, out) } else { json(not_finite(value.into()), out) }
            }
            (Self::Text, Raw::Bytes(bytes)) => {
                let text = std::str::from_utf8(bytes);
                json(text.map_err(|_| "text that is not UTF-8; store it as UTF-8, or as binary")?, out)
            }
            (Self::Uuid, Raw::Bytes(bytes)) => uuid(bytes, out),
            (Self::Date, Raw::Int32(days)) => {
                let date =
                    jiff::Span::new().try_days(days).and_then(|days| Date::constant(1970, 1, 1).checked_add(days));
                show(date.map_err(|_| OUT_OF_RANGE)?, out)
            }
            (Self::Time(unit), Raw::Int32(units)) => time(i128::from(units) * i128::from(unit), out),
            (Self::Time(unit), Raw::Int64(units)) => time(i128::from(units) * i128::from(unit), out),
            (Self::Timestamp(unit), Raw::Int64(units)) => timestamp(i128::from(units) * i128::from(unit), out),
            (Self::Timestamp(_), Raw::Int96 { nanos, day }) => {
                timestamp((i128::from(day) - JULIAN_DAY_OF_EPOCH) * NANOS_A_DAY + i128::from(nanos), out)
            }
            _ => Err("a value that is not of its column's type; write the file anew"),
        }
    }
}

fn json<T: serde::Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), &'static str> {
    serde_json::to_writer(out, value).map_err(|_| "a value that cannot be written as JSON; drop the column")
}

/// As a string without escapes.
fn show(value: impl std::fmt::Display, out: &mut Vec<u8>) -> Result<(), &'static str> {
    write!(out, "\"{value}\"").map_err(|_| "a value that cannot be written as JSON; drop the column")
}

fn not_finite(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

/// A whole number from its bytes in two's complement, greatest first.
fn unscaled(bytes: &[u8]) -> Result<i128, &'static str> {
    let sign = if bytes.first().is_some_and(|first| first & 0x80 != 0) { 0xff } else { 0 };
    let mut whole = [sign; 16];
    let extra = bytes.len().saturating_sub(whole.len());
    let (before, digits) = bytes.split_at_checked(extra).unwrap_or_default();
    for (to, from) in whole.iter_mut().rev().zip(digits.iter().rev()) {
        *to = *from;
    }
    let value = i128::from_be_bytes(whole);
    if before.iter().any(|byte| *byte != sign) || (value < 0) != (sign != 0) {
        return Err("a decimal of more than 38 digits; store it with fewer, or as text");
    }
    Ok(value)
}

fn decimal(unscaled: i128, scale: i32, out: &mut Vec<u8>) -> Result<(), &'static str> {
    let scale = usize::try_from(scale).ok().filter(|_| scale <= DECIMAL_DIGITS);
    let scale = scale.ok_or("a decimal whose scale is not 0 to 38; store it with fewer digits, or as text")?;
    if unscaled < 0 {
        out.push(b'-');
    }
    let digits = format!("{:0width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    out.extend_from_slice(whole.as_bytes());
    if scale > 0 {
        out.push(b'.');
        out.extend_from_slice(fraction.as_bytes());
    }
    Ok(())
}

/// IEEE 754's 16 bits; every one of them is an `f32` too.
fn from_half(bits: u16) -> f32 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f32::from(bits & 0x3ff) / 1024.0);
    let magnitude = match exponent {
        0 => fraction * 2_f32.powi(-14),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1.0 + fraction) * 2_f32.powi(exponent - 15),
    };
    if bits & 0x8000 == 0 { magnitude } else { -magnitude }
}

fn uuid(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    if bytes.len() != 16 {
        return Err("a UUID of other than 16 bytes; write the file anew");
    }
    let mut text = hex::encode(bytes);
    for dash in [20, 16, 12, 8] {
        text.insert(dash, '-');
    }
    show(text, out)
}

fn time(nanos: i128, out: &mut Vec<u8>) -> Result<(), &'static str> {
    let nanos = i64::try_from(nanos).ok().filter(|nanos| (0..NANOS_A_DAY).contains(&i128::from(*nanos)));
    let since_midnight = jiff::SignedDuration::from_nanos(nanos.ok_or(OUT_OF_RANGE)?);
    show(Time::midnight().checked_add(since_midnight).map_err(|_| OUT_OF_RANGE)?, out)
}

fn timestamp(nanos: i128, out: &mut Vec<u8>) -> Result<(), &'static str> {
    show(jiff::Timestamp::from_nanosecond(nanos).map_err(|_| OUT_OF_RANGE)?, out)
}
