//! BPF instructions: their encoding (the kernel's `Documentation/bpf/standardization/instruction-set.rst`) and their
//! text, which is that of the verifier's log.

use std::fmt;

/// A register of the machine: 0 to 10.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Register(pub u8);

/// The result of a call, and of a program.
pub(super) const R0: Register = Register(0);
/// The end of the stack frame; it cannot be written.
pub(super) const FRAME: Register = Register(10);

impl fmt::Display for Register {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "r{}", self.0)
    }
}

/// An arithmetic operation on two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the instruction set's")]
pub enum Alu {
    Add,
    Subtract,
    Multiply,
    /// Unsigned; by zero it gives zero.
    Divide,
    Or,
    And,
    ShiftLeft,
    /// Zeroes come in from the left.
    ShiftRight,
    /// Unsigned; by zero it gives the dividend.
    Modulo,
    Xor,
    /// Copies of the sign come in from the left.
    ShiftRightSigned,
}

impl Alu {
    const fn bits(self) -> u8 {
        match self {
            Alu::Add => 0x00,
            Alu::Subtract => 0x10,
            Alu::Multiply => 0x20,
            Alu::Divide => 0x30,
            Alu::Or => 0x40,
            Alu::And => 0x50,
            Alu::ShiftLeft => 0x60,
            Alu::ShiftRight => 0x70,
            Alu::Modulo => 0x90,
            Alu::Xor => 0xa0,
            Alu::ShiftRightSigned => 0xc0,
        }
    }

    /// Whether the operands may change places.
    pub const fn commutes(self) -> bool {
        matches!(self, Alu::Add | Alu::Multiply | Alu::Or | Alu::And | Alu::Xor)
    }

    const fn symbol(bits: u8) -> &'static str {
        match bits {
            0x00 => "+=",
            0x10 => "-=",
            0x20 => "*=",
            0x30 => "/=",
            0x40 => "|=",
            0x50 => "&=",
            0x60 => "<<=",
            0x70 => ">>=",
            0x90 => "%=",
            0xa0 => "^=",
            0xb0 => "=",
            0xc0 => "s>>=",
            _ => "?=",
        }
    }
}

/// When a branch is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it; those with `Signed` compare with signs")]
pub enum Compare {
    Equal,
    NotEqual,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
    GreaterSigned,
    GreaterEqualSigned,
    LessSigned,
    LessEqualSigned,
}

impl Compare {
    const fn bits(self) -> u8 {
        match self {
            Compare::Equal => 0x10,
            Compare::Greater => 0x20,
            Compare::GreaterEqual => 0x30,
            Compare::NotEqual => 0x50,
            Compare::GreaterSigned => 0x60,
            Compare::GreaterEqualSigned => 0x70,
            Compare::Less => 0xa0,
            Compare::LessEqual => 0xb0,
            Compare::LessSigned => 0xc0,
            Compare::LessEqualSigned => 0xd0,
        }
    }

    /// The comparison that holds when this one does not.
    #[must_use]
    pub const fn inverse(self) -> Self {
        match self {
            Compare::Equal => Compare::NotEqual,
            Compare::NotEqual => Compare::Equal,
            Compare::Greater => Compare::LessEqual,
            Compare::GreaterEqual => Compare::Less,
            Compare::Less => Compare::GreaterEqual,
            Compare::LessEqual => Compare::Greater,
            Compare::GreaterSigned => Compare::LessEqualSigned,
            Compare::GreaterEqualSigned => Compare::LessSigned,
            Compare::LessSigned => Compare::GreaterEqualSigned,
            Compare::LessEqualSigned => Compare::GreaterSigned,
        }
    }

    /// The comparison with the operands in each other's place.
    #[must_use]
    pub const fn mirrored(self) -> Self {
        match self {
            Compare::Equal | Compare::NotEqual => self,
            Compare::Greater => Compare::Less,
            Compare::GreaterEqual => Compare::LessEqual,
            Compare::Less => Compare::Greater,
            Compare::LessEqual => Compare::GreaterEqual,
            Compare::GreaterSigned => Compare::LessSigned,
            Compare::GreaterEqualSigned => Compare::LessEqualSigned,
            Compare::LessSigned => Compare::GreaterSigned,
            Compare::LessEqualSigned => Compare::GreaterEqualSigned,
        }
    }

