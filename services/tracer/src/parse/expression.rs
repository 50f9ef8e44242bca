//! Expressions: the conditional, operators between operands, operators before them.

use super::{Parser, Result};
use crate::ast::{BinaryOperator, Expression, ExpressionKind, Name, Step, Target, UnaryOperator};
use crate::diagnostic::Diagnostic;
use crate::lex::TokenKind;
use crate::source::Span;

/// An operand and how high its tree is.
type Operand = (Expression, u32);

impl Parser<'_> {
    /// An expression; assignments are statements, not expressions.
    pub(super) fn expression(&mut self) -> Result<Expression> {
        self.nested(Self::conditional)
    }

    fn conditional(&mut self) -> Result<Expression> {
        let condition = self.binary()?;
        if !self.at("?") {
            return Ok(condition);
        }
        let mut height = self.height;
        let question = self.bump().span;
        let then = self.expression()?;
        height = height.max(self.height);
        if !self.at(":") {
            let found = self.peek().clone();
            let message = format!("expected `:`, found {}", found.kind.describe());
            let error = Diagnostic::error("syntax", message, found.span);
            return self.fail(error.label(question, "this `?` needs a `:` and a second value"));
        }
        self.bump();
        let otherwise = self.nested(Self::conditional)?;
        height = height.max(self.height);
        let span = condition.span.to(otherwise.span);
        let (condition, then, otherwise) = (Box::new(condition), Box::new(then), Box::new(otherwise));
        self.node(ExpressionKind::Conditional { condition, then, otherwise }, span, height)
    }

    /// Operands with operators between them, by precedence; without recursion, so that chains may be long.
    fn binary(&mut self) -> Result<Expression> {
        let mut operands: Vec<Operand> = Vec::new();
        let mut operators: Vec<(BinaryOperator, Span)> = Vec::new();
        loop {
            let operand = self.cast()?;
            operands.push((operand, self.height));
            let TokenKind::Symbol(symbol) = self.peek().kind else { break };
            let Some(operator) = BinaryOperator::from_symbol(symbol) else { break };
            self.fold(&mut operands, &mut operators, operator.precedence())?;
            operators.push((operator, self.bump().span));
        }
        self.fold(&mut operands, &mut operators, 0)?;
        let Some((whole, height)) = operands.pop() else { return self.unexpected("an expression") };
        self.height = height;
        Ok(whole)
    }

    /// Joins operands whose operators bind at least as tightly as `precedence`.
    fn fold(
        &mut self,
        operands: &mut Vec<Operand>,
        operators: &mut Vec<(BinaryOperator, Span)>,
        precedence: u8,
    ) -> Result<()> {
        while let Some((operator, operator_span)) = operators.pop_if(|(last, _)| last.precedence() >= precedence) {
            let (Some((right, right_height)), Some((left, left_height))) = (operands.pop(), operands.pop()) else {
                return Ok(());
            };
            let span = left.span.to(right.span);
            let (left, right) = (Box::new(left), Box::new(right));
            let kind = ExpressionKind::Binary { operator, operator_span, left, right };
            let joined = self.node(kind, span, left_height.max(right_height))?;
            operands.push((joined, self.height));
        }
        Ok(())
    }

    /// `(type)value`, or something with operators before it, or an operand.
    fn cast(&mut self) -> Result<Expression> {
        if !self.at_cast() {
            return self.unary();
        }
        let start = self.bump().span;
        let ty = self.written_type()?;
        self.expect_closing(")", start)?;
        let value = self.nested(Self::cast)?;
        let span = start.to(value.span);
        self.node(ExpressionKind::Cast { ty, value: Box::new(value) }, span, self.height)
    }

    fn unary(&mut self) -> Result<Expression> {
        let start = self.peek().span;
        let TokenKind::Symbol(symbol) = self.peek().kind else { return self.postfix() };
        let operator = match symbol {
            "!" => UnaryOperator::Not,
            "~" => UnaryOperator::Invert,
            "-" => UnaryOperator::Negate,
            "*" => UnaryOperator::Dereference,
            "++" | "--" => {
                self.bump();
                let step = if symbol == "++" { Step::Increment } else { Step::Decrement };
                let target = self.target(symbol)?;
                let span = self.since(start);
                return self.node(ExpressionKind::Step { step, postfix: false, target }, span, self.height);
            }
            "&" => {
                self.bump();
                let target = self.target(symbol)?;
                let span = self.since(start);
                return self.node(ExpressionKind::AddressOf(target), span, self.height);
            }
            "+" => {
                let error = Diagnostic::error("unary-plus", "there is no `+` before a value", start);
                self.diagnostics.push(error.suggest(start, "", "remove it"));
                self.bump();
                return self.nested(Self::cast);
            }
            _ => return self.postfix(),
        };
        self.bump();
        let operand = self.nested(Self::cast)?;
        let span = start.to(operand.span);
        self.node(ExpressionKind::Unary(operator, Box::new(operand)), span, self.height)
    }

    /// The variable or map behind `++`, `--` or `&`.
    fn target(&mut self, symbol: &str) -> Result<Target> {
        let token = self.peek().clone();
        self.height = 0;
        match token.kind {
            TokenKind::Scratch(text) => {
                self.bump();
                Ok(Target::Scratch(Name { text, span: token.span }))
            }
            TokenKind::Map(_) => Ok(Target::Map(self.map_access()?)),
            _ => {
                let error = Diagnostic::error("step", format!("`{symbol}` needs a variable or a map"), token.span);
                self.fail(error.here(format!("this is {}", token.kind.describe())))
            }
        }
    }

    /// An operand and what follows it: fields, indices, steps.
    fn postfix(&mut self) -> Result<Expression> {
        let mut value = self.operand()?;
        let start = value.span;
        while let TokenKind::Symbol(symbol) = self.peek().kind {
            let height = self.height;
            let kind = match symbol {
                "." | "->" => {
                    self.bump();
                    self.field(value, symbol == "->")?
                }
                "[" => {
                    let opened = self.bump().span;
                    let index = self.expression()?;
                    self.expect_closing("]", opened)?;
                    ExpressionKind::Index { value: Box::new(value), index: Box::new(index) }
                }
                "++" | "--" => {
                    let step = if symbol == "++" { Step::Increment } else { Step::Decrement };
                    let sign = self.bump().span;
                    let target = self.stepped(value, symbol, sign)?;
                    ExpressionKind::Step { step, postfix: true, target }
                }
                _ => break,
            };
            let (span, height) = (self.since(start), height.max(self.height));
            value = self.node(kind, span, height)?;
        }
        Ok(value)
    }

    /// A field or the number of a tuple's element, behind `.` or `->`.
    fn field(&mut self, value: Expression, arrow: bool) -> Result<ExpressionKind> {
        let token = self.peek().clone();
        let TokenKind::Int(index) = token.kind else {
            return Ok(ExpressionKind::Field { value: Box::new(value), arrow, name: self.field_name()? });
        };
        self.bump();
        if matches!(value.kind, ExpressionKind::Int(_)) {
            let span = value.span.to(token.span);
            let error = Diagnostic::error("floating-point", "there are no numbers with a fraction", span);
            return self.fail(error.because("kernel programs have no floating point; use a smaller unit"));
        }
        match u32::try_from(index) {
            Ok(index) if !arrow => Ok(ExpressionKind::TupleIndex { value: Box::new(value), index }),
            _ => {
                let message = "this is no element of a tuple";
                self.fail(Diagnostic::error("tuple-index", message, token.span).because("elements are `.0`, `.1`, …"))
            }
        }
    }

    /// What stands before `++` or `--`.
    fn stepped(&mut self, value: Expression, symbol: &str, sign: Span) -> Result<Target> {
        match value.kind {
            ExpressionKind::Scratch(text) => Ok(Target::Scratch(Name { text, span: value.span })),
            ExpressionKind::Map(access) => Ok(Target::Map(access)),
            _ => {
                let error = Diagnostic::error("step", format!("`{symbol}` needs a variable or a map"), value.span);
                self.fail(error.label(sign, "stepped here"))
            }
        }
    }
}
