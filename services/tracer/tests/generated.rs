//! Scripts made at random: the kernel accepts what our own checks let through, and computes what the compiler does.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

use std::sync::atomic::AtomicBool;

use proptest::prelude::*;
use synscope_tracer::load::{LoadError, verify};
use synscope_tracer::lower::{Lowered, lower};
use synscope_tracer::run::{Text, run};
use synscope_tracer::source::Source;
use synscope_tracer::typed::Script;
use synscope_tracer::{Environment, check, parse};

/// A script ready for the kernel, or nothing if our own checks refuse it.
fn compiled(text: &str) -> Option<(Script, Lowered)> {
    let parsed = parse(&Source::new("generated", text));
    let program = parsed.program.unwrap_or_else(|| panic!("{text}\n{:?}", parsed.diagnostics));
    let checked = check(&program, &Environment::default());
    assert!(checked.script.is_some() || !checked.diagnostics.is_empty(), "refused without a word: {text}");
    let script = checked.script?;
    let lowered = lower(&script).ok()?;
    Some((script, lowered))
}

/// Has the kernel verify a script that our own checks let through.
fn accepted(text: &str) {
    let Some((script, lowered)) = compiled(text) else { return };
    match verify(&script, &lowered) {
        // How many ways lead through a program is not for us to count.
        Ok(()) | Err(LoadError::TooComplex(_)) => {}
        Err(LoadError::Refused(refused)) => panic!("{text}\n{}\n{}", refused.diagnostic.message, refused.log),
        Err(other) => panic!("{text}\n{other}"),
    }
}

fn one_of(words: &'static [&'static str]) -> BoxedStrategy<String> {
    prop::sample::select(words).prop_map(str::to_owned).boxed()
}

