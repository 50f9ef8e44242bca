//! The tree as text: one way to write each script.
//!
//! Reading the text gives an equal tree but for places. Macros are expanded, numbers are decimal, parentheses stand
//! only where they are needed.

mod definition;
mod expression;

use crate::ast::{
    AttachPoint, Block, ConfigValue, Definition, Expression, Part, Piece, Probe, Program, Statement, StatementKind,
};

/// The script as text.
pub fn print(program: &Program) -> String {
    let mut printer = Printer { text: String::new(), indent: 0 };
    printer.program(program);
    printer.text
}

/// One expression as text.
pub fn print_expression(expression: &Expression) -> String {
    let mut printer = Printer { text: String::new(), indent: 0 };
    printer.expression(expression);
    printer.text
}

/// One attach point as text.
pub fn print_attach_point(point: &AttachPoint) -> String {
    let mut printer = Printer { text: String::new(), indent: 0 };
    printer.attach_point(point);
    printer.text
}

struct Printer {
    text: String,
    indent: usize,
}

impl Printer {
    fn put(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn line(&mut self) {
        self.text.push('\n');
        for _ in 0..self.indent {
            self.text.push_str("  ");
        }
    }

    /// Prints members with a separator between them.
    fn joined<T>(&mut self, members: &[T], separator: &str, mut each: impl FnMut(&mut Self, &T)) {
        for (index, member) in members.iter().enumerate() {
            if index > 0 {
                self.put(separator);
            }
            each(self, member);
        }
    }

    fn program(&mut self, program: &Program) {
        for definition in &program.definitions {
            match definition {
                Definition::Record(record) => self.record(record),
                Definition::Enumeration(enumeration) => self.enumeration(enumeration),
                Definition::Typedef(typedef) => self.typedef(typedef),
            }
            self.put(";\n\n");
        }
        if let Some(config) = &program.config {
            self.put("config = {");
            self.indent += 1;
            for entry in &config.entries {
                self.line();
                self.put(&entry.key.text);
                self.put(" = ");
                match &entry.value {
                    ConfigValue::Int(value) => self.put(&value.to_string()),
                    ConfigValue::Bool(value) => self.put(&value.to_string()),
                    ConfigValue::Text(text) if is_word(text) => self.put(text),
                    ConfigValue::Text(text) => self.string(text.as_bytes()),
                }
                self.put(";");
            }
            self.indent -= 1;
            self.put("\n}\n\n");
        }
        self.joined(&program.probes, "\n\n", Self::probe);
        self.put("\n");
    }

    fn probe(&mut self, probe: &Probe) {
        self.joined(&probe.attach_points, ",\n", Self::attach_point);
        if let Some(predicate) = &probe.predicate {
            self.put("\n/");
            let start = self.text.len();
            self.expression(predicate);
            if self.text.get(start..).is_some_and(|text| text.starts_with('*')) {
                self.text.insert(start, ' '); // `/*` would begin a comment.
            }
            self.put("/\n");
        } else {
            self.put(" ");
        }
        self.block(&probe.body);
    }

    fn attach_point(&mut self, point: &AttachPoint) {
        self.joined(&point.parts, ":", Self::part);
    }

    fn part(&mut self, part: &Part) {
        for piece in &part.pieces {
            match piece {
                Piece::Positional(number) => self.put(&format!("${number}")),
                Piece::Text(text) => {
                    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.*[]+".contains(&byte));
                    if plain && part.pieces.len() == 1 {
                        self.put(text);
                    } else {
                        self.string(text.as_bytes());
                    }
                }
            }
        }
    }

    fn block(&mut self, block: &Block) {
        self.put("{");
        self.indent += 1;
        for statement in &block.statements {
            self.line();
            self.statement(statement);
        }
        self.indent -= 1;
        self.line();
        self.put("}");
    }

    fn statement(&mut self, statement: &Statement) {
        match &statement.kind {
            StatementKind::If { branches, otherwise } => {
                self.joined(branches, " else ", |printer, branch| {
                    printer.headed("if", &branch.condition, &branch.body);
                });
                if let Some(otherwise) = otherwise {
                    self.put(" else ");
                    self.block(otherwise);
                }
            }
            StatementKind::While { condition, body } => self.headed("while", condition, body),
            StatementKind::Unroll { count, body } => self.headed("unroll", count, body),
            StatementKind::ForMap { variable, map, body } => {
                self.put(&format!("for (${} : @{}) ", variable.text, map.text));
                self.block(body);
            }
            StatementKind::ForRange { variable, start, end, body } => {
                self.put(&format!("for (${} : ", variable.text));
                self.operand(start);
                self.put("..");
                self.operand(end);
                self.put(") ");
                self.block(body);
            }
            _ => {
                self.simple(&statement.kind);
                self.put(";");
            }
        }
    }

    fn headed(&mut self, word: &str, head: &Expression, body: &Block) {
        self.put(word);
        self.put(" (");
        self.expression(head);
        self.put(") ");
        self.block(body);
    }

    /// A statement without a block.
    fn simple(&mut self, kind: &StatementKind) {
        match kind {
            StatementKind::Expression(expression) => self.expression(expression),
            StatementKind::Let { variable, ty, value } => {
                self.put(&format!("let ${}", variable.text));
                if let Some(ty) = ty {
                    self.put(" : ");
                    self.ty(ty);
                }
                if let Some(value) = value {
                    self.put(" = ");
                    self.expression(value);
                }
            }
            StatementKind::Assign { target, operator, value } => {
                self.target(target);
                self.put(&format!(" {}= ", operator.map_or("", |operator| operator.symbol())));
                self.expression(value);
            }
            StatementKind::Return(Some(value)) => {
                self.put("return ");
                self.expression(value);
            }
            StatementKind::Return(None) => self.put("return"),
            StatementKind::Continue => self.put("continue"),
            StatementKind::Break => self.put("break"),
            StatementKind::If { .. }
            | StatementKind::While { .. }
            | StatementKind::Unroll { .. }
            | StatementKind::ForMap { .. }
            | StatementKind::ForRange { .. } => {}
        }
    }
}

/// Whether a setting's text can stand without quotes.
fn is_word(text: &str) -> bool {
    let letters = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    letters && !text.is_empty() && !text.starts_with(|c: char| c.is_ascii_digit()) && text != "true" && text != "false"
}
