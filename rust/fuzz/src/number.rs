//! Decimals against big integers: order, equality, units.

use gateway_core::decimal::{Decimal, UnitError};
use gateway_core::json::{Bounds, Index, Kind};
use num_bigint::BigInt;

/// Two numbers with a blank between them.
pub fn holds(data: &[u8]) {
    let mut texts = data.splitn(2, |byte| *byte == b' ');
    let (Some(one), Some(two)) = (texts.next(), texts.next()) else {
        return;
    };
    let (Some(one), Some(two)) = (read(one), read(two)) else {
        return;
    };
    assert_eq!(
        one.0.cmp(&two.0),
        ordered(&one.1, &two.1),
        "{} {}",
        one.0,
        two.0
    );
    for scale in 0..=9 {
        units(&one, scale);
    }
}

/// An integer and the power of ten that it is to be multiplied by.
type Exact = (BigInt, i64);

fn read(text: &[u8]) -> Option<(Decimal, Exact)> {
    let decimal = Decimal::parse(text).ok()?;
    let mut index = Index::default();
    let number = index.scan(text, &Bounds::default());
    assert!(
        number.is_ok_and(|value| value.kind() == Kind::Number),
        "no number of JSON"
    );
    let text = std::str::from_utf8(text).expect("a number is ASCII");
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: BigInt = format!("{whole}{fraction}").parse().expect("digits");
    if digits == BigInt::ZERO {
        return Some((decimal, (digits, 0))); // whatever its exponent says
    }
    let exponent: i64 = exponent.parse().expect("bounded by what a double holds");
    let exponent = exponent - i64::try_from(fraction.len()).expect("short");
    Some((decimal, (digits, exponent)))
}

fn ordered(one: &Exact, two: &Exact) -> std::cmp::Ordering {
    let least = one.1.min(two.1);
    let scaled = |(digits, exponent): &Exact| digits * power(exponent - least);
    scaled(one).cmp(&scaled(two))
}

fn units((decimal, (digits, exponent)): &(Decimal, Exact), scale: u8) {
    let power_of_ten = exponent + i64::from(scale);
    match decimal.to_units(scale) {
        Ok(units) => {
            let exact: Exact = (BigInt::from(units), 0);
            assert!(ordered(&exact, &(digits.clone(), power_of_ten)).is_eq());
            assert_eq!(Decimal::from_units(units, scale), *decimal);
        }
        Err(UnitError::Negative) => assert!(*digits < BigInt::ZERO || *digits == BigInt::ZERO),
        Err(UnitError::TooLarge) => {
            let most: Exact = (BigInt::from(u64::MAX), 0);
            assert!(ordered(&(digits.clone(), power_of_ten), &most).is_gt());
        }
        Err(_) => assert!(power_of_ten < 0 && digits % power(-power_of_ten) != BigInt::ZERO),
    }
}

fn power(exponent: i64) -> BigInt {
    BigInt::from(10).pow(u32::try_from(exponent).expect("small"))
}
