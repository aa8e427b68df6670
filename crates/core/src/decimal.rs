//! Decimal numbers taken apart digit by digit, so that none is ever rounded. The work is bounded by the text's length,
//! whatever its exponent says.

/// A decimal number: `0.<digits> × 10^exponent`, digits without zeros at either end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decimal {
    pub(crate) negative: bool,
    pub(crate) digits: Vec<u8>,
    pub(crate) exponent: i64,
}

impl Decimal {
    /// From a JSON number; `None` where the exponent is beyond 64 bits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = whole.bytes().chain(fraction.bytes());
        let leading = all.clone().take_while(|b| *b == b'0').count();
        let mut digits: Vec<u8> = all.skip(leading).collect();
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        if digits.is_empty() {
            return Some(Self { negative: false, digits, exponent: 0 });
        }
        let exponent = exponent.strip_prefix('+').unwrap_or(exponent).parse::<i64>().ok()?;
        let point = i64::try_from(whole.len()).ok()?.checked_sub(i64::try_from(leading).ok()?)?;
        Some(Self { negative, digits, exponent: exponent.checked_add(point)? })
    }

    /// The number × 10^`scale` where that is whole and has at most `precision` digits, 38 at most; else `None`.
    pub(crate) fn unscaled(&self, precision: u8, scale: u8) -> Option<i128> {
        if self.digits.is_empty() {
            return Some(0);
        }
        let whole_digits = usize::try_from(self.exponent.checked_add(i64::from(scale))?).ok()?;
        if whole_digits < self.digits.len() || whole_digits > usize::from(precision.min(38)) {
            return None;
        }
        let digits = self.digits.iter().copied().chain(std::iter::repeat(b'0')).take(whole_digits);
        let magnitude = digits.fold(0_i128, |number, digit| number * 10 + i128::from(digit - b'0'));
        Some(if self.negative { -magnitude } else { magnitude })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unscaled(text: &str, precision: u8, scale: u8) -> Option<i128> {
        Decimal::parse(text)?.unscaled(precision, scale)
    }

    #[test]
    fn a_number_is_exact_or_it_is_none() {
        let nines = "9".repeat(38);
        for (text, precision, scale, number) in [
            ("0", 1, 0, Some(0)),
            ("-0.000", 1, 1, Some(0)),
            ("0e99999999999999999999", 1, 0, Some(0)),
            ("1.5", 3, 2, Some(150)),
            ("1.50E+3", 4, 0, Some(1500)),
            ("1.50E+3", 3, 0, None),
            ("1500e-2", 3, 1, Some(150)),
            ("-12.340", 4, 2, Some(-1234)),
            ("12.345", 38, 2, None),
            ("0.01", 2, 2, Some(1)),
            ("0.001", 2, 2, None),
            ("99.99", 4, 2, Some(9999)),
            ("100", 4, 2, None),
            (nines.as_str(), 38, 0, Some(10_i128.pow(38) - 1)),
            ("1e37", 38, 0, Some(10_i128.pow(37))),
            ("1e38", 38, 0, None),
            ("1e300", 38, 0, None),
            ("1e-300", 38, 38, None),
            ("1e9223372036854775807", 38, 0, None),
            ("1e-9223372036854775808", 38, 38, None),
            ("1e99999999999999999999", 38, 0, None),
        ] {
            assert_eq!(unscaled(text, precision, scale), number, "{text} as decimal({precision},{scale})");
        }
        let long = format!("{}.{}", "1".repeat(36), "10".to_owned() + &"0".repeat(1000));
        assert_eq!(unscaled(&long, 38, 1), Some(10_i128.pow(37) / 9), "zeros at the end are no digits");
    }
}