    /// Whether it holds between two numbers.
    pub const fn holds(self, left: i64, right: i64) -> bool {
        let (unsigned_left, unsigned_right) = (left.cast_unsigned(), right.cast_unsigned());
        match self {
            Compare::Equal => left == right,
            Compare::NotEqual => left != right,
            Compare::Greater => unsigned_left > unsigned_right,
            Compare::GreaterEqual => unsigned_left >= unsigned_right,
            Compare::Less => unsigned_left < unsigned_right,
            Compare::LessEqual => unsigned_left <= unsigned_right,
            Compare::GreaterSigned => left > right,
            Compare::GreaterEqualSigned => left >= right,
            Compare::LessSigned => left < right,
            Compare::LessEqualSigned => left <= right,
        }
    }

    const fn symbol(bits: u8) -> &'static str {
        match bits {
            0x10 => "==",
            0x20 => ">",
            0x30 => ">=",
            0x50 => "!=",
            0x60 => "s>",
            0x70 => "s>=",
            0xa0 => "<",
            0xb0 => "<=",
            0xc0 => "s<",
            0xd0 => "s<=",
            _ => "?",
        }
    }
}

/// How many bytes a load or store moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Width {
    One,
    Two,
    Four,
    Eight,
}

impl Width {
    const fn bits(self) -> u8 {
        match self {
            Width::Four => 0x00,
            Width::Two => 0x08,
            Width::One => 0x10,
            Width::Eight => 0x18,
        }
    }

    /// The width of so many bytes.
    pub const fn of(bytes: u32) -> Option<Width> {
        match bytes {
            1 => Some(Width::One),
            2 => Some(Width::Two),
            4 => Some(Width::Four),
            8 => Some(Width::Eight),
            _ => None,
        }
    }

    /// In bytes.
    pub const fn bytes(self) -> u32 {
        match self {
            Width::One => 1,
            Width::Two => 2,
            Width::Four => 4,
            Width::Eight => 8,
        }
    }

    const fn name(bits: u8) -> &'static str {
        match bits {
            0x00 => "u32",
            0x08 => "u16",
            0x10 => "u8",
            _ => "u64",
        }
    }
}

/// One instruction, or half of one that loads 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// What it does.
    pub code: u8,
    /// What it changes.
    pub to: Register,
    /// What it reads; in some instructions a mark.
    pub from: Register,
    /// Bytes from a pointer, or instructions to jump over.
    pub offset: i16,
    /// A number within the instruction.
    pub immediate: i32,
}

const ALU64: u8 = 0x07;
const FROM_REGISTER: u8 = 0x08;
const MOVE: u8 = 0xb0;
const NEGATE: u8 = 0x80;
const TO_BIG_ENDIAN: u8 = 0xdc;
const LOAD_64: u8 = 0x18;
const LOAD: u8 = 0x61;
const STORE: u8 = 0x63;
const STORE_NUMBER: u8 = 0x62;
const ATOMIC: u8 = 0xc3;
const JUMP: u8 = 0x05;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
/// Atomic operations that give the value from before.
const FETCH: i32 = 0x01;
/// `src_reg` of a 64-bit load: the number is a map's file descriptor (`BPF_PSEUDO_MAP_FD`).
pub(super) const MAP: Register = Register(1);
/// The same, and the upper half an offset into the only value of an array (`BPF_PSEUDO_MAP_VALUE`).
pub(super) const MAP_VALUE: Register = Register(2);
/// The number is the distance to a function of the program (`BPF_PSEUDO_FUNC`).
pub(super) const FUNCTION: Register = Register(4);

impl Instruction {
    const fn new(code: u8, to: Register, from: Register, offset: i16, immediate: i32) -> Self {
        Self { code, to, from, offset, immediate }
    }

    pub(super) const fn alu(operation: Alu, to: Register, from: Register) -> Self {
        Self::new(ALU64 | FROM_REGISTER | operation.bits(), to, from, 0, 0)
    }

    pub(super) const fn alu_number(operation: Alu, to: Register, number: i32) -> Self {
        Self::new(ALU64 | operation.bits(), to, R0, 0, number)
    }

    pub(super) const fn copy(to: Register, from: Register) -> Self {
        Self::new(ALU64 | FROM_REGISTER | MOVE, to, from, 0, 0)
    }

    pub(super) const fn number(to: Register, number: i32) -> Self {
        Self::new(ALU64 | MOVE, to, R0, 0, number)
    }

    pub(super) const fn negate(to: Register) -> Self {
        Self::new(ALU64 | NEGATE, to, R0, 0, 0)
    }

