//! Trees as scripts have them, made at random. Places mean nothing in them.

use proptest::prelude::*;
use synscope_tracer::ast::*;
use synscope_tracer::source::Span;

const NOWHERE: Span = Span { start: 0, end: 0 };

fn name(text: impl Into<String>) -> Name {
    Name { text: text.into(), span: NOWHERE }
}

fn expression(kind: ExpressionKind) -> Expression {
    Expression { span: NOWHERE, kind }
}

/// Names that mean nothing to the language.
fn word() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["alpha", "b", "_c", "AF_INET", "foo_t", "x1", "kprobe", "packed"]).prop_map(str::to_owned)
}

/// Names of fields may be any word.
fn field() -> impl Strategy<Value = Name> {
    prop_oneof![word(), prop::sample::select(vec!["pid", "if", "count", "struct", "string"]).prop_map(str::to_owned)]
        .prop_map(name)
}

fn tag() -> impl Strategy<Value = Tag> {
    prop::sample::select(vec![Tag::Struct, Tag::Union, Tag::Enum])
}

/// Types that cannot be taken for values.
fn ty() -> impl Strategy<Value = Type> {
    let words = vec!["uint64", "int8", "string", "inet", "unsigned long", "char", "void"];
    let named = prop::sample::select(words).prop_map(|word| TypeKind::Named(word.to_owned()));
    let tagged = (tag(), word()).prop_map(|(tag, word)| TypeKind::Tagged(tag, word));
    let make = |kind| Type { span: NOWHERE, kind };
    prop_oneof![named, tagged].prop_map(make).prop_recursive(3, 4, 1, move |inner| {
        let length = prop::option::of(0..100_u64)
            .prop_map(|length| length.map(|length| Box::new(expression(ExpressionKind::Int(length)))));
        prop_oneof![
            inner.clone().prop_map(move |ty| make(TypeKind::Pointer(Box::new(ty)))),
            (inner, length).prop_map(move |(ty, length)| make(TypeKind::Array(Box::new(ty), length))),
        ]
    })
}

fn target(key: BoxedStrategy<Expression>) -> BoxedStrategy<Target> {
    prop_oneof![word().prop_map(|word| Target::Scratch(name(word))), map(key).prop_map(Target::Map)].boxed()
}

fn map(key: BoxedStrategy<Expression>) -> BoxedStrategy<MapAccess> {
    (prop_oneof![Just(String::new()), word()], prop::option::of(key))
        .prop_map(|(text, key)| MapAccess { span: NOWHERE, name: name(text), key: key.map(Box::new) })
        .boxed()
}

fn leaf() -> BoxedStrategy<Expression> {
    let builtins: Vec<Builtin> = Variable::ALL.iter().map(|variable| Builtin::Variable(*variable)).collect();
    prop_oneof![
        any::<u64>().prop_map(ExpressionKind::Int),
        any::<bool>().prop_map(ExpressionKind::Bool),
        prop::collection::vec(any::<u8>(), 0..12).prop_map(ExpressionKind::Text),
        word().prop_map(ExpressionKind::Identifier),
        prop::sample::select(builtins).prop_map(ExpressionKind::Builtin),
        (0..20_u8).prop_map(|number| ExpressionKind::Builtin(Builtin::Arg(number))),
        (0..20_u8).prop_map(|number| ExpressionKind::Builtin(Builtin::StackArg(number))),
        (1..99_u32).prop_map(ExpressionKind::Positional),
        Just(ExpressionKind::ParameterCount),
        word().prop_map(ExpressionKind::Scratch),
    ]
    .prop_map(expression)
    .boxed()
}

fn value() -> BoxedStrategy<Expression> {
    leaf().prop_recursive(6, 40, 3, |inner| branch(&inner.boxed())).boxed()
}

