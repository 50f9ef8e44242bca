//! Operations become few instructions, and values that are needed at once different registers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

use synscope_tracer::code::ir::{Argument, Base, End, Function, MapId, Operand, Operation};
use synscope_tracer::code::{Alu, Builder, CodeError, Compare, Width, assemble};

fn listing(function: Function) -> String {
    let code = assemble(vec![function]).unwrap();
    assert_eq!(code.instructions.len(), code.spans.len());
    code.listing()
}

#[test]
fn what_is_not_needed_behind_a_call_stays_out_of_the_saved_registers() {
    let mut builder = Builder::new(1);
    let pid = builder.call(14, vec![]);
    let pid = builder.alu(Alu::ShiftRight, pid.into(), Operand::Number(32));
    builder.store(Base::Frame, -8, Width::Eight, pid);
    let map = Argument::Map(MapId(3));
    let found = builder.call(1, vec![map, Argument::Address(Base::Frame, -8)]);
    let (hit, miss) = (builder.block(), builder.block());
    builder.branch(Compare::NotEqual, found.into(), Operand::Number(0), hit, miss);
    builder.switch_to(hit);
    let one = builder.in_value(Operand::Number(1));
    builder.push(Operation::AtomicAdd { base: Base::Value(found), offset: 0, from: one, before: None });
    builder.jump(miss);
    builder.switch_to(miss);
    let expected = "\
0: call 14
1: r0 >>= 32
2: *(u64 *)(r10 -8) = r0
3: r1 = map[3]
5: r2 = r10
6: r2 += -8
7: call 1
8: if r0 == 0 goto +2
9: r1 = 1
10: lock *(u64 *)(r0 +0) += r1
11: r0 = 0
12: exit
";
    assert_eq!(listing(builder.finish(8)), expected);
}

#[test]
fn what_is_needed_behind_calls_is_saved_and_the_rest_of_it_spilled() {
    let mut builder = Builder::new(1);
    let values: Vec<_> = (0..6).map(|_| builder.call(5, vec![])).collect();
    let mut sum = Operand::Number(0);
    for value in values {
        sum = builder.alu(Alu::Add, sum, value.into());
    }
    builder.store(Base::Frame, -8, Width::Eight, sum);
    let text = listing(builder.finish(8));
    // Five of the six outlive a call, and four registers do.
    assert_eq!(text.matches("*(u64 *)(r10 -16) = r0").count(), 1, "{text}");
    assert!(!text.contains("r10 -24"), "{text}");
    for saved in ["r6 = r0", "r7 = r0", "r8 = r0", "r9 = r0"] {
        assert!(text.contains(saved), "{saved} in\n{text}");
    }
}

#[test]
fn what_nobody_reads_is_not_computed_and_empty_blocks_are_jumped_over() {
    let mut builder = Builder::new(1);
    let context = builder.parameter(0);
    let unread = builder.load(Base::Value(context), 8, Width::Eight);
    builder.alu(Alu::Multiply, unread.into(), Operand::Number(3));
    let (then, otherwise, unreachable) = (builder.block(), builder.block(), builder.block());
    builder.branch(Compare::Equal, Operand::Number(1), Operand::Number(2), then, otherwise);
    builder.switch_to(then);
    builder.call_only(5, vec![]);
    builder.jump(unreachable);
    assert_eq!(listing(builder.finish(0)), "0: r0 = 0\n1: exit\n");
}

#[test]
fn divisions_by_powers_of_two_are_shifts_and_large_numbers_are_loaded_whole() {
    let mut builder = Builder::new(1);
    let now = builder.call(5, vec![]);
    let micros = builder.alu(Alu::Divide, now.into(), Operand::Number(1024));
    let large = builder.number(0x1_0000_0002);
    let sum = builder.alu(Alu::Xor, micros, large);
    builder.store(Base::Frame, -8, Width::Eight, sum);
    builder.end(End::Return(0));
    let expected = "\
0: call 5
1: r0 >>= 10
2: r1 = 0x100000002 ll
4: r0 ^= r1
5: *(u64 *)(r10 -8) = r0
6: r0 = 0
7: exit
";
    assert_eq!(listing(builder.finish(8)), expected);
}

#[test]
fn values_of_a_loop_keep_their_registers_round_it() {
    let mut builder = Builder::new(1);
    let (count, sum) = (builder.value(), builder.value());
    builder.assign(count, Operand::Number(0));
    builder.assign(sum, Operand::Number(0));
    let (head, body, after) = (builder.block(), builder.block(), builder.block());
    builder.jump(head);
    builder.switch_to(head);
    builder.branch(Compare::Less, count.into(), Operand::Number(10), body, after);
    builder.switch_to(body);
    let more = builder.alu(Alu::Add, sum.into(), count.into());
    builder.assign(sum, more);
    let next = builder.alu(Alu::Add, count.into(), Operand::Number(1));
    builder.assign(count, next);
    builder.jump(head);
    builder.switch_to(after);
    builder.store(Base::Frame, -8, Width::Eight, sum.into());
    let expected = "\
0: r0 = 0
1: r1 = 0
2: if r0 >= 10 goto +3
3: r1 += r0
4: r0 += 1
5: goto -4
6: *(u64 *)(r10 -8) = r1
7: r0 = 0
8: exit
";
    assert_eq!(listing(builder.finish(8)), expected);
}

#[test]
fn a_frame_that_is_too_large_is_refused() {
    assert_eq!(assemble(vec![Builder::new(1).finish(520)]).unwrap_err(), CodeError::Frame(520));
}

#[test]
fn a_result_does_not_replace_what_is_still_subtracted() {
    let mut builder = Builder::new(1);
    let number = builder.call(5, vec![]);
    let difference = builder.alu(Alu::Subtract, Operand::Number(7), number.into());
    builder.assign(number, difference);
    builder.store(Base::Frame, -8, Width::Eight, number.into());
    let text = listing(builder.finish(8));
    assert_eq!(text, "0: call 5\n1: r1 = 7\n2: r1 -= r0\n3: r0 = r1\n4: *(u64 *)(r10 -8) = r0\n5: r0 = 0\n6: exit\n");
}
