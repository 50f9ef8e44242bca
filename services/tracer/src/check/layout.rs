//! Where C puts the members of structs and unions (System V ABI for x86-64, 3.1.2; that for arm64 is alike).

/// Bits of a byte.
const BYTE: u64 = 8;

/// What a type takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// Bytes.
    pub(super) size: u64,
    /// It begins at a multiple of so many bytes.
    pub(super) align: u64,
}

impl Layout {
    /// A number or pointer of so many bytes.
    pub(super) fn number(size: u64) -> Self {
        Self { size, align: size.max(1) }
    }
}

/// Members that are put one behind the other, or for a union one over the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placing {
    union: bool,
    packed: bool,
    /// Bits that are taken so far.
    end: u64,
    align: u64,
}

impl Placing {
    pub(super) fn new(union: bool, packed: bool) -> Self {
        Self { union, packed, end: 0, align: 1 }
    }

    fn start(&self) -> u64 {
        if self.union { 0 } else { self.end }
    }

    /// Where a member begins, in bits.
    pub(super) fn member(&mut self, of: Layout) -> u64 {
        let align = if self.packed { 1 } else { of.align };
        let start = self.start().next_multiple_of(align * BYTE);
        self.align = self.align.max(align);
        self.end = self.end.max(start + of.size * BYTE);
        start
    }

    /// Where a bit field begins. It does not go over the border of a number of its type; without a name it does not
    /// count for how the whole is aligned, and without a width it ends the number before it.
    pub(super) fn bits(&mut self, of: Layout, width: u64, named: bool) -> u64 {
        let unit = of.size * BYTE;
        let mut start = self.start();
        let crosses = width > 0 && start / unit != (start + width - 1) / unit;
        if width == 0 || (crosses && !self.packed) {
            start = start.next_multiple_of(of.align * BYTE);
        }
        if named && !self.packed {
            self.align = self.align.max(of.align);
        }
        self.end = self.end.max(start + width);
        start
    }

    /// What all of them take.
    pub(super) fn finish(self) -> Layout {
        Layout { size: self.end.div_ceil(BYTE).next_multiple_of(self.align), align: self.align }
    }
}
