//! Nothing passes that another reader would take for a call that the policy denies, and no more of a limit than there
//! is, as that reader adds it up.

use gateway_core::caller::Caller;
use num_bigint::BigInt;
use serde_json::Value;

use crate::{MIDNIGHT, engine};

const POLICY: &str = r#"{"version":"1","default":"deny","hide":["admin_*"],"tools":{
    "look":{}, "look_*":{}, "admin_look":{},
    "pay":{"deny_if":[{"conditions":[{"path":"args.to","op":"eq","value":"mallory"}]}],
           "limits":[{"counter":"paid","window":"day","max":100,"scale":2,"cost":"args.amount"}]}}}"#;
const MOST: u64 = 10_000; // hundredths

/// Messages, one a line.
pub fn holds(data: &[u8]) {
    let engine = engine(POLICY);
    let caller = Caller::new("g".into(), "s".into(), None, None);
    let mut spent = BigInt::ZERO;
    for message in data.split(|byte| *byte == b'\n') {
        let decision = engine.decide(&caller, message, None, MIDNIGHT);
        assert_ne!(decision.code.slug(), "internal-error");
        if decision.allowed {
            let read: Value = serde_json::from_slice(message).expect("allowed, and no JSON");
            spent += passed(&read);
            assert!(spent <= BigInt::from(MOST), "more than there is");
        }
    }
}

/// What an allowed message spends, in hundredths.
fn passed(message: &Value) -> BigInt {
    assert!(message.is_object());
    let params = &message["params"];
    match message["method"].as_str() {
        Some("tools/call") => {}
        Some("ping" | "initialize" | "server/discover" | "logging/setLevel")
        | Some("completion/complete" | "subscriptions/listen") => return BigInt::ZERO,
        Some(method) => {
            let lists = method.ends_with("/list");
            assert!(
                lists || method.starts_with("notifications/"),
                "`{method}` passed"
            );
            return BigInt::ZERO;
        }
        None => {
            assert!(message.get("result").is_some() || message.get("error").is_some());
            return BigInt::ZERO;
        }
    }
    let name = params["name"].as_str().expect("a call has a name");
    assert!(
        name == "look" || name.starts_with("look_") || name == "pay",
        "`{name}` passed"
    );
    if name != "pay" {
        return BigInt::ZERO;
    }
    assert_ne!(params["arguments"]["to"], "mallory");
    let amount = params["arguments"]["amount"]
        .as_number()
        .expect("an amount")
        .to_string();
    let (mantissa, exponent) = amount.split_once(['e', 'E']).unwrap_or((&amount, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: BigInt = format!("{whole}{fraction}").parse().expect("digits");
    let exponent: i64 = exponent.parse().expect("bounded");
    let power = exponent - i64::try_from(fraction.len()).expect("short") + 2;
    let ten = |power: i64| BigInt::from(10).pow(u32::try_from(power).expect("small"));
    let exact = if power >= 0 {
        digits * ten(power)
    } else {
        digits / ten(-power)
    };
    assert!(exact >= BigInt::ZERO, "a negative amount passed");
    exact
}