fn branch(inner: &BoxedStrategy<Expression>) -> BoxedStrategy<Expression> {
    let boxed = || inner.clone().prop_map(Box::new);
    let allowed: Vec<Function> = Function::ALL.iter().copied().filter(|own| own.refusal().is_none()).collect();
    let call = (prop::sample::select(allowed), prop::collection::vec(inner.clone(), 0..4))
        .prop_map(|(function, arguments)| ExpressionKind::Call { function, name_span: NOWHERE, arguments });
    let unary = vec![UnaryOperator::Not, UnaryOperator::Invert, UnaryOperator::Negate, UnaryOperator::Dereference];
    let operators: Vec<BinaryOperator> = BinaryOperator::ALL.iter().map(|(operator, ..)| *operator).collect();
    let binary = (prop::sample::select(operators), boxed(), boxed())
        .prop_map(|(operator, left, right)| ExpressionKind::Binary { operator, operator_span: NOWHERE, left, right });
    let step = (any::<bool>(), any::<bool>(), target(inner.clone())).prop_map(|(up, postfix, target)| {
        ExpressionKind::Step { step: if up { Step::Increment } else { Step::Decrement }, postfix, target }
    });
    let measured = || prop_oneof![ty().prop_map(Measured::Type), boxed().prop_map(Measured::Value)];
    prop_oneof![
        map(inner.clone()).prop_map(ExpressionKind::Map),
        call,
        (prop::sample::select(unary), boxed()).prop_map(|(operator, operand)| ExpressionKind::Unary(operator, operand)),
        target(inner.clone()).prop_map(ExpressionKind::AddressOf),
        step,
        binary,
        (boxed(), boxed(), boxed())
            .prop_map(|(condition, then, otherwise)| { ExpressionKind::Conditional { condition, then, otherwise } }),
        (boxed(), any::<bool>(), field()).prop_map(|(value, arrow, name)| ExpressionKind::Field { value, arrow, name }),
        (boxed(), 0..9_u32)
            .prop_filter("a fraction", |(value, _)| !matches!(value.kind, ExpressionKind::Int(_)))
            .prop_map(|(value, index)| ExpressionKind::TupleIndex { value, index }),
        (boxed(), boxed()).prop_map(|(value, index)| ExpressionKind::Index { value, index }),
        (ty(), boxed()).prop_map(|(ty, value)| ExpressionKind::Cast { ty, value }),
        prop::collection::vec(inner.clone(), 2..4).prop_map(ExpressionKind::Tuple),
        measured().prop_map(ExpressionKind::SizeOf),
        (measured(), prop::collection::vec(field(), 1..3)).prop_map(|(of, path)| ExpressionKind::OffsetOf { of, path }),
    ]
    .prop_map(expression)
    .boxed()
}

fn statement() -> BoxedStrategy<Statement> {
    let make = |kind| Statement { span: NOWHERE, kind };
    let operators: Vec<BinaryOperator> = ["+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>="]
        .into_iter()
        .filter_map(BinaryOperator::from_assignment)
        .collect();
    let simple =
        prop_oneof![
            value().prop_map(StatementKind::Expression),
            (word(), prop::option::of(ty()), prop::option::of(value()))
                .prop_map(|(word, ty, value)| StatementKind::Let { variable: name(word), ty, value }),
            (target(value()), prop::option::of(prop::sample::select(operators)), value())
                .prop_map(|(target, operator, value)| StatementKind::Assign { target, operator, value }),
            Just(StatementKind::Break),
            Just(StatementKind::Continue),
            prop::option::of(value()).prop_map(StatementKind::Return),
        ];
    simple
        .prop_map(make)
        .prop_recursive(3, 12, 3, move |inner| {
            let body = prop::collection::vec(inner, 0..3).prop_map(|statements| Block { span: NOWHERE, statements });
            let branch = (value(), body.clone()).prop_map(|(condition, body)| Branch { condition, body });
            prop_oneof![
                (prop::collection::vec(branch, 1..3), prop::option::of(body.clone()))
                    .prop_map(|(branches, otherwise)| StatementKind::If { branches, otherwise }),
                (value(), body.clone()).prop_map(|(condition, body)| StatementKind::While { condition, body }),
                (value(), body.clone()).prop_map(|(count, body)| StatementKind::Unroll { count, body }),
                (word(), word(), body.clone()).prop_map(|(variable, map, body)| {
                    StatementKind::ForMap { variable: name(variable), map: name(map), body }
                }),
                (word(), value(), value(), body).prop_map(|(variable, start, end, body)| {
                    StatementKind::ForRange { variable: name(variable), start, end, body }
                }),
            ]
            .prop_map(make)
        })
        .boxed()
}

fn attach_point() -> impl Strategy<Value = AttachPoint> {
    let known =
        vec!["kprobe:tcp_*", "tracepoint:a:b", "BEGIN", "interval:s:1", "uprobe:/lib/*/x y.so:\"f", "software:faults"];
    let part = |text: &str| Part { span: NOWHERE, pieces: vec![Piece::Text(text.to_owned())] };
    prop::sample::select(known)
        .prop_map(move |text| AttachPoint { span: NOWHERE, parts: text.split(':').map(part).collect() })
}

/// A whole script.
pub(crate) fn program() -> impl Strategy<Value = Program> {
    let probe = (
        prop::collection::vec(attach_point(), 1..3),
        prop::option::of(value()),
        prop::collection::vec(statement(), 0..4),
    )
        .prop_map(|(attach_points, predicate, statements)| {
            let body = Block { span: NOWHERE, statements };
            Probe { span: NOWHERE, attach_points, predicate, body }
        });
    prop::collection::vec(probe, 1..3).prop_map(|probes| Program { definitions: vec![], config: None, probes })
}
