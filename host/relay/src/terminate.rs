//! Ending on SIGTERM.

/// SIGTERM (signal(7)).
const TERMINATE: i32 = 15;

#[expect(
    unsafe_code,
    reason = "the standard library has no signals, and the relay is compiled without any other"
)]
unsafe extern "C" {
    // Neither can be called wrongly: a handler is a function for the life of the program, and ending it is allowed anywhere.
    safe fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    safe fn _exit(status: i32) -> !;
}

/// The first process of a container gets no signal that it does not handle: without this Docker would wait for 10 s whenever it ends a relay.
pub(crate) fn end_when_told() {
    signal(TERMINATE, end);
}

extern "C" fn end(_: i32) {
    _exit(0)
}