    /// Bytes in the other order; the bits above `bits` become zero.
    pub(super) const fn swap(to: Register, bits: i32) -> Self {
        Self::new(TO_BIG_ENDIAN, to, R0, 0, bits)
    }

    /// Both halves of a 64-bit number; `mark` tells what the number is.
    #[expect(clippy::cast_possible_truncation, reason = "the number is taken in halves")]
    pub(super) const fn wide(to: Register, mark: Register, number: i64) -> [Self; 2] {
        [Self::new(LOAD_64, to, mark, 0, number as i32), Self::new(0, R0, R0, 0, (number >> 32) as i32)]
    }

    pub(super) const fn load(width: Width, to: Register, base: Register, offset: i16) -> Self {
        Self::new(LOAD | width.bits(), to, base, offset, 0)
    }

    pub(super) const fn store(width: Width, base: Register, offset: i16, from: Register) -> Self {
        Self::new(STORE | width.bits(), base, from, offset, 0)
    }

    pub(super) const fn store_number(width: Width, base: Register, offset: i16, number: i32) -> Self {
        Self::new(STORE_NUMBER | width.bits(), base, R0, offset, number)
    }

    /// Adds to eight bytes in memory; with `fetch`, `from` gets the value from before.
    pub(super) const fn atomic_add(base: Register, offset: i16, from: Register, fetch: bool) -> Self {
        Self::new(ATOMIC | Width::Eight.bits(), base, from, offset, if fetch { FETCH } else { 0 })
    }

    pub(super) const fn jump(offset: i16) -> Self {
        Self::new(JUMP, R0, R0, offset, 0)
    }

    pub(super) const fn branch(compare: Compare, left: Register, right: Register, offset: i16) -> Self {
        Self::new(JUMP | FROM_REGISTER | compare.bits(), left, right, offset, 0)
    }

    pub(super) const fn branch_number(compare: Compare, left: Register, right: i32, offset: i16) -> Self {
        Self::new(JUMP | compare.bits(), left, R0, offset, right)
    }

    pub(super) const fn call(helper: i32) -> Self {
        Self::new(CALL, R0, R0, 0, helper)
    }

    pub(super) const fn exit() -> Self {
        Self::new(EXIT, R0, R0, 0, 0)
    }

    /// Whether it is the first half of a 64-bit load.
    pub const fn is_wide(self) -> bool {
        self.code == LOAD_64
    }

    /// As the kernel reads it.
    pub fn encode(self) -> [u8; 8] {
        let [low, high] = self.offset.to_le_bytes();
        let [a, b, c, d] = self.immediate.to_le_bytes();
        [self.code, self.to.0 | self.from.0 << 4, low, high, a, b, c, d]
    }
}

impl fmt::Display for Instruction {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, to, from, offset, immediate } = *self;
        let (operation, width) = (code & 0xf0, Width::name(code & 0x18));
        match code {
            EXIT => write!(out, "exit"),
            CALL => write!(out, "call {immediate}"),
            JUMP => write!(out, "goto {offset:+}"),
            TO_BIG_ENDIAN => write!(out, "{to} = be{immediate} {to}"),
            LOAD_64 => match from {
                MAP => write!(out, "{to} = map[{immediate}]"),
                MAP_VALUE => write!(out, "{to} = map[{immediate}][0]"),
                FUNCTION => write!(out, "{to} = function {immediate:+}"),
                _ => write!(out, "{to} = {immediate} ll"),
            },
            0x87 => write!(out, "{to} = -{to}"),
            _ => match code & 0x07 {
                0x01 => write!(out, "{to} = *({width} *)({from} {offset:+})"),
                0x02 => write!(out, "*({width} *)({to} {offset:+}) = {immediate}"),
                0x03 if code & 0xe0 == 0xc0 => {
                    let fetch = if immediate & FETCH != 0 { "fetch_" } else { "" };
                    write!(out, "lock {fetch}*({width} *)({to} {offset:+}) += {from}")
                }
                0x03 => write!(out, "*({width} *)({to} {offset:+}) = {from}"),
                0x05 if code & FROM_REGISTER != 0 => {
                    write!(out, "if {to} {} {from} goto {offset:+}", Compare::symbol(operation))
                }
                0x05 => write!(out, "if {to} {} {immediate} goto {offset:+}", Compare::symbol(operation)),
                _ if code & FROM_REGISTER != 0 => write!(out, "{to} {} {from}", Alu::symbol(operation)),
                _ => write!(out, "{to} {} {immediate}", Alu::symbol(operation)),
            },
        }
    }
}
