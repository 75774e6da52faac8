//! Values against tables, and against fractions of big integers kept as digit strings.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::cmp::Ordering;

use proptest::prelude::*;

use super::{Decimal, Inexact, UnitError};

fn decimal(text: &str) -> Decimal {
    Decimal::parse(text.as_bytes()).unwrap()
}

#[test]
fn has_one_spelling_for_a_value() {
    for (text, expected) in [
        ("0", "0"),
        ("-0", "0"),
        ("-0.00e5", "0"),
        ("5", "5"),
        ("5.0", "5"),
        ("50e-1", "5"),
        ("0.05e2", "5"),
        ("-12.340", "-12.34"),
        ("100", "100"),
        ("1E2", "100"),
        ("123e3", "123000"),
        ("1e20", "100000000000000000000"),
        ("1e21", "1e+21"),
        ("1.5e300", "1.5e+300"),
        ("0.000001", "0.000001"),
        ("0.0000001", "1e-7"),
        ("-1.25e-10", "-1.25e-10"),
        ("0.1", "0.1"),
        ("9007199254740993.0e-1", "900719925474099.3"),
        ("5e-324", "5e-324"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
    ] {
        assert_eq!(decimal(text).to_string(), expected, "{text}");
    }
}

#[test]
fn refuses_what_readers_would_not_agree_on() {
    for text in [
        "9007199254740993",
        "-9007199254740993",
        "18446744073709551616",
        "123456789012345678",
        "0.30000000000000001",
        "0.1000000000000000055511151231257827",
        "1.00000000000000000001",
        "3e-324",
        "1e309",
        "1e-400",
        "1e99999",
        "1e99999999999999999999",
    ] {
        assert_eq!(Decimal::parse(text.as_bytes()), Err(Inexact), "{text}");
    }
    for text in [
        "9007199254740992",
        "9007199254740994",
        "0.30000000000000004",
        "1e23",
        "9007199254740993e5",
    ] {
        let double: f64 = text.parse().unwrap();
        assert_eq!(decimal(text), decimal(&format!("{double:e}")), "{text}");
    }
}

#[test]
fn refuses_what_is_no_number() {
    for text in [
        "", "-", "+1", ".5", "1.", "01", "1e", "1 ", " 1", "1x", "NaN", "\"1\"", "0x1", "1,5",
    ] {
        assert_eq!(Decimal::parse(text.as_bytes()), Err(Inexact), "{text}");
    }
    assert_eq!(Decimal::parse(b"1\xff"), Err(Inexact));
}

#[test]
fn counts_units_exactly() {
    use UnitError::{Negative, TooFine, TooLarge};
    for (text, scale, expected) in [
        ("0", 0, Ok(0)),
        ("0.00", 9, Ok(0)),
        ("-0", 0, Err(Negative)),
        ("-1", 2, Err(Negative)),
        ("-0.001", 2, Err(Negative)),
        ("1", 0, Ok(1)),
        ("1.0", 0, Ok(1)),
        ("1E2", 0, Ok(100)),
        ("0.5", 0, Err(TooFine)),
        ("0.5", 1, Ok(5)),
        ("12.34", 2, Ok(1_234)),
        ("12.34", 4, Ok(123_400)),
        ("12.345", 2, Err(TooFine)),
        ("1e-300", 255, Err(TooFine)),
        ("18446744073709550000", 0, Ok(18_446_744_073_709_550_000)),
        ("18446744073709552000", 0, Err(TooLarge)),
        ("1e19", 0, Ok(10_000_000_000_000_000_000)),
        ("1e20", 0, Err(TooLarge)),
        ("1e11", 9, Err(TooLarge)),
        ("1e300", 0, Err(TooLarge)),
    ] {
        assert_eq!(decimal(text).to_units(scale), expected, "{text} at {scale}");
    }
}

#[test]
fn units_come_back() {
    assert_eq!(Decimal::from_units(1_250, 2), decimal("12.5"));
    assert_eq!(
        Decimal::from_units(u64::MAX, 0).to_string(),
        "18446744073709551615"
    );
    assert_eq!(
        Decimal::from_units(u64::MAX, 19).to_string(),
        "1.8446744073709551615"
    );
    assert_eq!(Decimal::from_units(0, 9), Decimal::ZERO);
}

#[test]
fn knows_how_fine_it_is() {
    for (text, decimals) in [
        ("0", 0),
        ("100", 0),
        ("1e5", 0),
        ("0.5", 1),
        ("0.50", 1),
        ("1.234e1", 2),
        ("1e-300", 255),
    ] {
        assert_eq!(
            (decimal(text).decimals(), decimal(text).is_integer()),
            (decimals, decimals == 0),
            "{text}"
        );
    }
}

/// A number as sign, digits and exponent, the digits as long as they come.
#[derive(Clone, Debug)]
struct Long {
    negative: bool,
    whole: String,
    fraction: String,
    exponent: i32,
}

impl Long {
    fn text(&self) -> String {
        let sign = if self.negative { "-" } else { "" };
        let point = if self.fraction.is_empty() { "" } else { "." };
        format!(
            "{sign}{}{point}{}e{}",
            self.whole, self.fraction, self.exponent
        )
    }

    /// The value times 10^800, in digits without leading zeros: an integer, since no exponent goes below -400
    /// and no fraction is longer than that.
    fn scaled(&self) -> String {
        let zeros = usize::try_from(800 + self.exponent).unwrap() - self.fraction.len();
        let digits = format!("{}{}{}", self.whole, self.fraction, "0".repeat(zeros));
        digits.trim_start_matches('0').to_owned()
    }

    fn compare(&self, other: &Self) -> Ordering {
        let (a, b) = (self.scaled(), other.scaled());
        let magnitude = a.len().cmp(&b.len()).then_with(|| a.cmp(&b));
        match (
            self.negative && !a.is_empty(),
            other.negative && !b.is_empty(),
        ) {
            (false, false) => magnitude,
            (true, true) => magnitude.reverse(),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }
}

fn longs() -> impl Strategy<Value = Long> {
    let whole = prop_oneof!["0", "[1-9][0-9]{0,2}", "[1-9][0-9]{0,18}"];
    let fraction = prop_oneof!["", "0{0,4}[0-9]{0,3}", "[0-9]{0,18}"];
    let exponent = prop_oneof![4 => -3..3, 1 => -300..300];
    (any::<bool>(), whole, fraction, exponent).prop_map(|(negative, whole, fraction, exponent)| {
        Long {
            negative,
            whole,
            fraction,
            exponent,
        }
    })
}

proptest! {
    #[test]
    fn orders_as_numbers_do(a in longs(), b in longs()) {
        if let (Ok(x), Ok(y)) = (Decimal::parse(a.text().as_bytes()), Decimal::parse(b.text().as_bytes())) {
            prop_assert_eq!(x.cmp(&y), a.compare(&b), "{} {}", a.text(), b.text());
            // The same, moved to a neighbouring notation.
            let shifted = Long { exponent: a.exponent - 1, whole: a.whole.clone() + "0", ..a.clone() };
            if a.fraction.is_empty() && a.whole != "0" {
                prop_assert_eq!(Decimal::parse(shifted.text().as_bytes()), Ok(x));
            }
        }
    }

    #[test]
    fn is_exact_just_where_the_nearest_double_says_the_same(a in longs()) {
        let text = a.text();
        let double: f64 = text.parse().unwrap();
        if double.is_infinite() {
            prop_assert_eq!(Decimal::parse(text.as_bytes()), Err(Inexact));
            return Ok(());
        }
        let printed = format!("{:e}", double.abs());
        let (mantissa, exponent) = printed.split_once('e').unwrap();
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let nearest = Long {
            negative: a.negative,
            whole: whole.to_owned(),
            fraction: fraction.to_owned(),
            exponent: exponent.parse().unwrap(),
        };
        let same = a.compare(&nearest) == Ordering::Equal;
        prop_assert_eq!(Decimal::parse(text.as_bytes()).is_ok(), same, "{}", text);
    }

    #[test]
    fn display_reads_back_as_the_same_value(a in longs()) {
        if let Ok(value) = Decimal::parse(a.text().as_bytes()) {
            let shown = value.to_string();
            prop_assert_eq!(Decimal::parse(shown.as_bytes()), Ok(value));
            prop_assert_eq!(Decimal::parse(shown.as_bytes()).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn units_agree_with_digits(a in longs(), scale in 0u8..12) {
        if let Ok(value) = Decimal::parse(a.text().as_bytes()) {
            let scaled = a.scaled();
            let cut = scaled.len().saturating_sub(800 - usize::from(scale));
            let (units, rest) = scaled.split_at(cut);
            let expected = if a.negative {
                Err(UnitError::Negative)
            } else if rest.bytes().any(|digit| digit != b'0') {
                Err(UnitError::TooFine)
            } else if units.is_empty() {
                Ok(0)
            } else {
                units.parse().map_err(|_| UnitError::TooLarge)
            };
            prop_assert_eq!(value.to_units(scale), expected, "{}", a.text());
        }
    }

    #[test]
    fn units_round_trip(units: u64, scale in 0u8..20) {
        prop_assert_eq!(Decimal::from_units(units, scale).to_units(scale), Ok(units));
    }
}
