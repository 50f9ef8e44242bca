//! Statements and blocks.

use super::{Parser, Result};
use crate::ast::{BinaryOperator, Block, Branch, Expression, ExpressionKind, Name, Statement, StatementKind, Target};
use crate::diagnostic::Diagnostic;
use crate::lex::{Token, TokenKind};
use crate::source::Span;
use crate::words::Provider;

impl Parser<'_> {
    /// `{ … }`; errors in statements are reported and skipped.
    pub(super) fn block(&mut self) -> Result<Block> {
        let start = self.expect("{", "before the statements")?;
        self.nested(|parser| {
            let mut statements = Vec::new();
            while !parser.at("}") {
                if parser.peek().kind == TokenKind::End || parser.at_new_probe() {
                    return parser.open_block(start);
                }
                if parser.at(";") || parser.at("{") {
                    parser.refuse_statement()?;
                    continue;
                }
                match parser.statement() {
                    Ok(statement) => statements.push(statement),
                    Err(_) => parser.skip_statement(),
                }
            }
            parser.bump();
            Ok(Block { span: parser.since(start), statements })
        })
    }

    /// Whether a probe seems to begin here, at a place for statements.
    fn at_new_probe(&self) -> bool {
        let (first, second, third) = (self.peek(), self.ahead(1), self.ahead(2));
        let Some(provider) = first.kind.word().and_then(Provider::from_word) else { return false };
        let whole = first.kind.word().is_some_and(|word| word.eq_ignore_ascii_case(provider.name()));
        let alone = matches!(provider, Provider::Begin | Provider::End);
        let colon = second.kind.is(":") && second.span.start == first.span.end && third.span.start == second.span.end;
        whole && if alone { second.kind.is("{") } else { colon }
    }

    fn open_block(&mut self, opened: Span) -> Result<Block> {
        let found = self.peek().clone();
        let error = Diagnostic::error("unclosed-block", "this block is not closed", opened);
        let error = match found.kind {
            TokenKind::End => error.label(found.span, "the script ends inside it"),
            _ => error.label(found.span, "a new probe seems to begin here"),
        };
        self.at = self.tokens.len(); // What follows was read as statements: it would only add noise.
        self.fail(error)
    }

    /// Behind an error, goes to the next statement of this block.
    fn skip_statement(&mut self) {
        let mut depth = 0_u32;
        loop {
            match self.peek().kind {
                TokenKind::End => return,
                TokenKind::Symbol("}") if depth == 0 => return,
                TokenKind::Symbol("{") => depth += 1,
                TokenKind::Symbol("}") => {
                    depth -= 1;
                    if depth == 0 && self.ahead(1).kind.word() != Some("else") {
                        self.bump();
                        return;
                    }
                }
                TokenKind::Symbol(";") if depth == 0 => {
                    self.bump();
                    return;
                }
                _ => {}
            }
            self.bump();
        }
    }

    /// Statements of C that bpftrace 0.23 does not have: the empty one, and a block of its own.
    fn refuse_statement(&mut self) -> Result<()> {
        let start = self.peek().span;
        if self.eat(";") {
            let error = Diagnostic::error("empty-statement", "there is no statement before this semicolon", start);
            self.diagnostics.push(error.suggest(start, "", "remove it"));
            return Ok(());
        }
        let message = "a block belongs to `if`, `while`, `for` or `unroll`";
        self.diagnostics.push(Diagnostic::error("lone-block", message, start));
        self.block().map(|_| ())
    }

    fn statement(&mut self) -> Result<Statement> {
        let token = self.peek().clone();
        let start = token.span;
        let block = match token.kind.word() {
            Some("if") => Some(self.if_statement()?),
            Some("while") => Some(self.while_loop()?),
            Some("unroll") => Some(self.unroll()?),
            Some("for") => Some(self.for_loop()?),
            _ => None,
        };
        if let Some(kind) = block {
            return Ok(Statement { span: self.since(start), kind });
        }
        let kind = match token.kind {
            TokenKind::Word(word) if word == "let" => self.declaration()?,
            TokenKind::Word(word) if matches!(word.as_str(), "break" | "continue" | "return") => self.jump(&word)?,
            _ => self.expression_or_assignment()?,
        };
        let span = self.since(start);
        self.end_of_statement();
        Ok(Statement { span, kind })
    }

    /// A semicolon, which may be missing before a closing brace.
    fn end_of_statement(&mut self) {
        if self.eat(";") || self.at("}") || self.peek().kind == TokenKind::End {
            return;
        }
        let found = self.peek().clone();
        let message = format!("expected `;`, found {}", found.kind.describe());
        let behind = self.last_span().after();
        let error = Diagnostic::error("missing-semicolon", message, found.span);
        self.diagnostics.push(error.suggest(behind, ";", "statements end with a semicolon"));
        // On one line the rest rarely makes a statement of its own.
        if !starts_statement(&found) {
            self.skip_statement();
        }
    }

    fn declaration(&mut self) -> Result<StatementKind> {
        self.bump();
        let variable = self.scratch()?;
        let ty = if self.eat(":") { Some(self.written_type()?) } else { None };
        let value = if self.eat("=") { Some(self.expression()?) } else { None };
        Ok(StatementKind::Let { variable, ty, value })
    }

    fn jump(&mut self, word: &str) -> Result<StatementKind> {
        self.bump();
        Ok(match word {
            "break" => StatementKind::Break,
            "continue" => StatementKind::Continue,
            _ if self.at(";") || self.at("}") => StatementKind::Return(None),
            _ => StatementKind::Return(Some(self.expression()?)),
        })
    }

    fn expression_or_assignment(&mut self) -> Result<StatementKind> {
        let left = self.expression()?;
        let TokenKind::Symbol(symbol) = self.peek().kind else { return Ok(StatementKind::Expression(left)) };
        let operator = BinaryOperator::from_assignment(symbol);
        if symbol != "=" && operator.is_none() {
            return Ok(StatementKind::Expression(left));
        }
        let sign = self.bump().span;
        let target = self.target_of(left, sign)?;
        let value = self.expression()?;
        Ok(StatementKind::Assign { target, operator, value })
    }

    /// The left-hand side of an assignment.
    fn target_of(&mut self, left: Expression, sign: Span) -> Result<Target> {
        let span = left.span;
        let (message, note) = match left.kind {
            ExpressionKind::Scratch(text) => return Ok(Target::Scratch(Name { text, span })),
            ExpressionKind::Map(access) => return Ok(Target::Map(access)),
            ExpressionKind::TupleIndex { .. } => {
                ("tuples cannot be changed", "make a new tuple and assign it to the variable")
            }
            ExpressionKind::Identifier(_) | ExpressionKind::Builtin(_) => {
                ("only variables and maps can be assigned", "a variable's name begins with `$`, a map's with `@`")
            }
            ExpressionKind::Field { .. } | ExpressionKind::Index { .. } | ExpressionKind::Unary(..) => (
                "the kernel's memory cannot be changed",
                "tracing is read-only: only variables and maps can be assigned",
            ),
            _ => ("only variables and maps can be assigned", "compare with `==`"),
        };
        self.fail(Diagnostic::error("assignment", message, span).label(sign, "assigned here").because(note))
    }

    fn if_statement(&mut self) -> Result<StatementKind> {
        let mut branches = Vec::new();
        let mut otherwise = None;
        loop {
            self.bump();
            let condition = self.in_parentheses("behind `if`")?;
            let body = self.braces("if")?;
            branches.push(Branch { condition, body });
            if !self.at_word("else") {
                break;
            }
            self.bump();
            if !self.at_word("if") {
                otherwise = Some(self.braces("else")?);
                break;
            }
        }
        Ok(StatementKind::If { branches, otherwise })
    }

    fn while_loop(&mut self) -> Result<StatementKind> {
        self.bump();
        let condition = self.in_parentheses("behind `while`")?;
        Ok(StatementKind::While { condition, body: self.braces("while")? })
    }

    fn unroll(&mut self) -> Result<StatementKind> {
        self.bump();
        let count = self.in_parentheses("behind `unroll`")?;
        Ok(StatementKind::Unroll { count, body: self.braces("unroll")? })
    }

    fn for_loop(&mut self) -> Result<StatementKind> {
        self.bump();
        let opened = self.expect("(", "behind `for`")?;
        let variable = self.scratch()?;
        if self.at("=") || self.at(";") {
            let span = self.since(opened);
            while !(self.at("{") || self.at("}") || self.peek().kind == TokenKind::End) {
                self.bump();
            }
            let error = Diagnostic::error("for-loop", "`for` goes over a map or a range", span);
            return self.fail(error.because("for ($kv : @map) { … }, for ($i : 0..10) { … }, or use `while`"));
        }
        self.expect(":", "behind the variable of `for`")?;
        let start = self.expression()?;
        if self.eat("..") {
            let end = self.expression()?;
            self.expect_closing(")", opened)?;
            return Ok(StatementKind::ForRange { variable, start, end, body: self.braces("for")? });
        }
        let span = start.span;
        let ExpressionKind::Map(access) = start.kind else {
            let error = Diagnostic::error("for-loop", "`for` goes over a map or a range", span);
            return self
                .fail(error.here("this is neither").because("a range is written `0..10`; its end is not reached"));
        };
        if let Some(key) = &access.key {
            let error = Diagnostic::error("for-loop", "`for` goes over a whole map", key.span);
            return self.fail(error.here("this names one of its elements"));
        }
        self.expect_closing(")", opened)?;
        Ok(StatementKind::ForMap { variable, map: access.name, body: self.braces("for")? })
    }

    fn in_parentheses(&mut self, place: &str) -> Result<Expression> {
        let opened = self.expect("(", place)?;
        let inside = self.expression()?;
        self.expect_closing(")", opened)?;
        Ok(inside)
    }

    /// The block of a statement; unlike C's, it always has braces.
    fn braces(&mut self, word: &str) -> Result<Block> {
        if !self.at("{") {
            let found = self.peek().clone();
            let message = format!("expected `{{`, found {}", found.kind.describe());
            let error = Diagnostic::error("missing-braces", message, found.span);
            return self.fail(error.because(format!("what belongs to `{word}` always stands in braces")));
        }
        self.block()
    }
}

/// Whether a token often begins a statement.
fn starts_statement(token: &Token) -> bool {
    matches!(token.kind, TokenKind::Word(_) | TokenKind::Scratch(_) | TokenKind::Map(_))
}