/// Numbers, given numbers and texts to make them of.
fn number(number: &BoxedStrategy<String>, text: &BoxedStrategy<String>) -> BoxedStrategy<String> {
    let (n, t) = (|| number.clone(), || text.clone());
    let operator =
        one_of(&["+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>", "==", "!=", "<", "<=", ">", ">=", "&&", "||"]);
    let cast = one_of(&["uint8", "int8", "uint16", "int32", "uint32", "int64", "uint64", "bool"]);
    prop_oneof![
        4 => (n(), operator, n()).prop_map(|(a, operator, b)| format!("({a} {operator} {b})")),
        1 => n().prop_map(|a| format!("(!{a})")),
        1 => n().prop_map(|a| format!("(-({a}))")),
        1 => n().prop_map(|a| format!("(~({a}))")),
        1 => (n(), n(), n()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
        2 => (cast, n()).prop_map(|(cast, a)| format!("(({cast})({a}))")),
        1 => n().prop_map(|a| format!("@keyed[{a}]")),
        1 => n().prop_map(|a| format!("@keyed[{a}]++")),
        1 => t().prop_map(|a| format!("@counts[{a}]")),
        1 => n().prop_map(|a| format!("@min[{a}]")),
        1 => Just("@sum".to_owned()),
        1 => (t(), t()).prop_map(|(a, b)| format!("({a} == {b})")),
        1 => (t(), 0_u32..40).prop_map(|(a, count)| format!("strncmp({a}, \"some text\", {count})")),
        1 => (t(), n()).prop_map(|(a, b)| format!("@paired[{a}, {b}]")),
        1 => (n(), t()).prop_map(|(a, b)| format!("(({a}, ({b}, {a})).1.1)")),
        1 => n().prop_map(|a| format!("has_key(@keyed, {a})")),
    ]
    .boxed()
}

fn text(number: &BoxedStrategy<String>, text: &BoxedStrategy<String>) -> BoxedStrategy<String> {
    let (n, t) = (|| number.clone(), || text.clone());
    prop_oneof![
        (n(), t(), t()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
        n().prop_map(|a| format!("@texts[{a}]")),
        n().prop_map(|a| format!("str({a})")),
        (n(), n()).prop_map(|(a, b)| format!("str({a}, {b})")),
    ]
    .boxed()
}

/// Numbers and texts of some depth.
fn values(depth: u32) -> (BoxedStrategy<String>, BoxedStrategy<String>) {
    let mut numbers = prop_oneof![
        one_of(&["0", "1", "7", "255", "4096", "0xffffffff", "0x123456789abcdef", "18446744073709551615"]),
        one_of(&["pid", "tid", "uid", "gid", "nsecs", "cpu", "rand", "elapsed", "cgroup", "jiffies"]),
        one_of(&["$a", "$b", "$a++", "--$b", "@single", "@single++", "curtask->pid", "curtask->in_iowait"]),
    ]
    .boxed();
    let mut texts = one_of(&["comm", "\"\"", "\"short\"", "\"a text of more than sixteen letters\"", "$s", "$t.1"]);
    for _ in 0..depth {
        let (more_numbers, more_texts) = (number(&numbers, &texts), text(&numbers, &texts));
        numbers = prop_oneof![1 => numbers, 2 => more_numbers].boxed();
        texts = prop_oneof![2 => texts, 1 => more_texts].boxed();
    }
    (numbers, texts)
}

fn statement(depth: u32) -> BoxedStrategy<String> {
    let (numbers, texts) = values(2);
    let (n, t) = (|| numbers.clone(), || texts.clone());
    let simple = prop_oneof![
        n().prop_map(|a| format!("$a = {a};")),
        n().prop_map(|a| format!("$b += {a};")),
        t().prop_map(|a| format!("$s = {a};")),
        (n(), t()).prop_map(|(a, b)| format!("$t = ({a}, {b});")),
        n().prop_map(|a| format!("@single = {a};")),
        (n(), n()).prop_map(|(a, b)| format!("@keyed[{a}] = {b};")),
        (t(), n(), n()).prop_map(|(a, b, c)| format!("@paired[{a}, {b}] = {c};")),
        (n(), t()).prop_map(|(a, b)| format!("@texts[{a}] = {b};")),
        t().prop_map(|a| format!("@counts[{a}] = count();")),
        n().prop_map(|a| format!("@sum = sum({a});")),
        (n(), n()).prop_map(|(a, b)| format!("@min[{a}] = min({b});")),
        (t(), n()).prop_map(|(a, b)| format!("@stats[{a}] = stats({b});")),
        (n(), n()).prop_map(|(a, b)| format!("@hist[{a}] = hist({b});")),
        n().prop_map(|a| format!("@fine = hist({a}, 3);")),
        (t(), n()).prop_map(|(a, b)| format!("@linear[{a}] = lhist({b}, 0, 1000, 10);")),
        (n(), t()).prop_map(|(a, b)| format!("printf(\"%d %s\\n\", {a}, {b});")),
        (n(), t()).prop_map(|(a, b)| format!("print(({a}, {b}));")),
        n().prop_map(|a| format!("delete(@keyed[{a}]);")),
        t().prop_map(|a| format!("delete(@counts[{a}]);")),
        one_of(&["exit();", "return;", "clear(@keyed);", "print(@hist);", "print(kstack(3));", "delete(@single);"]),
    ]
    .boxed();
    if depth == 0 {
        return simple;
    }
    let block = prop::collection::vec(statement(depth - 1), 1..3).prop_map(|statements| statements.concat());
    prop_oneof![
        6 => simple,
        1 => (n(), block.clone(), block.clone()).prop_map(|(a, b, c)| format!("if ({a}) {{ {b} }} else {{ {c} }}")),
        1 => block.clone().prop_map(|a| format!("unroll(2) {{ {a} }}")),
        1 => block.clone().prop_map(|a| {
            format!("for ($kv : @texts) {{ {a} $s = $kv.1; if ($kv.0 == 3) {{ break; }} $b += $kv.0; }}")
        }),
        1 => block.clone().prop_map(|a| format!("for ($kv : @min) {{ {a} $b += $kv.1; }}")),
        1 => block.prop_map(|a| format!("for ($i : 0..3) {{ {a} if ($i == 1) {{ continue; }} $b += $i; }}")),
    ]
    .boxed()
}

fn script() -> impl Strategy<Value = String> {
    let probe = prop::sample::select(vec!["BEGIN", "interval:s:1", "rawtracepoint:sched_switch"]);
    let body = prop::collection::vec(statement(2), 1..5);
    let start = "$a = 1; $b = (int64)-2; $s = \"\"; $t = (0, \"\"); @single = 0; @keyed[0] = 0; @texts[0] = \"\"; \
        @paired[\"\", 0] = 0; @counts[\"\"] = count(); @hist[0] = hist(0); @min[0] = min(0); @sum = sum(0);";
    (probe, values(1).0, body).prop_map(move |(probe, filter, body)| {
        // A filter comes before variables have values.
        let filter = if filter.contains('$') { "1".to_owned() } else { filter.replace('/', "+") };
        format!("config = {{ max_map_keys = 16 }} {probe} /{filter}/ {{ {start} {} }}", body.concat())
    })
}

/// Arithmetic in which every number has 64 bits; `v` stands for a number as variable, or written out.
fn arithmetic() -> BoxedStrategy<String> {
    let leaf = prop::sample::select(vec!["v0", "v1", "v2", "v3", "v4", "v5"]).prop_map(str::to_owned);
    leaf.prop_recursive(4, 12, 2, |inner| {
        let operator = one_of(&["+", "-", "*", "/", "%", "&", "|", "^", "==", "!=", "<", "<=", ">", ">="]);
        prop_oneof![
            (inner.clone(), operator, inner.clone()).prop_map(|(a, operator, b)| format!("({a} {operator} {b})")),
            inner.clone().prop_map(|a| format!("(~{a})")),
            inner.prop_map(|a| format!("((int16){a})")),
        ]
    })
    .boxed()
}

/// What a script prints.
fn printed(text: &str) -> Option<String> {
    let (script, lowered) = compiled(text)?;
    let (mut out, mut error) = (Vec::new(), Vec::new());
    run(&script, &lowered, &mut Text::new(&mut out, &mut error), &AtomicBool::new(false)).unwrap();
    Some(String::from_utf8(out).unwrap())
}

proptest! {
    // Each makes twenty maps, which the kernel takes its time to free.
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_kernel_accepts_what_we_accept(text in script()) {
        accepted(&text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_kernel_computes_what_the_compiler_does(
        expressions in prop::collection::vec(arithmetic(), 1..6),
        values in prop::collection::vec(prop_oneof![any::<i64>(), -9_i64..9], 6),
    ) {
        // v3 to v5 have no sign.
        let written = |index: usize, value: i64| {
            let ty = if index < 3 { "int64" } else { "uint64" };
            format!("(({ty})({value}))").replace("-9223372036854775808", "0x8000000000000000")
        };
        let set = values.iter().enumerate().map(|(index, value)| format!("$v{index} = {}; ", written(index, *value)));
        let print = |expression: &str| format!("printf(\"%d\\n\", {expression}); ");
        let variables = expressions.iter().map(|expression| print(&expression.replace('v', "$v")));
        let numbers = expressions.iter().map(|expression| {
            let number = |text: String, (index, value): (usize, &i64)| {
                text.replace(&format!("v{index}"), &written(index, *value))
            };
            print(&values.iter().enumerate().fold(expression.clone(), number))
        });
        let with_variables = format!("BEGIN {{ {}{}", set.collect::<String>(), variables.collect::<String>());
        let with_numbers = format!("BEGIN {{ {}", numbers.collect::<String>());
        let end = "exit(); }";
        // A division by a number that is known to be zero is refused.
        if let Some(expected) = printed(&(with_numbers.clone() + end)) {
            let found = printed(&(with_variables.clone() + end)).expect("the same with variables");
            prop_assert_eq!(found, expected, "{}\n{}", with_variables, with_numbers);
        }
    }
}
