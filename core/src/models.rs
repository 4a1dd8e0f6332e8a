//! The engine under model checkers: every lock, atomic and park of [`sync`](crate::sync) is
//! scheduled by them. `make models` runs these.
//!
//! | checker | what it walks | over |
//! | --- | --- | --- |
//! | loom | every schedule with so many preemptions, weak memory included | one part at a time: queue, wait and wake, room |
//! | shuttle | random schedules, uniform and by priorities (PCT) | the whole engine |
//!
//! What neither can follow is crossbeam's inside: a channel behind the same interface stands in
//! for it. Reference counts and statistics are `std`'s own, and no schedule point.

#[cfg(kvwatch_loom)]
mod loom;
#[cfg(kvwatch_shuttle)]
mod shuttle;
