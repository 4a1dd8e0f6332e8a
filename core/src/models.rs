//! The engine under model checkers: every lock, atomic and park of [`sync`](crate::sync) is
//! scheduled by them. `make models` runs these.
//!
//! | checker | schedules | model |
//! | --- | --- | --- |
//! | loom | all of them, weak memory included | one part at a time: queue, wait and wake, room |
//! | shuttle | random ones, uniform and by priorities (PCT) | the whole engine |
//!
//! Neither can follow crossbeam's atomics: a channel with the same interface replaces it.
//! Reference counts and statistics are `std`'s own, and not schedule points.

#[cfg(kvwatch_loom)]
mod loom;
#[cfg(kvwatch_shuttle)]
mod shuttle;
