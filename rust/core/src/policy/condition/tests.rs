//! Every operator against every type of value, and the grammar of paths.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use super::Truth::{self, False, Indeterminate, True};
use super::{ArgPath, Condition, Lookup, Op, Operand};
use crate::decimal::Decimal;
use crate::json::{Bounds, Index};

fn number(text: &str) -> Operand {
    Operand::Number(Decimal::parse(text.as_bytes()).unwrap())
}

fn text(text: &str) -> Operand {
    Operand::Text(text.to_owned())
}

fn eval(path: &str, op: Op, operand: &Operand, args: &str) -> Truth {
    let condition = Condition {
        path: ArgPath::parse(path).unwrap(),
        op,
        operand: operand.clone(),
    };
    let mut index = Index::default();
    condition.eval(Some(
        index.scan(args.as_bytes(), &Bounds::default()).unwrap(),
    ))
}

/// One value under `args.a`.
fn of(value: &str, op: Op, operand: &Operand) -> Truth {
    eval("args.a", op, operand, &format!(r#"{{"a":{value}}}"#))
}

#[test]
fn names_are_told_apart() {
    for op in Op::ALL {
        assert_eq!(Op::from_name(op.name()), Some(op));
        assert_eq!(op.to_string(), op.name());
    }
    assert_eq!(Op::from_name("EQ"), None);
}

#[test]
fn numbers_compare_by_exact_value() {
    let five = number("5");
    for (value, order) in [
        ("4.9999", -1),
        ("5", 0),
        ("5.0", 0),
        ("50e-1", 0),
        ("5.0001", 1),
        ("-5", -1),
        ("1e300", 1),
        ("-0", -1),
    ] {
        for (op, expected) in [
            (Op::Eq, order == 0),
            (Op::Neq, order != 0),
            (Op::Lt, order < 0),
            (Op::Lte, order <= 0),
            (Op::Gt, order > 0),
            (Op::Gte, order >= 0),
        ] {
            assert_eq!(of(value, op, &five), expected.into(), "{value} {op} 5");
        }
    }
    assert_eq!(of("0.1", Op::Eq, &number("0.10")), True);
    assert_eq!(of("0.1", Op::Lt, &number("0.10000000000000002")), True);
}

#[test]
fn what_a_server_might_read_otherwise_is_indeterminate() {
    let ops = [Op::Eq, Op::Neq, Op::Lt, Op::Lte, Op::Gt, Op::Gte];
    for value in [
        "\"5\"",
        "true",
        "null",
        "[5]",
        "{}",
        "9007199254740993",
        "0.30000000000000001",
    ] {
        for op in ops {
            assert_eq!(of(value, op, &number("5")), Indeterminate, "{value} {op} 5");
        }
        for op in [Op::In, Op::NotIn] {
            let list = Operand::List(vec![number("5"), number("6")]);
            assert_eq!(of(value, op, &list), Indeterminate, "{value} {op} [5, 6]");
        }
    }
    for value in ["5", "true", "null", "[\"x\"]", "{}"] {
        for op in ops.into_iter().chain([Op::Regex]) {
            let operand = if op == Op::Regex {
                Operand::pattern("x").unwrap()
            } else {
                text("x")
            };
            assert_eq!(of(value, op, &operand), Indeterminate, "{value} {op} x");
        }
    }
}

#[test]
fn texts_compare_by_code_point() {
    assert_eq!(of(r#""b""#, Op::Gt, &text("a")), True);
    assert_eq!(of(r#""B""#, Op::Lt, &text("a")), True);
    assert_eq!(of(r#""\uFF5E""#, Op::Lt, &text("\u{1f600}")), True);
    assert_eq!(of(r#""\uD83D\uDE00""#, Op::Gte, &text("\u{1f600}")), True);
    assert_eq!(of(r#""\u0061""#, Op::Eq, &text("a")), True);
    assert_eq!(of(r#""e\u0301""#, Op::Eq, &text("\u{e9}")), False);
    assert_eq!(of(r#""a ""#, Op::Neq, &text("a")), True);
}

#[test]
fn other_scalars_are_equal_or_not() {
    for (value, operand, expected) in [
        ("true", Operand::Bool(true), True),
        ("false", Operand::Bool(true), False),
        ("null", Operand::Null, True),
        ("0", Operand::Bool(false), Indeterminate),
        ("false", Operand::Null, Indeterminate),
        ("null", text("null"), Indeterminate),
    ] {
        assert_eq!(of(value, Op::Eq, &operand), expected, "{value}");
        assert_eq!(of(value, Op::Neq, &operand), expected.negated(), "{value}");
        assert_eq!(of(value, Op::Gt, &operand), Indeterminate, "{value}");
    }
}

#[test]
fn a_list_is_searched() {
    let list = Operand::List(vec![text("a"), text("b")]);
    for (value, expected) in [(r#""b""#, True), (r#""c""#, False), ("1", Indeterminate)] {
        assert_eq!(of(value, Op::In, &list), expected, "{value}");
        assert_eq!(of(value, Op::NotIn, &list), expected.negated(), "{value}");
    }
    let mixed = Operand::List(vec![number("1"), text("a")]);
    assert_eq!(of(r#""a""#, Op::In, &mixed), True);
    assert_eq!(of(r#""1""#, Op::In, &mixed), Indeterminate);
    assert_eq!(of("{}", Op::In, &Operand::List(vec![])), False);
}

#[test]
fn contains_looks_into_texts_and_arrays() {
    for (value, operand, expected) in [
        (r#""rm -rf""#, text("-rf"), True),
        (r#""rm \u002drf""#, text("-rf"), True),
        (r#""rm""#, text("-rf"), False),
        (r#""rm""#, text(""), True),
        (r#""5""#, number("5"), Indeterminate),
        (r#"["a","b"]"#, text("b"), True),
        (r#"["a","b"]"#, text("c"), False),
        (r#"["a",5]"#, text("c"), Indeterminate),
        (r#"[5,"c"]"#, text("c"), True),
        ("[]", text("c"), False),
        (r#"[["c"]]"#, text("c"), Indeterminate),
        ("[1.0]", number("1"), True),
        (r#"{"c":1}"#, text("c"), Indeterminate),
        ("null", text("c"), Indeterminate),
    ] {
        assert_eq!(
            of(value, Op::Contains, &operand),
            expected,
            "{value} contains {operand:?}"
        );
    }
}

#[test]
fn a_regex_finds_anywhere_in_texts_of_bounded_length() {
    let pattern = Operand::pattern("b+c").unwrap();
    assert_eq!(of(r#""abbcd""#, Op::Regex, &pattern), True);
    assert_eq!(of(r#""a\u0062cd""#, Op::Regex, &pattern), True);
    assert_eq!(of(r#""acd""#, Op::Regex, &pattern), False);
    for (filler, bytes) in [("a", 1), (r"\u0061", 1), ("é", 2), (r"\u20ac", 3)] {
        let fits = filler.repeat((64 << 10) / bytes);
        assert_eq!(
            of(&format!("\"{fits}\""), Op::Regex, &pattern),
            False,
            "{filler}"
        );
        assert_eq!(
            of(&format!("\"{fits}{filler}\""), Op::Regex, &pattern),
            Indeterminate,
            "{filler}"
        );
    }
    assert!(Operand::pattern("(?=x)").is_err());
    assert!(Operand::pattern(r"(a)\1").is_err());
    assert!(Operand::pattern(r"((\w{100}){100}){100}").is_err());
}

#[test]
fn what_is_absent_is_false_but_for_three() {
    let cases = [
        (Op::Eq, number("1"), False),
        (Op::Neq, number("1"), True),
        (Op::Lt, number("1"), False),
        (Op::Lte, number("1"), False),
        (Op::Gt, number("1"), False),
        (Op::Gte, number("1"), False),
        (Op::In, Operand::List(vec![]), False),
        (Op::NotIn, Operand::List(vec![]), True),
        (Op::Exists, Operand::Bool(true), False),
        (Op::Exists, Operand::Bool(false), True),
        (Op::Regex, Operand::pattern("").unwrap(), False),
        (Op::Contains, text(""), False),
    ];
    for (op, operand, expected) in cases {
        for (path, args) in [
            ("args.b", r#"{"a":1}"#),
            ("args.a.b", r#"{"a":{}}"#),
            ("args.a.b", r#"{"a":null}"#),
            ("args.a[1]", r#"{"a":[1]}"#),
            ("args.a[*]", r#"{"a":[]}"#),
            ("args.a[*].b", r#"{"a":[{}]}"#),
            ("args.a[*][*]", r#"{"a":[[],[]]}"#),
        ] {
            assert_eq!(
                eval(path, op, &operand, args),
                expected,
                "{path} {op} of {args}"
            );
        }
        let path = ArgPath::parse("args").unwrap();
        assert_eq!(Condition { path, op, operand }.eval(None), expected, "{op}");
    }
}

#[test]
fn the_inside_of_what_has_none_is_indeterminate() {
    for (path, args) in [
        ("args.a.b", r#"{"a":"{\"b\":1}"}"#),
        ("args.a.b", r#"{"a":[{"b":1}]}"#),
        ("args.a[0]", r#"{"a":{"0":1}}"#),
        ("args.a[*]", r#"{"a":"[1]"}"#),
        ("args.a[*]", r#"{"a":1}"#),
        ("args.a[*].b", r#"{"a":[1,{"b":0}]}"#),
    ] {
        for (op, operand) in [(Op::Gt, number("1")), (Op::Exists, Operand::Bool(true))] {
            let expected = if path == "args.a[*].b" && op == Op::Exists {
                True
            } else {
                Indeterminate
            };
            assert_eq!(
                eval(path, op, &operand, args),
                expected,
                "{path} {op} of {args}"
            );
        }
    }
}

#[test]
fn presence_is_of_the_member_whatever_its_value() {
    for value in ["null", "0", "\"\"", "[]", "{}", "9007199254740993"] {
        assert_eq!(of(value, Op::Exists, &Operand::Bool(true)), True, "{value}");
        assert_eq!(
            of(value, Op::Exists, &Operand::Bool(false)),
            False,
            "{value}"
        );
    }
    assert_eq!(eval("args", Op::Exists, &Operand::Bool(true), "{}"), True);
}

#[test]
fn one_element_is_enough() {
    let args = r#"{"items":[{"n":1,"t":["x"]},{"n":7,"t":["y","z"]},{"t":[]}]}"#;
    let of = |path: &str, op: Op, operand: Operand| eval(path, op, &operand, args);
    assert_eq!(of("args.items[*].n", Op::Gt, number("5")), True);
    assert_eq!(of("args.items[*].n", Op::Gt, number("7")), False);
    assert_eq!(of("args.items[*].n", Op::Neq, number("1")), True);
    assert_eq!(of("args.items[*].t[*]", Op::Eq, text("z")), True);
    assert_eq!(of("args.items[*].t[*]", Op::Eq, text("q")), False);
    assert_eq!(of("args.items[*].t[0]", Op::Eq, text("y")), True);
    assert_eq!(of("args.items[1].t[1]", Op::Eq, text("z")), True);
    assert_eq!(of("args.items[*].n", Op::Eq, text("q")), Indeterminate);
    assert_eq!(
        of("args.items[*].n", Op::Exists, Operand::Bool(false)),
        True
    );
    assert_eq!(
        of("args.items[*].t", Op::Exists, Operand::Bool(false)),
        False
    );
}

#[test]
fn an_operand_that_does_not_suit_never_decides() {
    let operands = [
        Operand::Null,
        Operand::Bool(true),
        number("1"),
        text("x"),
        Operand::List(vec![]),
        Operand::List(vec![Operand::List(vec![])]),
        Operand::pattern("x").unwrap(),
    ];
    for op in Op::ALL {
        for operand in operands.iter().filter(|operand| !operand.suits(op)) {
            for value in ["null", "true", "1", "\"x\"", "[1]", "{}"] {
                assert_eq!(
                    of(value, op, operand),
                    Indeterminate,
                    "{value} {op} {operand:?}"
                );
            }
        }
        assert!(operands.iter().any(|operand| operand.suits(op)), "{op}");
    }
}

#[test]
fn paths_read_back_as_written() {
    for text in [
        "args",
        "args.a",
        "args.a.b[0][*].c",
        "args[*]",
        "args.a-b c.é.$ref",
        "args.a[10]",
    ] {
        let path = ArgPath::parse(text).unwrap();
        assert_eq!((path.to_string().as_str(), path.as_str()), (text, text));
        assert_eq!(path.has_wildcard(), text.contains('*'));
    }
    assert_eq!(ArgPath::parse("args.a.b").unwrap().argument(), Some("a"));
    assert_eq!(ArgPath::parse("args[0]").unwrap().argument(), None);
}

#[test]
fn faults_of_paths_have_a_place() {
    for (text, offset) in [
        ("", 0),
        ("arg.a", 0),
        ("Args.a", 0),
        ("argsa", 4),
        ("args.", 5),
        ("args..a", 5),
        ("args.a.", 7),
        ("args.*", 5),
        ("args.a]", 6),
        ("args.a[", 6),
        ("args.a[]", 7),
        ("args.a[-1]", 7),
        ("args.a[01]", 7),
        ("args.a[1.5]", 7),
        ("args.a[99999999999999999999]", 7),
        ("args.a[0]b", 9),
        ("args.a[[0]]", 7),
    ] {
        assert_eq!(ArgPath::parse(text).unwrap_err().offset, offset, "{text}");
    }
}

#[test]
fn a_path_resolves_to_one_value() {
    let mut index = Index::default();
    let args = index
        .scan(br#"{"a":{"b":[7]},"s":"x"}"#, &Bounds::default())
        .unwrap();
    let resolve = |path: &str| match ArgPath::parse(path).unwrap().resolve(Some(args)) {
        Lookup::Found(value) => String::from_utf8_lossy(value.raw()).into_owned(),
        other => format!("{other:?}"),
    };
    assert_eq!(resolve("args.a.b[0]"), "7");
    assert_eq!(resolve("args.a.c"), "Absent");
    assert_eq!(resolve("args.s.c"), "Opaque");
    assert_eq!(resolve("args.s"), "\"x\"");
    assert!(matches!(
        ArgPath::parse("args").unwrap().resolve(None),
        Lookup::Absent
    ));
}
