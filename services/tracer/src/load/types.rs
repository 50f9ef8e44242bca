//! The types that the kernel wants of a program with functions: a name and a shape for each
//! (`Documentation/bpf/btf.rst`).

/// `struct btf_header`: magic, version, and where types and names lie.
const MAGIC: u16 = 0xeb9f;
const HEADER: u32 = 24;
const INT: u32 = 1 << 24;
const FUNCTION: u32 = 12 << 24;
const PROTOTYPE: u32 = 13 << 24;
/// An integer's encoding: signed, of 32 bits.
const SIGNED_32: u32 = 1 << 24 | 32;
/// The number of the first function's type.
const FIRST: u32 = 3;

/// The types of a program with so many functions. All take nothing and return a number, which says enough.
pub(super) fn of_functions(count: usize) -> Vec<u8> {
    let names = b"\0int\0function\0";
    let (int, function) = (1, 5);
    let mut words = vec![int, INT, 4, SIGNED_32, 0, PROTOTYPE, 1];
    for _function in 0..count {
        words.extend([function, FUNCTION, 2]);
    }
    let types: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
    let length = u32::try_from(types.len()).unwrap_or(0);
    let mut blob = Vec::new();
    blob.extend(MAGIC.to_ne_bytes());
    blob.extend([1, 0]);
    let names_length = u32::try_from(names.len()).unwrap_or(0);
    for word in [HEADER, 0, length, length, names_length] {
        blob.extend(word.to_ne_bytes());
    }
    blob.extend(types);
    blob.extend(names);
    blob
}

/// Which type each function is of, by where it begins (`struct bpf_func_info`).
pub(super) fn places(functions: &[usize]) -> Vec<[u32; 2]> {
    let number = |start: &usize| u32::try_from(*start).unwrap_or(0);
    functions.iter().zip(FIRST..).map(|(start, id)| [number(start), id]).collect()
}
